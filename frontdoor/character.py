"""`launch.py character list|export|import`: lists characters, writes one to a zip file, or restores one from it."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import assets
from engines.api.errors import UserError
from studio.flywheel.curate.inbox import typed_path
from studio.housekeeping import backup
from studio.open import open_workplace
from studio.records.job import Job, JobState
from studio.settings import Settings
from studio.workplace.desk import Workplace


def main(options: argparse.Namespace) -> int:
    """Lists the characters of a data folder, writes a backup of one, or restores one from a backup; returns 0.

    `options.what` says which: list, export or import. Raises: Busy while the studio is open on that folder, NotFound,
    BadInput, DiskFull.
    """
    settings = Settings.from_env(Path(assets.__file__).parent, options.home)
    with open_workplace(settings) as workplace:
        if options.what == "export":
            print(f"Written: {export(workplace, options.which, options.out)}")
        elif options.what == "import":
            print(f"Restored as {restore(workplace, options.which)}.")
        else:
            for each in workplace.library.characters():
                print(f"{each.id}  {each.name}")
    return 0


def export(workplace: Workplace, character_id: str, out: Path | None = None) -> Path:
    """Writes a backup of a character, which is a zip file, and returns the path of this file.

    `out` is the path of the zip file, or a folder to put it in; None leaves it in the folder of the character's
    exports. Raises: NotFound, UserError.
    """
    desk = workplace.desk(character_id)
    target = out and typed_path(str(out))
    job = _done(backup.submit_export(desk, here=True))
    written = backup.written_file(desk, job)
    if target is None:
        return written
    target = target / written.name if target.is_dir() else target
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(written, target)
    return target


def restore(workplace: Workplace, file: str) -> str:
    """Restores a character from a backup and returns the id of the restored character.

    `file` is the path of the zip file. Raises: UserError.
    """
    return _done(backup.submit_import(workplace, file, here=True)).artifacts.character or ""


def _done(job: Job) -> Job:
    """Returns a job that is done. Raises: UserError with the job's error where it is not."""
    if job.state is not JobState.DONE:
        raise UserError(job.error.message or f"{job.title} was stopped.", job.error.hint)
    return job
