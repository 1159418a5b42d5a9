"""A lock that lets only one process use a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from engines.api.errors import Busy
from studio.store.durable import disk_error


class FolderLock:
    """Locks a folder for this process, from construction until `release` or the end of the process.

    Where the system can lock a folder itself, the lock holds even when the lock file is deleted. Raises: Busy with the
    id of the process that holds the lock; UserError where the disk refuses the lock.
    """

    def __init__(self, folder: Path) -> None:
        self._owner = folder / "flenwheel.pid"  # a separate file, because Windows cannot read a locked one
        self._lock = FileLock(folder / "flenwheel.lock", thread_local=False)
        with ExitStack() as undo:
            try:
                self._lock.acquire(timeout=0)
                undo.callback(self._lock.release)
                undo.callback(_hold(folder))
            except (Timeout, BlockingIOError):
                raise Busy(
                    f"{folder} is in use by another FLENwheel (process {self._read_owner()}).",
                    "Close that one first, or set FLENWHEEL_HOME to another folder.",
                ) from None
            except OSError as error:
                raise disk_error(folder / "flenwheel.lock", error) from error
            with suppress(OSError):  # the id is used only in the error of a second process
                self._owner.write_text(str(os.getpid()), "ascii")
            self._undo = undo.pop_all()

    def release(self) -> None:
        """Releases the folder, so that other processes can lock it."""
        self._undo.close()

    def _read_owner(self) -> str:
        try:
            return self._owner.read_text("ascii", "replace") or "unknown"
        except OSError:
            return "unknown"


def _hold(folder: Path) -> Callable[[], None]:
    """Locks the folder itself; returns a function that unlocks it. Raises: BlockingIOError when it is locked."""
    if sys.platform == "win32":  # a file that is locked cannot be deleted there
        return lambda: None
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        pass  # a file system that cannot lock folders, such as NFS; the lock file still holds
    return lambda: os.close(handle)
