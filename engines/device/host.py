"""Measures this machine's RAM, and page-locks parts of it for fast copies to a GPU."""

from __future__ import annotations

import re
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import psutil

_CGROUPS = (  # folder, limit, use; version 2, then version 1
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
_MAPS = Path("/proc/self/maps")

Cudart: TypeAlias = Any  # torch.cuda.cudart(): torch does not type it


class Buffer(Protocol):
    """Interface of a contiguous block of memory, such as a uint8 tensor."""

    def data_ptr(self) -> int:
        """Returns the address of the first byte."""

    def numel(self) -> int:
        """Returns the length in bytes."""


def host_bytes() -> int:
    """Returns the RAM in bytes that this process may use: the machine's, or its container's limit if smaller."""
    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _cgroup())])


def host_free_bytes() -> int:
    """Returns the bytes of RAM that can still be allocated, with the page cache counted as free."""
    return min([int(psutil.virtual_memory().available), *(max(0, limit - used) for limit, used in _cgroup())])


def _cgroup() -> list[tuple[int, int]]:
    """Returns the limit and the use of the container's memory in bytes, as a list of one pair; empty without a limit.

    File pages that the kernel drops before it refuses memory do not count as used.
    """
    for folder, limit_name, used_name in _CGROUPS:
        if (folder / limit_name).is_file() and (folder / used_name).is_file():
            words = (folder / limit_name).read_text().strip()
            if words.isdigit():
                stat = (folder / "memory.stat").read_text() if (folder / "memory.stat").is_file() else ""
                cached = re.search(r"^(?:total_)?inactive_file (\d+)$", stat, re.M)
                used = int((folder / used_name).read_text())
                return [(int(words), used - (int(cached.group(1)) if cached else 0))]
    return []


def anonymous_bytes(spans: Iterable[tuple[int, int]]) -> int:
    """Returns how many bytes of the given spans of memory are not pages of a mapped file.

    `spans`: the (address, length in bytes) of each span; a span counts wholly or not at all. Pages of a file do not
    count, because the kernel can drop them and read them again. Where the process has no memory map (outside Linux),
    all bytes count.
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
    """Page-locks buffers in RAM, so that copies to a GPU run at full speed.

    CUDA registers ordinary buffers, because torch's own pinned allocator rounds each size up to a power of two.
    `cudart`: torch.cuda.cudart(). `settle`: called after CUDA has refused a buffer, to clear the error that CUDA would
    report again.
    """

    def __init__(self, cudart: Cudart, settle: Callable[[], None]) -> None:
        self._cudart = cudart
        self._settle = settle
        self._held: weakref.WeakKeyDictionary[object, weakref.finalize[..., object]] = weakref.WeakKeyDictionary()

    def pin(self, owner: object, buffer: Buffer) -> bool:
        """Page-locks a buffer until `owner` is unpinned or garbage-collected; returns whether CUDA accepted it."""
        if int(self._cudart.cudaHostRegister(buffer.data_ptr(), buffer.numel(), 0)) != 0:
            self._settle()
            return False
        unregister = self._cudart.cudaHostUnregister
        held = weakref.finalize(owner, lambda pinned: unregister(pinned.data_ptr()), buffer)  # keeps the buffer alive
        held.atexit = False  # the driver may have shut down by then
        self._held[owner] = held
        return True

    def unpin(self, owner: object) -> None:
        """Unlocks the buffer that `pin` locked for `owner`; does nothing where there is none."""
        unregister = self._held.pop(owner, None)
        if unregister is not None:
            unregister()
