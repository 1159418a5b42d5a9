"""Devices of any size, for tests: one that counts what real memory would hold, one that real modules run on."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass
class FakeWeights:
    """What a fake component loads; `device` tells a copy from its master."""

    key: str
    device: str = "host"
    streamed: bool = False


class FakeDevice:
    """A card of any size. `fail_at` numbers the calls of `put` (from 1) that run out of memory.

    A failed `put` leaves litter that only `reclaim` frees, as a real allocator does. `work` uses memory the
    way a forward pass would. `held` is the RAM of all masters.
    """

    name = "fake"
    torch_device = "cpu"
    in_place = False

    def __init__(self, total_bytes: int, fail_at: Iterable[int] = ()) -> None:
        self._total = total_bytes
        self.fail_at = frozenset(fail_at)
        self.puts = 0
        self.used = 0
        self.litter = 0
        self._peak = 0
        self._masters: dict[int, int] = {}

    @property
    def held(self) -> int:
        """Bytes of all host masters."""
        return sum(self._masters.values())

    def total_bytes(self) -> int:
        """Capacity."""
        return self._total

    def out_of_memory(self, error: BaseException) -> bool:
        """MemoryError."""
        return isinstance(error, MemoryError)

    def free_bytes(self) -> int:
        """What can still be placed."""
        return self._total - self.used - self.litter

    def keep(self, host: Any, nbytes: int, room: int) -> int:
        """Count a master."""
        del room
        self._masters[id(host)] = nbytes
        return nbytes

    def release(self, host: Any) -> None:
        """Count it no more."""
        self._masters.pop(id(host), None)

    def put(self, host: Any, nbytes: int, *, streamed: bool = False) -> Any:
        """A copy of the host object. Raises: MemoryError."""
        self.puts += 1
        if self.puts in self.fail_at or nbytes > self.free_bytes():
            self.litter += min(nbytes // 2, self.free_bytes())
            raise MemoryError(f"fake device: {nbytes} bytes asked, {self.free_bytes()} free")
        self._take(nbytes)
        return self._placed(host, streamed)

    def drop(self, placed: Any, nbytes: int) -> None:
        """Forget a copy."""
        self._forget(placed)
        self.used -= nbytes

    def reclaim(self) -> None:
        """Sweep the litter."""
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

    def _placed(self, host: Any, streamed: bool) -> Any:
        placed = copy.copy(host)
        if isinstance(placed, FakeWeights):
            placed.device, placed.streamed = self.name, streamed
        return placed

    def _forget(self, placed: Any) -> None:
        if isinstance(placed, FakeWeights):
            placed.device = "dropped"


class FakeCard(FakeDevice):
    """A card whose memory is a part of this machine's RAM: real modules go there as they go to a real one.

    `fail_at` also counts the forward passes of modules and of their blocks, which fail as torch's allocator does;
    `asked` says who was the one of each number.
    """

    def __init__(self, total_bytes: int, fail_at: Iterable[int] = ()) -> None:
        super().__init__(total_bytes, fail_at)
        self.asked: list[tuple[str, int]] = []

    @cached_property
    def _movers(self) -> Any:
        from engines.device.movers import Movers

        return Movers(self.torch_device)

    def out_of_memory(self, error: BaseException) -> bool:
        """MemoryError, or torch's own."""
        import torch

        return isinstance(error, MemoryError | torch.OutOfMemoryError)

    def keep(self, host: Any, nbytes: int, room: int) -> int:
        """What of a master is no file's pages."""
        return super().keep(host, self._movers.keep(host, room), room)

    def release(self, host: Any) -> None:
        """Let a master's RAM go."""
        super().release(host)
        self._movers.release(host)

    def put(self, host: Any, nbytes: int, *, streamed: bool = False) -> Any:
        """The module itself, its weights copied to the card. Raises: MemoryError."""
        self.asked.append(("put", id(host)))
        return super().put(host, nbytes, streamed=streamed)

    def _placed(self, host: Any, streamed: bool) -> Any:
        import torch

        from engines.device.arena import blocks

        placed = self._movers.put(host, streamed=streamed)
        if isinstance(placed, torch.nn.Module):
            watched = (placed, *blocks(placed))
            self._watches[id(placed)] = [each.register_forward_pre_hook(self._allocate) for each in watched]
        return placed

    def _forget(self, placed: Any) -> None:
        for watch in self._watches.pop(id(placed), []):
            watch.remove()
        self._movers.drop(placed)

    @cached_property
    def _watches(self) -> dict[int, list[Any]]:
        return {}

    def _allocate(self, module: Any, *_: Any) -> None:
        import torch

        self.puts += 1
        self.asked.append(("forward", id(module)))
        if self.puts in self.fail_at:
            raise torch.OutOfMemoryError(f"fake card: out of memory at allocation {self.puts}")
