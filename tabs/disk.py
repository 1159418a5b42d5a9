"""Disk use on the Settings page: what each character takes, what can be freed, and how to back up and restore one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput, NotFound, UserError
from studio.flywheel.curate import changes
from studio.housekeeping import backup, disk
from studio.housekeeping.models import folder_bytes, free_bytes
from studio.records.job import Job, JobState
from studio.workplace.desk import Desk, Workplace
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, html, progress_line

CLEANING: Final[Mapping[str, Callable[[Desk], int]]] = {
    "empty-trash": disk.empty_trash,
    "prune": disk.prune,
    "clear-cache": disk.clear_cache,
    "clear-exports": disk.clear_exports,
}
BACK_UP, CANCEL, RESUME, REVIVE, DISCARD = "back-up", "cancel", "resume", "revive", "discard"


def lay_out(page: Page) -> tuple[list[Render], list[Render]]:
    """Lays out the view of disk use and the panel for backups, and connects their handlers.

    Returns the render functions to run when the store changes, and those to run with every step of a job.
    """
    used = html(looks.waiting(), elem_id="settings-disk")
    moves = html(elem_id="settings-backups")
    with gr.Accordion("Restore a character from a backup", open=False, elem_id="restore"):
        place = gr.Textbox(label="The backup's zip file on this machine", elem_id="restore-path")
        with gr.Row():
            choose = gr.UploadButton("Choose a file …", file_types=[".zip"], size="sm", elem_id="restore-choose")
            start = gr.Button("Restore", variant="primary", size="sm", elem_id="restore-start")
    drawn: list[Render] = [(draw_disk, [], [used])]
    moving: list[Render] = [(draw_moves, [], [moves])]
    page.act(used, disk_act, then=[*drawn, *moving], anywhere=True)
    page.act(moves, moves_act, then=moving, anywhere=True)
    page.on(choose.upload, chosen_file, [choose], [place], anywhere=True)
    page.on(start.click, restore, [place], [place], anywhere=True)
    return drawn, moving


def draw_disk(desk: Desk) -> Markup:
    """Returns as HTML the bytes on disk of every character by kind of file, and the buttons that free some of them."""
    workplace = desk.workplace
    rows = [_row(workplace.desk(each.id)) for each in workplace.library.characters()]
    settings = workplace.settings
    shown = view(
        "disk",
        "disk",
        kinds=disk.KINDS,
        rows=rows,
        models=folder_bytes(settings.models_dir),
        free=free_bytes(settings.data_root),
        thrown=disk.thrown(workplace),
        revive=REVIVE,
        discard=DISCARD,
    )
    return looks.panel("Disk", shown)


def _row(desk: Desk) -> Markup:
    """Returns one character's disk use as HTML; for a damaged character the reason why it cannot be read."""
    found = next(each for each in desk.workplace.library.characters() if each.id == desk.id)
    if trouble := desk.workplace.library.trouble(desk.id):
        return view("disk", "damaged", name=found.name, error=trouble, kinds=disk.KINDS)
    use = disk.use(desk)
    reasons: dict[str, int] = {}
    for _, reason in use.emptying.stay:
        reasons[reason] = reasons.get(reason, 0) + 1
    return view("disk", "character", character=found, use=use, kinds=disk.KINDS, reasons=reasons, back_up=BACK_UP)


def draw_moves(desk: Desk) -> Markup:
    """Returns as HTML the newest backup job of each character, and the newest restore job of each backup file.

    An active job shows its progress. An ended one shows the file to download, the restored character, or why it failed.
    """
    shown, seen = [], set()
    for job in sorted(desk.workplace.jobs.list(), key=lambda job: job.created, reverse=True):
        about = (job.kind, job.character, job.title)
        if job.kind in (backup.BACKUP, backup.RESTORE) and about not in seen:
            seen.add(about)
            shown.append(draw_move(desk.workplace, job))
    return view("disk", "moves", moves=shown)


def draw_move(workplace: Workplace, job: Job) -> Markup:
    """Returns one backup, or one restore from a backup, as HTML; `job` is its job.

    The HTML is empty for a finished backup whose file is gone, or whose character is damaged or in the trash.
    """
    if job.state.is_under_way:
        return progress_line(job)
    if job.state is not JobState.DONE:
        return view("disk", "failed", job=job, resume=RESUME)
    if job.kind == backup.RESTORE:
        names = {each.id: each.name for each in workplace.library.characters()}
        made = job.artifacts.character or ""
        return view("disk", "restored", id=made, name=names.get(made, made))
    if workplace.library.trouble(job.character) is not None:
        return Markup()
    file = backup.written_file(workplace.desk(job.character), job)
    if not file.is_file():
        return Markup()
    size = looks.amount(file.stat().st_size)
    return view("disk", "written", job=job, file=file, url=looks.file_url(file), size=size)


def disk_act(desk: Desk, data: dict[str, Any]) -> Said:
    """Handles a click in the view of disk use; returns a notice.

    `data` holds the action and the character's id. An action frees space, backs up a character, takes one out of the
    trash, or deletes one in the trash for good. A backup is queued as a job; anything else is done at once. Raises:
    UserError for an unknown action, NotFound for a character that is gone.
    """
    workplace, act, which = desk.workplace, str(data.get("act")), str(data.get("character", ""))
    if act == REVIVE:
        return Said(f"{changes.restore(workplace, which).name} is back, with all its files.")
    if act == DISCARD:
        name = next((each.name for each in workplace.library.trashed() if each.id == which), which)
        return Said(f"{name} is deleted for good; {looks.amount(disk.discard(workplace, which))} are free now.")
    here = workplace.desk(which)
    name = here.store.character.name
    if act == BACK_UP:
        backup.submit_export(here)
        return Said(f"The backup of {name} is in the queue. Its file appears below the table.")
    if act not in CLEANING:
        raise UserError("There is no such button.", "Reload the page.")
    freed = CLEANING[act](here)
    return Said(f"{looks.amount(freed)} of {name} are free now.")


def moves_act(desk: Desk, data: dict[str, Any]) -> Said:
    """Stops or resumes the job of a backup or a restore, as the clicked button says in `data`; returns a notice.

    Raises: UserError for an unknown button, NotFound for a job that is gone.
    """
    jobs, job = desk.workplace.jobs, str(data.get("job", ""))
    if data.get("act") == RESUME:
        jobs.resume(job)
        return Said("It begins anew; what was not complete is gone.")
    if data.get("act") != CANCEL:
        raise UserError("There is no such button.", "Reload the page.")
    jobs.cancel(job)
    return Said("It stops; nothing half-made stays.")


def chosen_file(desk: Desk, file: str | None) -> str:
    """Returns the path of an uploaded backup, for the field that holds the path.

    `file` is the upload's path. Raises: NotFound where no file was uploaded.
    """
    if not file:
        raise NotFound("No file came.", "Choose the zip file again.")
    return str(file)


def restore(desk: Desk, place: str) -> Said:
    """Queues the restore of a character from the backup at the path `place`.

    Returns a notice, and "", which empties the field. Raises: NotFound without such a file, BadInput for another file.
    """
    if not place.strip():
        raise BadInput("There is no file to restore.", "Paste the path of a backup's zip file, or choose it.")
    job = backup.submit_import(desk.workplace, place)
    return Said(f"{job.title} is in the queue.", "")
