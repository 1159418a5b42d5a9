"""The panel of a training run in both training tabs: progress, loss curve, buttons, and longer training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput, Busy
from studio.flywheel.train import run_folder, runs
from studio.flywheel.train.runs import Progress
from studio.records.dataset import Role
from studio.records.job import Job, JobState
from studio.records.payload import TrainPayload
from studio.records.version import Version, VersionState
from studio.store import Store
from studio.workplace.desk import Desk, Workplace
from tabs.common import curves, looks
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, jobs_of, progress_line, queued, stop

STATES: Mapping[VersionState, tuple[str, str]] = {  # a version's state in words, and the tone of its chip
    VersionState.ADOPTED: ("in use", "good"),
    VersionState.CANDIDATE: ("new, not in use", "accent"),
    VersionState.RETIRED: ("not in use", ""),
}


def panel(workplace: Workplace, job: Job, seen: Progress) -> Markup:
    """Returns a training run as HTML: its progress, its loss curve, and buttons such as resume or stop.

    Below them stand the shell commands that do the same training outside the studio. `seen` holds the run's loss curve,
    samples and checkpoints so far.
    """
    buttons = []
    if job.state is JobState.RUNNING:
        hint = "make a version of the last checkpoint"
        buttons = [looks.button("Stop and keep", "keep", tone="small", job=job.id, hint=hint)]
    elif job.state in (JobState.INTERRUPTED, JobState.CANCELLED, JobState.FAILED):
        kept = kept_as(workplace, job, seen)
        buttons = [looks.button(runs.resume_words(job), "resume", tone="small" if kept else "small accent", job=job.id)]
        if seen.checkpoints and kept is None:
            hint = "make a version of the last checkpoint"
            buttons.append(looks.button("Keep what it learned", "keep", tone="small", job=job.id, hint=hint))
    body = view(
        "common",
        "run",
        head=progress_line(job, _stage(job, seen) or "Training")
        if job.state.is_under_way
        else _ended(workplace, job, seen),
        plot=curves.loss_plot(seen.points, seen.total),
        buttons=buttons,
        commands=curves.elsewhere(run_folder.commands(workplace, job)),
    )
    return looks.panel(job.title or "Training", body)


def kept_as(workplace: Workplace, job: Job, seen: Progress) -> Version | None:
    """Returns the version that was made of a run's last checkpoint; None where none was made, or it is in the trash.

    `seen` is the run's progress with its checkpoints.
    """
    last = seen.checkpoints[-1].step if seen.checkpoints else None
    made = workplace.store(job.character).versions.find(job=job.id)
    return next((each for each in made if each.checkpoints[-1].step == last and not each.trashed), None)


def _stage(job: Job, seen: Progress) -> str:
    """Returns as text the stage after the last training step, in which the result is judged.

    It is "" before that stage and after it.
    """
    trained = bool(seen.points) and seen.points[-1].step >= seen.total
    if job.state is not JobState.RUNNING or not trained or not job.artifacts.version:
        return ""
    tests = TrainPayload.of(job).held_out
    if not tests:
        return "Trained. Reading what its samples show"
    side = "2 of 2, with the new LoRA" if len(job.artifacts.before or ()) >= len(tests) else "1 of 2, without it"
    return f"Trained. Testing on edits it never learned from ({side})"


def _ended(workplace: Workplace, job: Job, seen: Progress) -> Markup:
    """Returns as HTML how a training ended, after how many of its own steps, and what it was kept as.

    The job's own counter is not used: an editor's job also counts its evaluation edits.
    """
    kept = kept_as(workplace, job, seen)
    words = {JobState.CANCELLED: "stopped", JobState.INTERRUPTED: "interrupted"}.get(job.state, job.state.value)
    made = "" if kept is None else f", kept as {kept.name}" if job.state is not JobState.DONE else f": {kept.name}"
    return view(
        "common",
        "ended",
        state=words + made,
        tone="good" if kept else {JobState.DONE: "good", JobState.FAILED: "bad"}.get(job.state, "warn"),
        words=f"{seen.points[-1].step if seen.points else 0} of {seen.total} steps",
        trouble=f"{job.error.message} {job.error.hint}".strip(),
    )


def act(workplace: Workplace, data: dict[str, Any]) -> Said | None:
    """Cancels or resumes a training, or makes a version of its last checkpoint, as the clicked button says.

    `data` holds the action and the id of the training's job. Returns a notice, or None for any other button.
    """
    job = str(data.get("job", ""))
    if data.get("act") == "cancel":
        return stop(workplace, job)
    if data.get("act") == "resume":
        workplace.jobs.resume(job)
        return Said("The training is in the queue again; it goes on from its last checkpoint.")
    if data.get("act") == "keep":
        made = runs.keep(workplace, job)
        done = f"What it learned is {made.name} now." if made else "It stops, and what it learned becomes a version."
        return Said(done)
    return None


# ── earlier runs ────────────────────────────────────────────────────────────────────────────────


def past(desk: Desk, kinds: Sequence[str], shown: str, scroll: str) -> Markup:
    """Returns as HTML the list of all trainings whose job kind is in `kinds`, newest first; empty where there are none.

    Cancelled and failed ones are included. `shown` is the id of the job whose details are open, "" for none; `scroll`
    is the CSS selector of the block where the details open.
    """
    rows = []
    for job in jobs_of(desk, *kinds):
        steps = runs.asked_steps(job)
        saved = max((each.step for each in job.artifacts.checkpoints or ()), default=0)
        done = {JobState.DONE: steps, JobState.RUNNING: min(job.step, steps)}.get(job.state, saved)
        rows.append((job, ended_as(desk.store, job), done, steps))
    return view("common", "past", rows=rows, shown=shown, scroll=scroll) if rows else Markup()


def ended_as(store: Store, job: Job) -> tuple[str, str]:
    """Returns two texts: a training's state, with the names of the versions made of it, and the colour of its label."""
    made = ", ".join(each.name for each in store.versions.find(job=job.id) if not each.trashed)
    if job.state is JobState.DONE:
        return (f"done: {made}" if made else "done"), "good"
    tones = {JobState.FAILED: "bad", JobState.RUNNING: "accent", JobState.QUEUED: ""}
    words = {JobState.CANCELLED: "stopped"}.get(job.state, job.state.value)
    return (f"{words}, kept as {made}", "good") if made else (words, tones.get(job.state, "warn"))


# ── its versions ────────────────────────────────────────────────────────────────────────────────


def decisions(store: Store, version: Version) -> Markup:
    """Returns as HTML the buttons for the decisions that a version's state allows.

    A new version can be taken into use or left unused, a retired one can be taken into use again. The version in use
    can be retired, which takes the version before it into use again.
    """
    parent = store.versions.peek(version.parent)
    while parent is not None and parent.trashed:
        parent = store.versions.peek(parent.parent)
    return view("common", "decisions", version=version, before=parent.name if parent else "the base model")


def decide(desk: Desk, data: dict[str, Any]) -> Said:
    """Adopts a version, that is takes it into use, or retires it, as the clicked button says; returns a notice.

    `data` holds the action and the version's id. When the version in use is retired, the version before it is adopted
    again. The notice names the version that is then in use. Raises: NotFound for an unknown version,
    BadInput for one in the trash.
    """
    on = {"adopt": True, "roll_back": False}.get(str(data.get("act")))
    if on is None:
        raise BadInput("The table has no such button.", "Reload the page.")
    store = desk.store
    version = store.adopt(str(data.get("version", "")), on=on)
    used = store.adopted(version.role)
    what = "Edits" if version.role is Role.EDITOR else "New pictures and the model card"
    return Said(f"In use now: {used.name if used else 'the base model, without a LoRA'}. {what} follow it.", "")


# ── for longer ──────────────────────────────────────────────────────────────────────────────────


def longer(page: Page, kind: str) -> Render:
    """Lays out the widgets that train the newest run for longer, and connects them.

    `kind` is the job kind of the run. Returns the render function that shows the widgets while that run has finished.
    """
    with gr.Row(visible=False, elem_classes="fl-longer") as row:
        more = gr.Number(
            label="Steps more",
            info="the newest run goes on from where it ended, and makes a further version",
            precision=0,
            elem_id=f"{kind}-more",
        )
        extend = gr.Button("Train longer", size="sm", elem_id=f"{kind}-extend")
        whose = gr.Textbox(visible="hidden")
    page.on(extend.click, partial(train_longer, kind=kind), [more])
    return partial(fill_more, kind=kind), [more, whose], [row, more, whose]


def fill_more(desk: Desk, more: float | None, whose: str, *, kind: str) -> tuple[Any, Any, str]:
    """Returns two updates, and the id of the run that the number of steps is for.

    One update shows or hides the widgets that train a run for longer, one sets their number of steps. They are visible
    while the newest job of `kind` is a finished training. `more` is the present number and `whose` the id of the run
    that it was for; for the same run it stays. For another one, and in an empty field, it is half of the run's steps.
    """
    job = finished_run(desk, kind)
    if job is None:
        return gr.update(visible=False), gr.skip(), whose
    stays = more and whose == job.id
    return gr.update(visible=True), gr.skip() if stays else max(1, runs.asked_steps(job) // 2), job.id


def train_longer(desk: Desk, more: float | None, *, kind: str) -> Said:
    """Queues the newest training of a job kind again, for `more` further steps, and returns a notice.

    Raises: Busy where that training has not finished, BadInput where `more` adds no step.
    """
    job = finished_run(desk, kind)
    if job is None:
        raise Busy("The newest training has not ended well.", "Resume it, or wait; then train it longer.")
    return queued(runs.extend(desk.workplace, job.id, runs.asked_steps(job) + int(more or 0)))


def finished_run(desk: Desk, kind: str) -> Job | None:
    """Returns the newest training of a job kind if it has finished; else None."""
    newest = jobs_of(desk, kind)[:1]
    return newest[0] if newest and newest[0].state is JobState.DONE else None
