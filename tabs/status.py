"""The parts of the page that are always visible: the rail of stages with the next step, and the status strip."""

from __future__ import annotations

from typing import Any

import psutil
from markupsafe import Markup

from engines.api.errors import UserError
from studio.flywheel.next_step import next_step
from studio.flywheel.train import runs
from studio.records.job import Job, JobState
from studio.workplace.desk import Desk, Workplace
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Said, stop
from tabs.sharing import ReviewLink

DISMISSED = "dismissed"


def rail(desk: Desk, asked: str = "") -> Markup:
    """Returns as HTML the row of stages of the work on a character, with the next step marked and explained.

    `asked` is the id of the character in the page's address, "" for none. The HTML names it and the character shown.
    They differ where the address names nobody or a deleted character; then the browser corrects the address.
    """
    if not desk.id:
        return looks.empty("Create your first character with the button above.")
    if trouble := desk.workplace.library.trouble(desk.id):
        return looks.trouble(trouble)
    return view("frame", "rail", found=next_step(desk), character=desk.id, asked=asked)


def strip(workplace: Workplace, sharing: ReviewLink | None = None) -> Markup:
    """Returns as HTML the status line of the page: GPU, memory, running job, queue, and whether a review link is open.

    It also offers to resume the latest job that was interrupted or failed and that the user has not dismissed.
    `sharing` is the review link, None for an app without one.
    """
    jobs = workplace.jobs.list()
    gone = set(workplace.library.setting(DISMISSED, list) or ())
    lost = [job for job in jobs if job.state in (JobState.INTERRUPTED, JobState.FAILED) and not gone & set(marks(job))]
    return view(
        "frame",
        "strip",
        card=_card(workplace),
        host=_host(),
        running=running(workplace.jobs.running()),
        offered=_offered(lost[0]) if lost else "",
        shared=sharing is not None and sharing.live(),
        ended=next((job for job in jobs if job.ended and not job.state.is_under_way), None),
        waiting=view("frame", "queue", jobs=[job for job in jobs if job.state is JobState.QUEUED]),
    )


def _card(workplace: Workplace) -> Markup:
    now = workplace.gpu.status()
    tone = "bad" if now.used > now.budget else ("warn" if now.used > 0.9 * now.budget else "accent")
    places = (("card", now.residents), ("RAM", now.masters), ("disk", now.on_disk))
    held = [f"{where}: {', '.join(key for key, _ in there)}" for where, there in places if there]
    names = " · ".join(held) or "nothing loaded"
    return view(
        "frame",
        "card",
        device=str(now.device).upper(),
        figure=f"{now.used / (1 << 30):.1f} / {looks.amount(now.budget)}",
        meter=looks.bar(now.used, now.budget, tone, names),
        names=names,
        short=looks.plural(len(now.residents), "part") + " loaded" if now.residents else "nothing loaded",
    )


def _host() -> Markup:
    ours, memory = psutil.Process().memory_info().rss, psutil.virtual_memory()
    tone = "bad" if memory.percent > 95 else "warn" if memory.percent > 85 else ""
    title = f"this studio holds {looks.amount(ours)}; {looks.amount(memory.available)} of the machine's memory are free"
    return view(
        "frame", "host", title=title, tone=tone, figure=f"{ours / (1 << 30):.1f} / {looks.amount(memory.total)}"
    )


def running(job: Job | None) -> Markup:
    """Returns the running job as HTML: its progress, the time left or what it waits for, and a cancel button.

    Where `job` is None, the HTML tells that no job runs.
    """
    if job is None:
        return view("frame", "idle")
    figures = [looks.counted(job)]
    if job.rate:
        figures.append(looks.pace(job))
    if job.eta_s and not job.stopping:
        figures.append(f"{looks.duration(job.eta_s)} left")
    waiting = f"waits for {job.waits_for}" if job.waits_for and not job.stopping else job.message
    return view("frame", "running", job=job, figures=" · ".join(figures), waiting=waiting)


def _offered(job: Job) -> Markup:
    tone = "bad" if job.state is JobState.FAILED else "warn"
    cause = job.error.message
    return view(
        "frame",
        "offered",
        job=job,
        title=f"{cause} {job.error.hint}".strip(),
        words=f"{job.title or job.kind} {'failed' if tone == 'bad' else 'was interrupted'}",
        tone=tone,
        short=cause if len(cause) <= 70 else f"{cause[:68]}…",
        resume=runs.resume_words(job),
    )


def marks(job: Job) -> tuple[str, str]:
    """Returns the two texts of which one is stored where a job's end was dismissed; the first only in older data.

    The second names the end too, so that a job that is resumed and fails again is offered again.
    """
    return job.id, f"{job.id} {job.ended}"


def handle(workplace: Workplace, data: dict[str, Any]) -> Said | None:
    """Handles a click in the status line: cancels, resumes or dismisses a job, or moves it up in the queue.

    `data` is what the clicked button sends: the action and the job's id. Returns a notice after a cancel or a resume,
    else None. Raises: UserError for an unknown action, NotFound for an unknown job, BadInput for a job that cannot be
    resumed or moved.
    """
    job, act = str(data.get("job", "")), data.get("act")
    if act == "cancel":
        return stop(workplace, job)
    elif act == "dismiss":
        present = {mark for each in workplace.jobs.list() for mark in marks(each)}
        gone = [each for each in workplace.library.setting(DISMISSED, list) or [] if each in present]
        workplace.library.set_setting(DISMISSED, [*gone, marks(workplace.jobs.get(job))[-1]])
    elif act == "resume":
        workplace.jobs.resume(job)
        return Said("It is in the queue again and goes on with what is left.")
    elif act == "up":
        workplace.jobs.move(job, str(data.get("before", "")) or None)
    else:
        raise UserError("The strip has no such button.", "Reload the page.")
    return None
