"""Provides devices of any size for tests: one that only adds up bytes, and one on which real modules run."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from engines.api.protocols import Loaded

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from engines.device.movers import Movers


@dataclass
class FakeWeights:
    """Stands for the weights of the component called `key`, and records where they were put last.

    `device` is "host" (in RAM), a device's name, or "dropped" (freed there). `streamed` is what `put` was given under
    that name.
    """

    key: str
    device: str = "host"
    streamed: bool = False


class FakeDevice:
    """Imitates a GPU with `total_bytes` of memory by adding up bytes, for tests of the GPU manager.

    `fail_at`: which calls of `put` run out of memory, counted from 1. A failed `put` leaves `litter` bytes in use,
    which only `reclaim` frees, as with a real allocator.
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
        """Returns the bytes of RAM of all components that were passed to `keep` and not released."""
        return sum(self._masters.values())

    def total_bytes(self) -> int:
        """Returns the size of the device's memory in bytes."""
        return self._total

    def out_of_memory(self, error: BaseException) -> bool:
        """Returns whether an error is MemoryError."""
        return isinstance(error, MemoryError)

    def free_bytes(self) -> int:
        """Returns the bytes of the device's memory that are not in use."""
        return self._total - self.used - self.litter

    def keep(self, host: Loaded, nbytes: int, room: int) -> int:
        """Counts `nbytes` of RAM for a loaded component until it is released, and returns `nbytes`; ignores `room`."""
        del room
        self._masters[id(host)] = nbytes
        return nbytes

    def release(self, host: Loaded) -> None:
        """Counts the RAM of a loaded component as free again."""
        self._masters.pop(id(host), None)

    def put(self, host: Loaded, nbytes: int, *, streamed: bool = False) -> Loaded:
        """Counts `nbytes` of the device's memory as used, and returns a copy of the component, which notes `streamed`.

        Raises: MemoryError where the memory does not suffice, and at the calls of `fail_at`.
        """
        self._allocate(nbytes)
        placed = copy.copy(host)
        if isinstance(placed, FakeWeights):
            placed.device, placed.streamed = self.name, streamed
        return placed

    def drop(self, placed: Loaded, nbytes: int) -> None:
        """Counts the `nbytes` of a component's copy on the device as free again."""
        if isinstance(placed, FakeWeights):
            placed.device = "dropped"
        self.used -= nbytes

    def reclaim(self) -> None:
        """Frees the bytes that failed calls of `put` left in use."""
        self.litter = 0

    def peak_bytes(self, *, reset: bool = False) -> int:
        """Returns the most bytes of the device's memory in use since the last reset; `reset` starts the count again."""
        peak = self._peak
        if reset:
            self._peak = self.used
        return peak

    def work(self, nbytes: int) -> None:
        """Takes `nbytes` of memory and frees them at once, as a forward pass does. Raises: MemoryError."""
        if nbytes > self.free_bytes():
            raise MemoryError(f"fake device: {nbytes} bytes of work, {self.free_bytes()} free")
        self._take(nbytes)
        self.used -= nbytes

    def _allocate(self, nbytes: int) -> None:
        """Takes memory for a copy; fails if the device is full, and at the calls of `fail_at`. Raises: MemoryError."""
        self.puts += 1
        if self.puts in self.fail_at or nbytes > self.free_bytes():
            self.litter += min(nbytes // 2, self.free_bytes())
            raise MemoryError(f"fake device: {nbytes} bytes asked, {self.free_bytes()} free")
        self._take(nbytes)

    def _take(self, nbytes: int) -> None:
        self.used += nbytes
        self._peak = max(self._peak, self.used)


class FakeCard(FakeDevice):
    """Uses a part of this machine's RAM as a GPU's memory; real modules move there as they move to a real GPU.

    `fail_at`: which calls fail for lack of memory, counted from 1; calls of `put` and forward passes of the modules and
    of their blocks are counted together. `asked`: these calls in order, each as ("put" or "forward", id of the module).
    """

    def __init__(self, total_bytes: int, fail_at: Iterable[int] = ()) -> None:
        super().__init__(total_bytes, fail_at)
        self.asked: list[tuple[str, int]] = []

    @cached_property
    def _movers(self) -> Movers:
        from engines.device.movers import Movers

        return Movers(self.torch_device)

    @cached_property
    def _watches(self) -> dict[int, list[RemovableHandle]]:
        return {}

    def out_of_memory(self, error: BaseException) -> bool:
        """Returns whether an error is a MemoryError or torch's OutOfMemoryError."""
        import torch

        return isinstance(error, MemoryError | torch.OutOfMemoryError)

    def keep(self, host: Loaded, nbytes: int, room: int) -> int:
        """Returns the bytes of RAM that a component's weights take, and counts them in `held` until `release`.

        Pages of a mapped file do not count. `nbytes` and `room` have no effect.
        """
        return super().keep(host, self._movers.keep(host, room), room)

    def release(self, host: Loaded) -> None:
        """Frees the weights that a module holds in RAM."""
        super().release(host)
        self._movers.release(host)

    def put(self, host: Loaded, nbytes: int, *, streamed: bool = False) -> Loaded:
        """Copies a module's weights to the imitated GPU, counts `nbytes` there as used, and returns the module.

        `streamed`: copy each block only while it computes. Raises: MemoryError where the memory does not suffice, and
        at the calls of `fail_at`.
        """
        import torch

        from engines.device.arena import blocks

        def allocate(module: nn.Module, args: object) -> None:
            self.puts += 1
            self.asked.append(("forward", id(module)))
            if self.puts in self.fail_at:
                raise torch.OutOfMemoryError(f"fake card: out of memory at allocation {self.puts}")

        self.asked.append(("put", id(host)))
        self._allocate(nbytes)
        placed = self._movers.put(host, streamed=streamed)
        if isinstance(placed, torch.nn.Module):
            watched = (placed, *blocks(placed))
            self._watches[id(placed)] = [each.register_forward_pre_hook(allocate) for each in watched]
        return placed

    def drop(self, placed: Loaded, nbytes: int) -> None:
        """Frees a module's weights on the imitated GPU, and counts their `nbytes` as free again."""
        for watch in self._watches.pop(id(placed), []):
            watch.remove()
        self._movers.drop(placed)
        super().drop(placed, nbytes)
