"""What is always in sight: the rail with the next step, and the strip with the card and the queue."""

from __future__ import annotations

from typing import Any

import psutil

from engines.api.errors import UserError
from studio.flywheel.next_step import next_step
from studio.flywheel.train import runs
from studio.records.job import Job, JobState
from studio.workplace.desk import Desk, Workplace
from tabs.common import looks
from tabs.common.shell import Said

DISMISSED = "dismissed"


def rail(desk: Desk, asked: str = "") -> str:
    """The rail as markup; the next step stands out, with a sentence why."""
    if not desk.id:
        return looks.empty("Create your first character with the button above.")
    if trouble := desk.workplace.library.trouble(desk.id):
        return looks.trouble(trouble)
    found = next_step(desk)
    parts = []
    for at, stop in enumerate(found.stops):
        classes = "next" if at == found.at else ""
        tick = ' <span class="good">✓</span>' if stop.done else ""
        parts.append(
            f'<button type="button" class="{classes}" data-tab="{looks.esc(stop.tab)}"'
            f"{' aria-current=step' if at == found.at else ''}>"
            f"<b>{looks.esc(stop.label)}</b><span>{looks.esc(stop.figure)}{tick}</span></button>"
        )
    return (
        f'<nav class="fl-rail" aria-label="the flywheels" data-character="{looks.esc(desk.id)}" '
        f'data-asked="{looks.esc(asked)}">{"<i>→</i>".join(parts)}</nav>'
        f'<p class="fl-why">Next: <b>{looks.esc(found.step)}</b>. {looks.esc(found.words)}</p>'
    )


def strip(workplace: Workplace, sharing: Any = None) -> str:
    """The card, the running job, the queue, what can be resumed, and whether a review link is open."""
    jobs = workplace.jobs.list()
    parts = [_card(workplace), _host(), _running(workplace, workplace.jobs.running())]
    gone = set(workplace.library.setting(DISMISSED, list) or ())
    offered = [job for job in jobs if job.state in (JobState.INTERRUPTED, JobState.FAILED) and job.id not in gone]
    if offered:
        parts.append(_offered(offered[0]))
    parts.append('<div class="grow"></div>')
    if sharing is not None and sharing.live():
        parts.append('<div><span class="fl-live">● review link is open</span></div>')
    parts.append(_queue([job for job in jobs if job.state is JobState.QUEUED]))
    parts.append('<div><button type="button" class="fl-button small" data-keys="1" title="the keys">?</button></div>')
    return f'<div class="fl-strip">{"".join(parts)}</div>'


def _card(workplace: Workplace) -> str:
    now = workplace.gpu.status()
    tone = "bad" if now.used > now.budget else ("warn" if now.used > 0.9 * now.budget else "accent")
    names = " · ".join(
        f"{where}: {', '.join(key for key, _ in there)}"
        for where, there in (("card", now.residents), ("RAM", now.masters), ("disk", now.on_disk))
        if there
    )
    names = names or "nothing loaded"
    figure = f"{now.used / (1 << 30):.1f} / {looks.amount(now.budget)}"
    meter = looks.bar(now.used, now.budget, tone, names)
    short = names if len(names) <= 46 else f"{names[:44]}…"
    return (
        f"<div><b>{looks.esc(str(now.device).upper())}</b><span>{figure}</span>{meter}"
        f'<small title="{looks.esc(names)}">{looks.esc(short)}</small></div>'
    )


def _host() -> str:
    ours, memory = psutil.Process().memory_info().rss, psutil.virtual_memory()
    tone = "bad" if memory.percent > 95 else "warn" if memory.percent > 85 else ""
    title = f"this studio holds {looks.amount(ours)}; {looks.amount(memory.available)} of the machine's memory are free"
    figure = f"{ours / (1 << 30):.1f} / {looks.amount(memory.total)}"
    return f'<div title="{looks.esc(title)}"><b>RAM</b><span class="{tone}">{figure}</span></div>'


def _running(workplace: Workplace, job: Job | None) -> str:
    if job is None:
        return "<div><small>no job is running</small></div>"
    figures = [f"{job.step}/{job.total or '?'}"]
    if job.rate:
        figures.append(f"{job.rate:.1f} s each" if job.rate >= 0.1 else f"{job.rate * 1000:.0f} ms each")
    if job.eta_s:
        figures.append(f"{looks.duration(job.eta_s)} left")
    waiting = f"waits for {job.waits_for}" if job.waits_for else job.message
    return (
        f"<div><b>{looks.esc(job.title or job.kind)}</b>{looks.bar(job.step, job.total)}"
        f"<span>{' · '.join(figures)}</span><small>{looks.esc(waiting)}</small>"
        f"{looks.button('Cancel', 'cancel', tone='small', job=job.id)}</div>"
    )


def _offered(job: Job) -> str:
    tone = "bad" if job.state is JobState.FAILED else "warn"
    cause, hint = job.error.message, job.error.hint
    words = f"{job.title or job.kind} {'failed' if tone == 'bad' else 'was interrupted'}"
    short = cause if len(cause) <= 70 else f"{cause[:68]}…"
    return (
        f'<div title="{looks.esc(f"{cause} {hint}".strip())}">'
        f"{looks.chip(words, tone)}<small>{looks.esc(short)}</small>"
        f"{looks.button(runs.resume_words(job), 'resume', tone='small', job=job.id)}"
        f"{looks.button('Dismiss', 'dismiss', tone='small', job=job.id)}</div>"
    )


def _queue(waiting: list[Job]) -> str:
    if not waiting:
        return "<div><small>queue empty</small></div>"
    rows = []
    for at, job in enumerate(waiting):
        before = waiting[at - 1].id if at else ""
        up = looks.button("↑", "up", tone="small", hint="move up", job=job.id, before=before) if at else ""
        cancel = looks.button("Cancel", "cancel", tone="small", job=job.id)
        waits = f"<small>{looks.esc(job.waits_for)}</small>" if job.waits_for else ""
        rows.append(f"<p><span>{looks.esc(job.title or job.kind)}{waits}</span><span>{up} {cancel}</span></p>")
    return f'<details data-fold="queue"><summary>queue {len(waiting)}</summary><div>{"".join(rows)}</div></details>'


def handle(workplace: Workplace, data: dict[str, Any]) -> Said | None:
    """A click in the strip; says what follows where that takes a while.

    Raises: UserError.
    """
    job, act = str(data.get("job", "")), data.get("act")
    if act == "cancel":
        workplace.jobs.cancel(job)
        return Said("It stops after its present step; what is finished stays.")
    elif act == "dismiss":
        gone = workplace.library.setting(DISMISSED, list) or []
        workplace.library.set_setting(DISMISSED, [*gone, job][-100:])
    elif act == "resume":
        workplace.jobs.resume(job)
        return Said("It is in the queue again and goes on with what is left.")
    elif act == "up":
        workplace.jobs.move(job, str(data.get("before", "")) or None)
    else:
        raise UserError("The strip has no such button.", "Reload the page.")
    return None
