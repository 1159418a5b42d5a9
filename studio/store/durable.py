"""Durable file writes: to a temporary file, synced, renamed into place, and the folder synced."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

from engines.api.errors import UserError, from_disk

_OF_RUST = re.compile(r"\(os error (\d+)\)")  # the error number in messages of Rust libraries, as safetensors

_ASIDE = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # the names of `written_aside`'s temporary files


def sweep(folder: Path) -> None:
    """Deletes the temporary files that crashed writes left in a folder and its subfolders.

    No write may be under way there.
    """
    for aside in folder.rglob(".*.tmp"):
        if _ASIDE.fullmatch(aside.name):
            with suppress(OSError):  # the file may stay, because nothing reads it
                aside.unlink()


class Disk:
    """Makes the system calls of durable writes; tests use another object instead, to observe the order of the calls."""

    def sync(self, handle: int) -> None:
        """Flushes to the disk what was written to an open file or folder; `handle` is its file descriptor."""
        os.fsync(handle)

    def replace(self, source: Path, target: Path) -> None:
        """Renames a file over another atomically."""
        source.replace(target)

    def truncate(self, file: FileIO, size: int) -> None:
        """Cuts a file to a size in bytes."""
        file.truncate(size)


DISK: Final = Disk()


def sync_folder(folder: Path, disk: Disk = DISK) -> None:
    """Syncs a folder, so that renames and new files in it survive a crash; does nothing on Windows."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        disk.sync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, disk: Disk = DISK) -> Path:
    """Creates a folder and its missing parents so that they survive a crash, and returns its path.

    Raises: UserError when the disk refuses it.
    """
    try:
        if not folder.is_dir():
            make_folder(folder.parent, disk)
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent, disk)
    except OSError as error:
        raise disk_error(folder, error) from error
    return folder


@contextmanager
def written_aside(path: Path, disk: Disk = DISK) -> Iterator[BinaryIO]:
    """Yields a temporary file to write to; when the `with` block ends, that file is synced and replaces `path`.

    When the block raises, `path` stays as it was. Raises: UserError when writing fails.
    """
    aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        make_folder(path.parent, disk)
        try:
            with aside.open("xb") as file:
                yield file
                file.flush()
                disk.sync(file.fileno())
            disk.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(path.parent, disk)
    except OSError as error:
        raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError, need: int = 0) -> UserError:
    """Returns the error to show the user when writing to `path` failed with `error`.

    `need` is the number of bytes that were to be written, 0 where it is unknown.
    """
    return from_disk(error, path, need) or UserError(
        f"{path} could not be written: {error.strerror or error}.",
        "Free some space on that disk, check that the folder may be written to, and try again.",
    )


def disk_refusal(error: BaseException, home: Path) -> UserError | None:
    """Returns the error to show the user when a full, read-only or inaccessible disk caused `error`; otherwise None.

    The whole chain of causes is searched, because libraries wrap the disk's errors in their own. `home` is the folder
    that the message names where the error names no file.
    """
    cause: BaseException | None = error
    found = None
    while cause is not None and found is None:
        if isinstance(cause, OSError):
            named = isinstance(cause.filename, str) and cause.filename
            found = from_disk(cause, Path(named) if named else home)
        elif told := _OF_RUST.search(str(cause)):
            found = from_disk(OSError(int(told[1]), ""), home)
        cause = cause.__cause__ or cause.__context__
    return found


def write_file(path: Path, data: bytes, disk: Disk = DISK) -> None:
    """Replaces a file's contents; after a crash it has the old or the new bytes. Raises: UserError on failure."""
    with written_aside(path, disk) as file:
        file.write(data)


def remove(path: Path) -> int:
    """Deletes a file and returns the size it had in bytes; 0 where there was none. Raises: UserError on failure."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise disk_error(path, error) from error
    return size


def copy_file(source: Path, target: Path, disk: Disk = DISK) -> None:
    """Copies a file in blocks; after a crash `target` is complete or as it was. Raises: UserError on failure."""
    try:
        reader = source.open("rb")
    except OSError as error:
        hint = "Check that the file is there and may be read, and try again."
        raise from_disk(error, source) or UserError(f"{source} cannot be read: {error.strerror}.", hint) from error
    with reader, written_aside(target, disk) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
