"""Backs up a whole character as one zip file with a hash of every file, and restores it completely or not at all."""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import IO, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from engines.api.errors import BadInput, DiskFull, NotFound
from studio.flywheel.curate.inbox import typed_path
from studio.housekeeping.disk import demand_idle
from studio.housekeeping.models import free_bytes
from studio.records.base import Part
from studio.records.character import Character
from studio.records.job import BYTES, Job, JobState, is_id
from studio.records.payload import BackupPayload
from studio.store import Store
from studio.store.durable import disk_error, make_folder, written_aside
from studio.store.journal import DATABASE_FILES
from studio.store.library import DRAFT
from studio.workplace.context import Context
from studio.workplace.desk import Desk, Workplace

BACKUP, RESTORE = "backup", "restore"  # the kinds of job
MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
_ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED)
_UNTOLD = ("import", BACKUP)  # jobs whose payloads name places of this machine
_BLOCK = 4 << 20
_SPARE = 64 << 20
_MOST_MANIFEST = 256 << 20
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
# A RuntimeError says that an entry is encrypted, or compressed in a way that Python cannot read.
_UNREADABLE = (BadZipFile, EOFError, RuntimeError, lzma.LZMAError, zlib.error)
_REMEDY = "Copy the file again from where it was made, or make a new backup there."


@dataclass(frozen=True, kw_only=True)
class FileNote(Part):
    """Holds what a backup says about one file: its path in the character's folder, its size in bytes, its SHA-256."""

    path: str
    nbytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest(Part):
    """Holds the contents of a backup: the character's record, the records of its ended jobs, and its files."""

    format: int = _FORMAT
    character: Character
    jobs: tuple[Job, ...] = ()
    files: tuple[FileNote, ...] = ()

    @property
    def nbytes(self) -> int:
        """Returns the bytes of all files in the backup together."""
        return sum(each.nbytes for each in self.files)


# ── out ─────────────────────────────────────────────────────────────────────────────────────────


def submit_export(desk: Desk, *, here: bool = False) -> Job:
    """Queues the backup of a character and returns the job; with `here` it runs at once in the calling thread.

    Raises: Busy while a job of the character runs or waits, NotFound for a character that is gone, BadInput for one
    whose records are damaged.
    """
    demand_idle(desk.workplace, desk.id)
    character = desk.store.character
    name = f"{character.id}-{datetime.now():%Y%m%d-%H%M%S}.zip"
    asked = BackupPayload(file=name)
    return desk.workplace.jobs.submit(BACKUP, desk.id, asked, title=f"Back up {character.name}", here=here)


def written_file(desk: Desk, job: Job) -> Path:
    """Returns the path of the zip file that a backup job writes; the file need not exist yet."""
    return desk.store.folder / "runs" / "exports" / PurePosixPath(BackupPayload.of(job).file).name


def run_export(ctx: Context) -> None:
    """Runs a backup job: writes the character's records and files to a zip file in its exports folder.

    The file appears there only when it is complete. Caches, earlier exports and temporary files are left out. Raises:
    Cancelled, DiskFull, UserError when writing fails.
    """
    store, target = ctx.store, written_file(ctx.desk, ctx.job)
    records = store.packed()
    paths = sorted(kept_files(store.folder))
    sizes = {path: path.stat().st_size for path in paths}
    total = len(records) + sum(sizes.values())
    if total + _SPARE > (free := free_bytes(store.folder)):
        raise DiskFull(
            f"The backup takes up to {total / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free.",
            "Free some space first: the settings page says what can go.",
        )
    notes = []
    done = 0
    with written_aside(target) as out, ZipFile(out, "w", ZIP_STORED) as archive:
        with archive.open(ZipInfo(DATABASE_FILES[0]), "w") as entry:
            entry.write(records)
        digest = hashlib.sha256(records).hexdigest()
        notes.append(FileNote(path=DATABASE_FILES[0], nbytes=len(records), sha256=digest))
        done += len(records)
        for path in paths:
            name = path.relative_to(store.folder).as_posix()
            with path.open("rb") as reader, archive.open(ZipInfo(name), "w", force_zip64=True) as entry:
                before = done

                def tell(count: int, name: str = name, before: int = before) -> None:
                    ctx.step(before + count, max(total, before + count), name, unit=BYTES)

                note = _copied(reader, entry.write, name, tell)
            notes.append(note)
            done += note.nbytes
        jobs = [job for job in ctx.workplace.jobs.list(ctx.desk.id) if job.state in _ENDED and job.kind not in _UNTOLD]
        made = Manifest(character=store.character, jobs=tuple(jobs), files=tuple(notes))
        archive.writestr(MANIFEST, json.dumps(made.to_json(), indent=1), ZIP_DEFLATED)
    ctx.keep(file=target.relative_to(store.folder).as_posix())


def kept_files(folder: Path) -> Iterator[Path]:
    """Yields the paths of the files in a character's folder that go into a backup, without the database files."""
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        aside = parts[0] == "cache" or parts[:2] == ("runs", "exports") or any(part.startswith(".") for part in parts)
        if path.is_file() and not aside and path.suffix != ".lock" and path.name not in DATABASE_FILES:
            yield path


def _copied(reader: IO[bytes], write: Callable[[bytes], object], name: str, tell: Callable[[int], None]) -> FileNote:
    """Copies a stream block by block, tells how many bytes are done, and returns its size and hash."""
    digest, count = hashlib.sha256(), 0
    while block := reader.read(_BLOCK):
        write(block)
        digest.update(block)
        count += len(block)
        tell(count)
    return FileNote(path=name, nbytes=count, sha256=digest.hexdigest())


# ── in ──────────────────────────────────────────────────────────────────────────────────────────


def submit_import(workplace: Workplace, file: str, *, here: bool = False) -> Job:
    """Queues the restoring of a character from a backup and returns the job.

    `file` is the path of the zip file as a user types it. With `here` the job runs at once in the calling thread.
    Raises: NotFound where there is no such file, BadInput for a file that is no backup.
    """
    path = typed_path(file)
    with opened(path) as (_, found):
        title = f"Restore {found.character.name}"
    return workplace.jobs.submit(RESTORE, "", BackupPayload(file=str(path)), title=title, here=here)


def run_import(ctx: Context) -> None:
    """Runs a job that restores a character from a backup: copies and checks all files, then puts them in place.

    The character gets a new id where its own is taken, and so do its jobs. Raises: Cancelled; NotFound where the backup
    is gone; BadInput for a damaged one; DiskFull, UserError when writing fails. After an error nothing is restored.
    """
    if ctx.job.artifacts.character:  # a crash came after the character and before the job's end
        return
    library = ctx.workplace.library
    draft = library.root / "characters" / f"{DRAFT}{token_hex(4)}"
    try:
        with opened(Path(BackupPayload.of(ctx.job).file)) as (archive, found):
            if found.nbytes + _SPARE > (free := free_bytes(library.root)):
                raise DiskFull(
                    f"The character takes {found.nbytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free.",
                    "Free some space on that disk first.",
                )
            _unpack(ctx, archive, found, draft)
        jobs = _with_new_ids(ctx.workplace, found, draft)
        Store(draft, lambda: found.character).close()  # raises where its records cannot be read
        made = library.take_in(found.character, draft, jobs)
        ctx.workplace.jobs.take_in([job.replace(character=made.id) for job in jobs])
        ctx.keep(character=made.id)
        ctx.say(f"{made.name} is here")
    except OSError as error:
        raise disk_error(draft, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _unpack(ctx: Context, archive: ZipFile, found: Manifest, draft: Path) -> None:
    """Copies every file of a backup to a draft and checks each by its hash. Raises: BadInput, Cancelled, OSError."""
    done = 0
    make_folder(draft)
    for note in found.files:
        target = draft / note.path

        def tell(count: int, name: str = note.path, before: int = done) -> None:
            ctx.step(before + count, found.nbytes, name, unit=BYTES)

        try:
            with archive.open(note.path) as reader, written_aside(target) as writer:
                copied = _copied(reader, writer.write, note.path, tell)
        except _UNREADABLE as error:
            raise BadInput(f"The backup is damaged: {note.path} cannot be read: {error}.", _REMEDY) from error
        if copied != note:
            raise BadInput(f"The backup is damaged: {note.path} is not what was written.", _REMEDY)
        done += note.nbytes


def _with_new_ids(workplace: Workplace, found: Manifest, draft: Path) -> list[Job]:
    """Gives jobs whose id is taken a new one, in the draft's records and folders; returns the jobs."""
    known = {job.id for job in workplace.jobs.list()}
    fresh = {job.id: f"{job.kind}-{token_hex(5)}" for job in found.jobs if job.id in known}
    if not fresh:
        return list(found.jobs)
    ids = re.compile("|".join(map(re.escape, fresh)))

    def renamed(text: str) -> str:
        return ids.sub(lambda match: fresh[match[0]], text)

    records = draft / DATABASE_FILES[0]
    text = renamed(records.read_text(encoding="ascii"))
    with written_aside(records) as out:
        out.write(text.encode("ascii"))
    for old, new in fresh.items():
        if (draft / "runs" / old).is_dir():
            (draft / "runs" / old).rename(draft / "runs" / new)
    return [Job.from_json(json.loads(renamed(json.dumps(job.to_json())))) for job in found.jobs]


@contextmanager
def opened(path: Path) -> Iterator[tuple[ZipFile, Manifest]]:
    """Opens a backup and yields its zip file and its manifest.

    All paths in the manifest are checked to lie inside a character's folder, and all jobs to have ended. Raises:
    NotFound; BadInput for a file that is no backup, a damaged one, or one written by a newer version of the studio.
    """
    try:
        if not path.is_file():
            raise NotFound(f"There is no file {path!s:.200}.", "Give the zip file of a backup.")
        archive = ZipFile(path)
    except (*_UNREADABLE, OSError, ValueError) as error:  # OSError: also of a name that no file can have
        raise BadInput(f"The file {path.name:.80} is no zip file, or a damaged one.", _REMEDY) from error
    with archive:
        yield archive, _manifest(archive, path.name)


def _manifest(archive: ZipFile, name: str) -> Manifest:
    sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if MANIFEST not in sizes or sizes[MANIFEST] > _MOST_MANIFEST:
        raise BadInput(f"{name} is no backup of a character.", f"A backup holds {MANIFEST}; Curate imports pictures.")
    try:
        told = json.loads(archive.read(MANIFEST))
        newer = told["format"] > _FORMAT
        found = Manifest.from_json(told)
    except (*_UNREADABLE, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"The manifest of {name} cannot be read: {error}.", _REMEDY) from error
    if newer:
        raise BadInput(f"{name} was written by a newer FLENwheel.", "Update this one.")
    paths = [each.path for each in found.files]
    if not _ID.fullmatch(found.character.id) or DATABASE_FILES[0] not in paths or len(set(paths)) != len(paths):
        raise BadInput(f"{name} is no backup of a character, or a damaged one.", _REMEDY)
    if bad := [job for job in found.jobs if job.state not in _ENDED or not (is_id(job.id) and is_id(job.kind))]:
        raise BadInput(f"{name} names a job that no backup holds: {bad[0].id!r:.80} is {bad[0].state}.", _REMEDY)
    for each in found.files:
        parts = PurePosixPath(each.path).parts
        outside = each.path.startswith("/") or "\\" in each.path or ":" in each.path or ".." in parts
        if outside or each.path != "/".join(parts):
            raise BadInput(f"{name} names a file outside the character's folder: {each.path!r:.80}.", _REMEDY)
        if sizes.get(each.path) != each.nbytes:
            raise BadInput(f"The backup is damaged: {each.path} is missing or cut off.", _REMEDY)
    return found
