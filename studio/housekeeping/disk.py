"""Disk use of a character by kind, and what can be freed: old checkpoints, caches, exports, the trash."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePath

from engines.api.errors import Busy
from studio.flywheel.train import checkpoints as choosing
from studio.flywheel.train import runs
from studio.housekeeping import trash
from studio.housekeeping.models import folder_bytes
from studio.records.character import Character
from studio.records.payload import TrainPayload
from studio.store.durable import disk_error, sync_folder
from studio.workplace.desk import Desk, Workplace

PICTURES, TRASH, VERSIONS, CHECKPOINTS, EXPORTS, CACHES, RECORDS = (
    "pictures",
    "trash",
    "versions",
    "checkpoints",
    "exports",
    "caches",
    "records",
)
KINDS = (PICTURES, VERSIONS, CHECKPOINTS, CACHES, EXPORTS, TRASH, RECORDS)


@dataclass(frozen=True)
class Use:
    """Holds what a character takes on the disk, and what each kind of cleaning would free, in bytes.

    `kinds` are the bytes by kind of file. `emptying` is what emptying the trash would do. `prunable` are the bytes of
    the checkpoints that can be deleted, `pruned` is their number. `cache` and `exports` are the bytes in those folders.
    """

    kinds: dict[str, int]
    emptying: trash.Emptying
    prunable: int  # bytes of the checkpoints that no rule keeps
    pruned: int  # their number
    cache: int
    exports: int

    @property
    def total(self) -> int:
        """Returns the bytes that the character takes on the disk in total."""
        return sum(self.kinds.values())


@dataclass(frozen=True)
class Prunable:
    """Holds a training checkpoint that can be deleted: the id of its job, its step, and its folder."""

    job: str
    step: int
    folder: Path


def use(desk: Desk) -> Use:
    """Returns what a character takes on the disk, by kind of file, and what each kind of cleaning would free.

    Raises: NotFound for a character that is gone, BadInput for one whose records are damaged.
    """
    store = desk.store
    kinds = dict.fromkeys(KINDS, 0)
    for path in store.folder.rglob("*"):
        if path.is_dir():
            continue
        kinds[_kind(path.relative_to(store.folder))] += trash.size(path)
    thrown = sum(trash.size(store.folder / image.file) for image in store.select(trashed=True))
    kinds[PICTURES] -= thrown
    kinds[TRASH] = thrown
    old = prunable(desk)
    return Use(
        kinds=kinds,
        emptying=trash.look(store),
        prunable=sum(folder_bytes(each.folder) for each in old),
        pruned=len(old),
        cache=folder_bytes(store.folder / "cache"),
        exports=kinds[EXPORTS],
    )


def prunable(desk: Desk) -> list[Prunable]:
    """Returns the checkpoints of a character's ended trainings that can be deleted.

    Not returned are each training's last checkpoint, its recommended one, and those of which a version was made.
    """
    workplace, found = desk.workplace, []
    for job in workplace.jobs.list(desk.id):
        if job.state.is_under_way or not TrainPayload.of(job).dataset:
            continue
        saved = runs.ended_checkpoints(workplace, job)
        choices = choosing.choices(workplace, job.id)
        kept = {each.step for each in choices if each.proposed or each.version}
        kept |= {version.metrics.steps or 0 for version in desk.store.versions.find(job=job.id)}
        kept |= {saved[-1].step} if saved else set()
        for each in saved:
            folder = (desk.store.folder / each.adapter).parent
            if each.step not in kept and folder.parent.name == "checkpoints":
                found.append(Prunable(job.id, each.step, folder))
    return found


def prune(desk: Desk) -> int:
    """Deletes the checkpoints that `prunable` returns, and returns the bytes freed.

    Each is first removed from its job's record, so that after a crash no job lists a checkpoint that is gone.
    Raises: Busy while a job of the character runs or waits, UserError when deleting fails.
    """
    demand_idle(desk.workplace, desk.id)
    freed = 0
    jobs, old = desk.workplace.jobs, prunable(desk)
    for job_id in dict.fromkeys(each.job for each in old):
        steps = {each.step for each in old if each.job == job_id}
        listed = jobs.get(job_id).artifacts.checkpoints or ()
        jobs.keep_artifacts(job_id, checkpoints=tuple(each for each in listed if each.step not in steps))
    for each in old:
        aside = each.folder.with_name(f".{each.folder.name}.tmp")  # a training deletes what a crash leaves of it
        try:
            each.folder.rename(aside)
        except OSError as error:
            raise disk_error(each.folder, error) from error
        freed += _delete(aside)
    return freed


def clear_cache(desk: Desk) -> int:
    """Deletes a character's cache of encoded training pictures, and returns the bytes freed.

    The next training encodes the pictures again. Raises: Busy while a job of the character runs or waits, UserError
    when deleting fails.
    """
    demand_idle(desk.workplace, desk.id)
    return _delete(desk.store.folder / "cache")


def clear_exports(desk: Desk) -> int:
    """Deletes a character's exports folder, with backups and exported LoRA files, and returns the bytes freed.

    Raises: Busy while a job of the character runs or waits, UserError when deleting fails.
    """
    demand_idle(desk.workplace, desk.id)
    return _delete(desk.store.folder / "runs" / "exports")


def empty_trash(desk: Desk) -> int:
    """Deletes the pictures in a character's trash that nothing else needs, and returns the bytes freed.

    Pictures that were trained on, for example, stay. Raises: Busy while a job of the character runs or waits, UserError
    when deleting fails.
    """
    demand_idle(desk.workplace, desk.id)
    return trash.empty(desk.store)


def thrown(workplace: Workplace) -> list[tuple[Character, int]]:
    """Returns a pair (character, bytes of its folder) for each character in the trash, the latest deletion first."""
    library = workplace.library
    return [(each, folder_bytes(library.trash_folder(each.id))) for each in library.trashed()]


def discard(workplace: Workplace, character_id: str) -> int:
    """Deletes a character in the trash with all its files for good and returns the bytes freed.

    Raises: NotFound for a character that is not in the trash, UserError when deleting fails.
    """
    freed = folder_bytes(workplace.library.trash_folder(character_id))
    workplace.library.discard(character_id)
    return freed


def demand_idle(workplace: Workplace, character_id: str) -> None:
    """Raises Busy while a job of a character runs or waits."""
    busy = next((job for job in workplace.jobs.list(character_id) if job.state.is_under_way), None)
    if busy is not None:
        raise Busy(
            f"{busy.title or busy.kind} of this character is {busy.state}.", "Wait until it has ended, or cancel it."
        )


def _kind(path: PurePath) -> str:
    """Returns the kind of a file by its path in a character's folder."""
    top = path.parts[0]
    if top == "runs" and len(path.parts) > 2:
        within = path.parts[1] if path.parts[1] == EXPORTS else path.parts[2]
        return {EXPORTS: EXPORTS, "checkpoints": CHECKPOINTS}.get(within, RECORDS)
    tops = {"images": PICTURES, "masks": PICTURES, "adapters": VERSIONS, "cache": CACHES, "thumbs": CACHES}
    return tops.get(top, RECORDS)


def _delete(folder: Path) -> int:
    """Deletes a folder and returns the bytes freed; a missing one is none. Raises: UserError."""
    if not folder.is_dir():
        return 0
    freed = folder_bytes(folder)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise disk_error(folder, error) from error
    sync_folder(folder.parent)
    return freed
