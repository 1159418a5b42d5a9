"""This machine's RAM: how much of it is ours, what of it can be taken back, and pages locked for a card."""

from __future__ import annotations

import re
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

_CGROUPS = (  # folder, limit, use; version 2, then version 1
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
_MAPS = Path("/proc/self/maps")


def host_bytes() -> int:
    """RAM this process may use: the machine's, or its container's limit where that is smaller."""
    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _cgroup())])


def host_free_bytes() -> int:
    """RAM that can still be taken, the page cache counted as free."""
    return min([int(psutil.virtual_memory().available), *(max(0, limit - used) for limit, used in _cgroup())])


def _cgroup() -> list[tuple[int, int]]:
    for folder, limit_name, used_name in _CGROUPS:
        if (folder / limit_name).is_file() and (folder / used_name).is_file():
            words = (folder / limit_name).read_text().strip()
            if words.isdigit():
                return [(int(words), int((folder / used_name).read_text()) - _cached(folder))]
    return []


def _cached(folder: Path) -> int:
    """File pages that the kernel drops before it refuses memory."""
    stat = folder / "memory.stat"
    found = re.search(r"^(?:total_)?inactive_file (\d+)$", stat.read_text(), re.M) if stat.is_file() else None
    return int(found.group(1)) if found else 0


def anonymous_bytes(spans: Iterable[tuple[int, int]]) -> int:
    """How many bytes of (address, length) are no file's pages, which the kernel could drop and read again.

    Where the system shows no map of a process all of them are counted.
    """
    spans = list(spans)
    lines = _MAPS.read_text().splitlines() if _MAPS.is_file() else []
    files = sorted(
        (int(start, 16), int(end, 16))
        for start, end, inode in re.findall(r"^(\w+)-(\w+) \S+ \S+ \S+ (\d+)", "\n".join(lines), re.M)
        if inode != "0"
    )
    starts = [start for start, _ in files]

    def mapped(address: int, length: int) -> bool:
        index = bisect_right(starts, address) - 1
        return index >= 0 and address + length <= files[index][1]

    return sum(length for address, length in spans if not mapped(address, length))


class Pins:
    """Buffers of a host's RAM locked so that a card reads them at full speed.

    They are ordinary buffers, registered: torch's own pinned allocator rounds each up to a power of two. `cudart` is
    torch.cuda.cudart(), `settle` is called after it has refused.
    """

    def __init__(self, cudart: Any, settle: Callable[[], None]) -> None:
        self._cudart = cudart
        self._settle = settle
        self._held: weakref.WeakKeyDictionary[Any, weakref.finalize[Any, Any]] = weakref.WeakKeyDictionary()

    def pin(self, owner: Any, buffer: Any) -> bool:
        """Lock a buffer whose pages have been written, until `owner` is unpinned or dies; whether that worked."""
        if int(self._cudart.cudaHostRegister(buffer.data_ptr(), buffer.numel(), 0)) != 0:
            self._settle()
            return False
        held = weakref.finalize(owner, self._unregister, buffer)  # it keeps the buffer alive till then
        held.atexit = False  # the driver may have gone before us
        self._held[owner] = held
        return True

    def unpin(self, owner: Any) -> None:
        """Give the pages back to the system; nothing where none were locked."""
        unregister = self._held.pop(owner, None)
        if unregister is not None:
            unregister()

    def _unregister(self, buffer: Any) -> None:
        self._cudart.cudaHostUnregister(buffer.data_ptr())
