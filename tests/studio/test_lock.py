"""The lock: one process at a time, told by number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from engines.errors import Busy
from studio.lock import FolderLock

_HOLDER = """
import sys, time
from pathlib import Path
from studio.lock import FolderLock
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
    root = Path(__file__).parents[2]
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
