"""What is where: host masters in RAM, copies on the card, and who is evicted first. Torch-free."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from engines.api import Component, Device


@dataclass
class _Master:
    host: Any
    bytes: int
    touched: int


@dataclass
class _Placed:
    module: Any
    bytes: int
    touched: int


class MemoryErrors:
    """Turns a device's own out-of-memory errors into MemoryError and lets their frames go."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not self._device.out_of_memory(error):
            return
        words = str(error)
        traceback.clear_frames(trace)  # a frame holds the tensors that did not fit
        error.__traceback__ = None
        raise MemoryError(words) from None


class Residents:
    """The table of host masters and device copies; its owner serialises every call but `table`.

    A copy is registered once it is whole, so nothing is ever half-loaded. Weights are never copied back: to
    evict is to drop the copy. Where the device is the host itself (`put` answers what it was given), the
    placed object is the only one, and no master is counted beside it.
    """

    def __init__(self, device: Device, host_bytes: int | None, clock: Callable[[], float]) -> None:
        self._device = device
        self._host_bytes = host_bytes
        self._clock = clock
        self._placed: dict[str, _Placed] = {}
        self._masters: dict[str, _Master] = {}
        self._load_s: dict[str, float] = {}
        self._put_s: dict[str, float] = {}
        self._tick = 0

    def table(self) -> dict[str, int]:
        """Bytes of each resident, oldest first; safe from any thread."""
        return {key: placed.bytes for key, placed in self._placed.copy().items()}

    def masters(self) -> dict[str, int]:
        """Bytes of each host master; safe from any thread."""
        return {key: master.bytes for key, master in self._masters.copy().items()}

    def used(self) -> int:
        """Bytes of all residents."""
        return sum(self.table().values())

    def place(self, component: Component) -> Any:
        """The copy on the device, made if need be. Raises: MemoryError, with nothing half-loaded."""
        self._tick += 1
        held = self._placed.get(component.key)
        if held is not None:
            held.touched = self._tick
            return held.module
        with MemoryErrors(self._device):
            host = self._host(component)
            began = self._clock()
            module = self._device.put(host, component.bytes)
            self._put_s[component.key] = self._clock() - began
        self._placed[component.key] = _Placed(module, component.bytes, self._tick)
        if module is host:
            self._masters.pop(component.key, None)
        self._trim()
        return module

    def _host(self, component: Component) -> Any:
        master = self._masters.get(component.key)
        if master is None:
            began = self._clock()
            host = component.load()
            self._load_s[component.key] = self._clock() - began
            master = self._masters[component.key] = _Master(host, component.bytes, self._tick)
        master.touched = self._tick
        return master.host

    def _trim(self) -> None:
        """Drop the masters that are quickest to read again per byte, until the host budget holds."""
        if self._host_bytes is None:
            return
        while sum(master.bytes for master in self._masters.values()) > self._host_bytes:
            self._masters.pop(min(self._masters, key=self._master_value))

    def _master_value(self, key: str) -> tuple[float, int, str]:
        master = self._masters[key]
        return (self._load_s.get(key, 0.0) / max(master.bytes, 1), master.touched, key)

    def _reload_cost(self, key: str) -> float:
        """Measured seconds to bring a key back, per byte that its eviction frees."""
        seconds = self._put_s.get(key, 0.0)
        if key not in self._masters:
            seconds += self._load_s.get(key, 0.0)
        return seconds / self._placed[key].bytes

    def victims(self, keep: Iterable[str], later: Iterable[str] = ()) -> list[str]:
        """Who may go, first to go first: not wanted later, cheapest to reload per byte, longest unused."""
        kept, wanted = set(keep), set(later)
        free = [key for key, placed in self._placed.items() if key not in kept and placed.bytes > 0]
        return sorted(
            free, key=lambda key: (key in wanted, self._reload_cost(key), self._placed[key].touched, key)
        )

    def evict(self, key: str) -> None:
        """Drop a copy; its master, if any, stays."""
        placed = self._placed.pop(key)
        self._device.drop(placed.module, placed.bytes)

    def clear(self, keep: Iterable[str] = ()) -> None:
        """Drop every copy and master but those in `keep`."""
        kept = set(keep)
        for key in [key for key in self._placed if key not in kept]:
            self.evict(key)
        for key in [key for key in self._masters if key not in kept]:
            self._masters.pop(key)
