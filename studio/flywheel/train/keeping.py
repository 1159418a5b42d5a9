"""Changes versions after their training: their notes, and moves into and out of the trash."""

from __future__ import annotations

from engines.api.errors import Busy
from engines.api.values import Words, taken
from studio.records.payload import TrainPayload
from studio.records.version import Version
from studio.records.words import demand_text
from studio.workplace.desk import Desk


def note(desk: Desk, version_id: str, text: str) -> Version:
    """Replaces a version's notes by `text` and returns the changed version.

    Raises: NotFound for an unknown version; BadInput for a value that is no text, or too long.
    """
    demand_text("notes", text)
    words = str(taken("text", text, Words)).strip()
    versions = desk.store.versions
    with desk.store.transaction():
        known = versions.get(version_id)
        return known if known.notes == words else versions.put(known.replace(notes=words))


def trash(desk: Desk, version_id: str) -> Version:
    """Moves a version into the trash and returns it; its LoRA file is kept, and `restore` undoes the move.

    Raises: NotFound for an unknown version; Busy for the adopted version, which is the one in use, and while a job that
    draws or trains with the version runs or waits.
    """
    known = desk.store.versions.get(version_id)
    for job in desk.workplace.jobs.list(desk.id):
        asked = TrainPayload.of(job)
        if job.state.is_under_way and version_id in (asked.version, asked.start):
            raise Busy(
                f"{known.name} is needed by a job: {job.title or job.kind}.", "Cancel that job, or wait for its end."
            )
    return desk.store.trash_version(version_id)


def restore(desk: Desk, version_id: str) -> Version:
    """Takes a version out of the trash and returns it. Raises: NotFound."""
    return desk.store.restore_version(version_id)
