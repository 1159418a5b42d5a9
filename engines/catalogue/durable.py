"""Writes files that survive a crash: complete and on the disk, or not there at all."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4


def write_file(file: Path, data: bytes) -> None:
    """Replaces a file's contents with `data`, completely or not at all; two processes may write the file at once."""
    draft = file.with_name(f".{file.name}.{uuid4().hex[:8]}.tmp")
    try:
        with draft.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    flush(file.parent)


def flush(path: Path) -> None:
    """Forces a file or a folder to the disk with fsync; does nothing for a folder on Windows, which lacks that."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if path.is_file() and os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
