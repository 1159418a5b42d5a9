"""One process at a time in a folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from engines.errors import Busy
from studio.durable import disk_error


class FolderLock:
    """Holds a folder from construction to `release`; the system lets go of it when the process dies.

    Raises: Busy, with the other process's number; UserError where the disk refuses the lock.
    """

    def __init__(self, folder: Path) -> None:
        self._owner = folder / "flenwheel.pid"  # a file of its own: Windows cannot read one that is locked
        self._lock = FileLock(folder / "flenwheel.lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise Busy(
                f"{folder} is in use by another FLENwheel (process {self._read_owner()}).",
                "Close that one first, or set FLENWHEEL_HOME to another folder.",
            ) from None
        except OSError as error:
            raise disk_error(folder / "flenwheel.lock", error) from error
        with suppress(OSError):  # only said to who comes second
            self._owner.write_text(str(os.getpid()), "ascii")

    def release(self) -> None:
        """Let another process in."""
        self._lock.release()

    def _read_owner(self) -> str:
        try:
            return self._owner.read_text("ascii", "replace") or "unknown"
        except OSError:
            return "unknown"
