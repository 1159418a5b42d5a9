"""A device of any size, for tests: it counts what real memory would hold."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass
class FakeWeights:
    """What a fake component loads; `device` tells a copy from its master."""

    key: str
    device: str = "host"


class FakeDevice:
    """A card of any size. `fail_at` numbers the calls of `put` (from 1) that run out of memory.

    A failed `put` leaves litter that only `reclaim` frees, as a real allocator does. `work` uses memory the
    way a forward pass would.
    """

    name = "fake"
    torch_device = "cpu"

    def __init__(self, total_bytes: int, fail_at: Iterable[int] = ()) -> None:
        self._total = total_bytes
        self._fail_at = frozenset(fail_at)
        self.puts = 0
        self.reclaims = 0
        self.used = 0
        self.litter = 0
        self._peak = 0

    def total_bytes(self) -> int:
        """Capacity."""
        return self._total

    def out_of_memory(self, error: BaseException) -> bool:
        """MemoryError."""
        return isinstance(error, MemoryError)

    def free_bytes(self) -> int:
        """What can still be placed."""
        return self._total - self.used - self.litter

    def put(self, host: Any, nbytes: int) -> Any:
        """A shallow copy of the host object. Raises: MemoryError."""
        self.puts += 1
        if self.puts in self._fail_at or nbytes > self.free_bytes():
            self.litter += min(nbytes // 2, self.free_bytes())
            raise MemoryError(f"fake device: {nbytes} bytes asked, {self.free_bytes()} free")
        self._take(nbytes)
        placed = copy.copy(host)
        if isinstance(placed, FakeWeights):
            placed.device = self.name
        return placed

    def drop(self, placed: Any, nbytes: int) -> None:
        """Forget a copy."""
        if isinstance(placed, FakeWeights):
            placed.device = "dropped"
        self.used -= nbytes

    def reclaim(self) -> None:
        """Sweep the litter."""
        self.reclaims += 1
        self.litter = 0

    def peak_bytes(self, *, reset: bool = False) -> int:
        """The most that was in use since the last reset."""
        peak = self._peak
        if reset:
            self._peak = self.used
        return peak

    def work(self, nbytes: int) -> None:
        """Use memory for a moment. Raises: MemoryError."""
        if nbytes > self.free_bytes():
            raise MemoryError(f"fake device: {nbytes} bytes of work, {self.free_bytes()} free")
        self._take(nbytes)
        self.used -= nbytes

    def _take(self, nbytes: int) -> None:
        self.used += nbytes
        self._peak = max(self._peak, self.used)
