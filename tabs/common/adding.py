"""The import of pictures that were dropped or named by path, and its report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from engines.api.errors import BadInput, NotFound
from studio.flywheel.curate import importing, inbox
from studio.records.job import Job
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view


def import_files(desk: Desk, files: Sequence[str] | None) -> tuple[str, None]:
    """Imports the dropped files; returns the report and an empty value for the drop zone. Raises: BadInput."""
    if not files:
        raise BadInput("Nothing was dropped.", "Drop pictures, a folder or a zip.")
    return import_report(importing.submit_import(desk.workplace.desk(desk.id), [Path(each) for each in files])), None


def import_folder(desk: Desk, folder: str) -> str:
    """Imports a folder or zip of this machine; returns the report. Raises: NotFound."""
    path = inbox.typed_path(folder)
    if not os.path.lexists(path):
        raise NotFound(f"There is nothing at {path}.", "Type the path of a folder or zip.")
    return import_report(importing.submit_import(desk.workplace.desk(desk.id), [path]))


def dismiss(desk: Desk, data: dict[str, Any]) -> str:
    """Closes the report by returning an empty text for it."""
    return ""


def import_report(job: Job) -> Markup:
    """Returns the report of an import: the imported pictures, and the refused files with reason and remedy."""
    if job.error:
        return view("common", "import_failed", error=job.error)
    made = job.artifacts
    twins = made.duplicates or ()
    notes = [(each.file, each.words) for each in made.advice or ()] + [(each.file, each.hint) for each in twins]
    report = view(
        "common",
        "imported",
        done=len(made.imported or ()),
        masks=len(made.masked or ()),
        twins=len(twins),
        refused=[[looks.esc(each.file), looks.esc(each.reason), looks.esc(each.hint)] for each in made.refused or ()],
        notes=[[looks.esc(file), looks.esc(words)] for file, words in notes],
    )
    return looks.panel("Import", report, looks.close())
