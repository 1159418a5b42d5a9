"""The import of pictures that were dropped or named by path, its report, and the note on the sample character."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput, NotFound, UserError
from studio.flywheel.curate import captions, importing, inbox
from studio.flywheel.curate.coverage import is_sample
from studio.records.job import Job
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Page, Render

_AFTER, _TOLD = "captions_after_import", "sample_told"


class Widgets:
    """Holds the widgets of the import panel; its constructor lays them out in the current Gradio block.

    They are a drop zone, a folder chooser, a field for a path, and the checkbox for captions after an import.
    """

    def __init__(self) -> None:
        with gr.Accordion("Add pictures", open=True, elem_id="curate-add") as self.fold, gr.Row(equal_height=True):
            self._files = gr.File(
                label="Drop 10 to 20 pictures of one character here",
                file_count="multiple",
                height=150,
                elem_id="curate-files",
            )
            with gr.Column(min_width=240):
                self._pick = gr.UploadButton(
                    "Choose a folder", file_count="directory", size="sm", elem_id="curate-folder"
                )
                self._folder = gr.Textbox(label="…or a path on this machine", placeholder="~/pictures/anna")
                self._take = gr.Button("Import from there", size="sm")
                self._after = gr.Checkbox(True, label="Write captions after an import", elem_id="curate-after")
        self.remembered: Render = (writes, [], [self._after])

    def wire(self, page: Page, report: gr.HTML) -> None:
        """Connects the panel with its handlers; `report` is the block that shows the import's report."""
        page.on(self._files.upload, import_files, [self._files], [report, self._files])
        page.on(self._pick.upload, import_files, [self._pick], [report, self._pick])
        page.on(self._take.click, import_folder, [self._folder], [report])
        page.on(self._after.input, remember, [self._after])


def writes(desk: Desk) -> bool:
    """Returns whether pictures without a caption get one after an import, as the checkbox was last set."""
    return desk.workplace.library.setting(_AFTER, bool) is not False


def remember(desk: Desk, on: bool) -> None:
    """Stores the checkbox's value: whether pictures without a caption get one after an import."""
    desk.workplace.library.set_setting(_AFTER, bool(on))


def draw_sample(desk: Desk) -> Markup:
    """Returns as HTML the note that this is the sample character and not the user's own.

    It is empty for any other character, and once the note was closed.
    """
    if not is_sample(desk) or desk.workplace.library.setting(_TOLD, bool):
        return Markup()
    toys = desk.workplace.registry.spec(desk.store.character.generator).toy
    return view("common", "sample", name=desk.store.character.name, toys=toys)


def close_sample(desk: Desk, data: dict[str, Any]) -> Markup:
    """Stores that the note on the sample character was closed, so that it stays away; returns empty HTML.

    `data`, what the button sent, is not used.
    """
    desk.workplace.library.set_setting(_TOLD, True)
    return Markup()


def import_files(desk: Desk, files: Sequence[str] | None) -> tuple[str, None]:
    """Imports the dropped files and returns the report as HTML, and None, which empties the drop zone.

    `files` are their paths; a zip is unpacked. Raises: BadInput where nothing was dropped.
    """
    if not files:
        raise BadInput("Nothing was dropped.", "Drop pictures, a folder or a zip.")
    return _import(desk, [Path(each) for each in files]), None


def import_folder(desk: Desk, folder: str) -> str:
    """Imports a folder or zip and returns the report as HTML.

    `folder` is its path on this machine, as it was typed. Raises: NotFound, or BadInput for a text that is no path.
    """
    path = inbox.typed_path(folder)
    if not os.path.lexists(path):
        raise NotFound(f"There is nothing at {path}.", "Type the path of a folder or zip.")
    return _import(desk, [path])


def _import(desk: Desk, paths: Sequence[Path]) -> Markup:
    """Imports pictures and returns the report as HTML.

    Queues captions for those that came without one, where the user wants that.
    """
    job = importing.submit_import(desk.workplace.desk(desk.id), paths)
    bare = [desk.store.images.get(image) for image in job.artifacts.imported or ()]
    todo = [image.id for image in bare if not image.caption]
    trouble = ""
    if todo and writes(desk):
        try:
            captions.submit_caption(desk, todo)
        except UserError as error:  # the pictures are here all the same
            trouble = str(error)
    return import_report(job, trouble)


def dismiss(desk: Desk, data: dict[str, Any]) -> str:
    """Closes the report of an import: returns "", which replaces it. `data`, what the button sent, is not used."""
    return ""


def import_report(job: Job, silent: str = "") -> Markup:
    """Returns the report of an import as HTML: what was imported, and the refused files with the reason and what to do.

    `job` is the job of the import; if it failed, the report is its error. `silent` is the reason why no captions are
    being written, "" where there is none.
    """
    if job.error:
        return view("common", "import_failed", error=job.error)
    made = job.artifacts
    twins = made.duplicates or ()
    notes = [(each.file, each.words) for each in made.advice or ()] + [(each.file, each.hint) for each in twins]
    report = view(
        "common",
        "imported",
        done=len(made.imported or ()),
        silent=silent,
        masks=len(made.masked or ()),
        edits=len(made.paired or ()),
        twins=len(twins),
        refused=[[looks.esc(each.file), looks.esc(each.reason), looks.esc(each.hint)] for each in made.refused or ()],
        notes=[[looks.esc(file), looks.esc(words)] for file, words in notes],
    )
    return looks.panel("Import", report, looks.close())
