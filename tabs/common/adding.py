"""Pictures come in: what was dropped or named, and the report of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.api.errors import BadInput, NotFound
from studio.flywheel.curate import importing, inbox
from studio.records.job import Job
from studio.workplace.desk import Desk
from tabs.common import looks


def import_files(desk: Desk, files: Sequence[str] | None) -> tuple[str, None]:
    """Import what was dropped; answers the report and an emptied drop zone."""
    if not files:
        raise BadInput("Nothing was dropped.", "Drop pictures, a folder or a zip.")
    return import_report(importing.submit_import(desk.workplace.desk(desk.id), [Path(each) for each in files])), None


def import_folder(desk: Desk, folder: str) -> str:
    """Import a folder of this machine; answers the report."""
    path = inbox.typed_path(folder)
    if not os.path.lexists(path):
        raise NotFound(f"There is nothing at {path}.", "Type the path of a folder or zip.")
    return import_report(importing.submit_import(desk.workplace.desk(desk.id), [path]))


def dismiss(desk: Desk, data: dict[str, Any]) -> str:
    """Close a report."""
    return ""


def import_report(job: Job) -> str:
    """What came in, what did not and why, with the remedy."""
    if job.error:
        cause, hint = job.error.message, job.error.hint
        return f'<div class="fl-trouble"><b>{looks.esc(cause)}</b><span>{looks.esc(hint)}</span>{looks.close()}</div>'
    made = job.artifacts
    done, twins, refused = made.imported or (), made.duplicates or (), made.refused or ()
    notes = [(each.file, each.words) for each in made.advice or ()] + [(each.file, each.hint) for each in twins]
    parts = [looks.chip(f"{looks.plural(len(done), 'picture')} imported", "good" if done else "")]
    if masks := made.masked:
        parts.append(looks.chip(looks.plural(len(masks), "mask"), "good"))
    if twins:
        parts.append(looks.chip(f"{len(twins)} already here"))
    if refused:
        parts.append(looks.chip(f"{len(refused)} not imported", "warn"))
    rows = [[looks.esc(each.file), looks.esc(each.reason), looks.esc(each.hint)] for each in refused]
    table = looks.table(["file", "why not", "what to do"], rows) if rows else ""
    told = [[looks.esc(file), looks.esc(words)] for file, words in notes]
    table += looks.table(["file", "worth knowing"], told) if told else ""
    return looks.panel("Import", f'<div class="fl-line">{"".join(parts)}</div>{table}', looks.close())
