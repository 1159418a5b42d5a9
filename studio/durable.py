"""Files that survive a crash: written aside, synced, renamed into place, and their folder synced."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from engines.errors import UserError

_ASIDE = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # as `written_aside` names what is not whole yet


def sweep(folder: Path) -> None:
    """Delete what a crash left half written in a folder and below it; nobody may be writing there now."""
    for aside in folder.rglob(".*.tmp"):
        if _ASIDE.fullmatch(aside.name):
            with suppress(OSError):  # it may stay: nothing reads it
                aside.unlink()


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable; Windows does so by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> Path:
    """Create a folder and its missing parents so that they outlive a power cut. Raises: UserError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        try:
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        except OSError as error:
            raise disk_error(folder, error) from error
    return folder


@contextmanager
def written_aside(path: Path) -> Iterator[BinaryIO]:
    """A file to write into that takes its place at `path` only once it is whole and on the disk.

    Raises: UserError when the disk refuses.
    """
    aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        make_folder(path.parent)
        try:
            with aside.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> UserError:
    """What a user is told when the disk refuses a write."""
    return UserError(
        f"{path} could not be written: {error.strerror or error}.",
        "Free some space on that disk, check that the folder may be written to, and try again.",
    )


def write_file(path: Path, data: bytes) -> None:
    """Replace a file's contents, whole or not at all. Raises: UserError."""
    with written_aside(path) as file:
        file.write(data)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all, without holding it in memory. Raises: UserError."""
    with source.open("rb") as reader, written_aside(target) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
