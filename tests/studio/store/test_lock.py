"""The lock: one process at a time, told by number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from engines.api.errors import Busy, UserError
from studio.store.lock import FolderLock

_HOLDER = """
import sys, time
from pathlib import Path
from studio.store.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_second_holder_is_refused(tmp_path: Path) -> None:
    """Who comes second learns which process is in."""
    lock = FolderLock(tmp_path)
    with pytest.raises(Busy, match=f"process {os.getpid()}"):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


def test_release_from_another_thread(tmp_path: Path) -> None:
    """The thread that closes need not be the one that opened."""
    lock = FolderLock(tmp_path)
    thread = Thread(target=lock.release)
    thread.start()
    thread.join()
    FolderLock(tmp_path).release()


def test_killed_holder_lets_go(tmp_path: Path) -> None:
    """Another process's lock names that process, and ends with it even when it is killed."""
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=f"process {holder.pid}"):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait()
    FolderLock(tmp_path).release()


def test_without_its_file_the_folder_is_held_all_the_same(tmp_path: Path) -> None:
    """Deleting the lock's files lets no second process in."""
    lock = FolderLock(tmp_path)
    for name in ("flenwheel.lock", "flenwheel.pid"):
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(Busy, match="in use by another FLENwheel"):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


@pytest.mark.parametrize("name", ["flenwheel.lock"])
def test_a_lock_that_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    """As on a disk that may only be read: in words, and nothing is held afterwards."""
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="could not be written"):
        FolderLock(tmp_path)
    (tmp_path / name).rmdir()
    FolderLock(tmp_path).release()
