"""What is where: host masters in RAM, copies on the card, and who is evicted first. Torch-free."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

from engines.api.protocols import Component, Device, Stage
from studio.gpu.usage import Demand


@dataclass
class _Master:
    host: Any
    bytes: int  # of RAM that only dropping it gives back
    weights: int
    touched: int
    beside: Callable[[], int]  # RAM beside the weights, by now


@dataclass
class _Placed:
    module: Any
    bytes: int
    streamed: bool
    touched: int
    beside: Callable[[], int]  # the same: the copy of a master that has gone still has it


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
    """The table of host masters and device copies; its owner serialises every call but the tables.

    A copy is registered once it is whole, so nothing is ever half-loaded. Weights are never copied back: to
    evict is to drop the copy. Where the device is the host itself the placed object is the only one, and no master
    is counted beside it.
    """

    def __init__(self, device: Device, host_bytes: int | None, clock: Callable[[], float]) -> None:
        self._device = device
        self._host_bytes = host_bytes
        self._clock = clock
        self._demand = Demand(clock)
        self._placed: dict[str, _Placed] = {}
        self._masters: dict[str, _Master] = {}
        self._weights: dict[str, int] = {}
        self._load_s: dict[str, float] = {}
        self._put_s: dict[str, float] = {}
        self._tick = 0

    # ── what is where ───────────────────────────────────────────────────────────────────────────

    def table(self) -> dict[str, int]:
        """Bytes of each resident, oldest first; safe from any thread."""
        placed = self._placed.copy()
        if self._device.in_place:  # RAM beside the weights is the device's, too
            return {key: each.bytes + each.beside() for key, each in placed.items()}
        return {key: each.bytes for key, each in placed.items()}

    def masters(self) -> dict[str, int]:
        """Bytes of the weights of each host master; safe from any thread."""
        return {key: master.weights for key, master in self._masters.copy().items()}

    def on_disk(self) -> dict[str, int]:
        """Bytes of what was used and is neither on the card nor in RAM now; safe from any thread."""
        here = {*self._placed.copy(), *self._masters.copy()}
        return {key: size for key, size in self._weights.copy().items() if key not in here}

    def used(self) -> int:
        """Bytes of all residents."""
        return sum(self.table().values())

    def fits(self, component: Component, stage: Stage) -> bool:
        """Whether a component is on the card, in the form that a stage wants it in."""
        held = self._placed.get(component.key)
        return held is not None and held.streamed == stage.streamed(component)

    # ── coming ──────────────────────────────────────────────────────────────────────────────────

    def asked(self, component: Component) -> None:
        """A job has use for a component: what is often wanted is expected again, and kept longer."""
        self._demand.note(component.key)

    def place(self, component: Component, stage: Stage) -> Any:
        """The copy on the device, made if need be. Raises: MemoryError, with nothing half-loaded."""
        self._tick += 1
        if self.fits(component, stage):
            held = self._placed[component.key]
            held.touched = self._tick
            return held.module
        if component.key in self._placed:
            self.evict(component.key)
        size, streamed = stage.size(component), stage.streamed(component)
        try:
            with MemoryErrors(self._device):
                host = self._host(component)
                began = self._clock()
                module = self._device.put(host, size, streamed=streamed)
                self._put_s[component.key] = self._clock() - began
            beside = partial(component.beside, module)
            self._placed[component.key] = _Placed(module, size, streamed, self._tick, beside)
            self._weights[component.key] = component.bytes
            if self._device.in_place:
                self._release(component.key)
        finally:
            self._trim()
        return module

    def _host(self, component: Component) -> Any:
        master = self._masters.get(component.key)
        if master is None:
            began = self._clock()
            host = component.load()
            self._load_s[component.key] = self._clock() - began
            beside = partial(component.beside, host)
            master = _Master(host, component.bytes, component.bytes, self._tick, beside)
            self._masters[component.key] = master
            self._trim(loading=component.key)
            others = self._held() - component.bytes
            room = component.bytes if self._host_bytes is None else max(0, self._host_bytes - others)
            master.bytes = self._device.keep(host, component.bytes, room)
        master.touched = self._tick
        return master.host

    # ── going ───────────────────────────────────────────────────────────────────────────────────

    def victims(self, keep: Iterable[str], later: Iterable[str] = ()) -> list[str]:
        """Who may go, first to go first: not wanted later, cheapest to have back, longest unused.

        Cheap is what takes few seconds to reload for each byte that goes, times how often it is asked for.
        """
        kept, wanted = set(keep), set(later)
        free = {key: placed for key, placed in self._placed.copy().items() if key not in kept and placed.bytes > 0}

        def price(key: str) -> float:
            seconds = self._put_s.get(key, 0.0) + (0.0 if key in self._masters else self._load_s.get(key, 0.0))
            return seconds * self._demand.rate(key) / free[key].bytes

        return sorted(free, key=lambda key: (key in wanted, price(key), free[key].touched, key))

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
            self._release(key)

    def settle(self) -> None:
        """Hold to the host's budget again: what parts keep beside their weights grows while they are used."""
        self._trim()

    def _held(self) -> int:
        """RAM of the masters' weights, and of what any part keeps beside them."""
        parts: dict[str, _Placed | _Master] = {**self._placed, **self._masters}  # each once: a copy shares its master's
        return sum(master.bytes for master in self._masters.values()) + sum(part.beside() for part in parts.values())

    def _trim(self, loading: str = "") -> None:
        """Drop the masters that are cheapest to read again per byte, until the host's budget holds.

        What is loading is needed until it is placed: where it is the cheapest itself, it goes after that.
        """

        def price(key: str) -> tuple[float, int, str]:
            master = self._masters[key]
            seconds = self._load_s.get(key, 0.0) * self._demand.rate(key)
            return (seconds / max(master.bytes, 1), master.touched, key)

        while self._host_bytes is not None and self._held() > self._host_bytes:
            read_by_block = {key for key, placed in self._placed.copy().items() if placed.streamed}
            loose = [key for key, master in self._masters.items() if master.bytes and key not in read_by_block]
            cheapest = min(loose, key=price, default=loading)
            if cheapest == loading:
                return
            self._release(cheapest)

    def _release(self, key: str) -> None:
        self._device.release(self._masters.pop(key).host)
