"""The resident components: their masters in RAM, their copies on the device, and the order of eviction. No torch."""

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
    """A component in RAM, from which copies on the device are made; sizes in bytes, `touched` in ticks."""

    host: Any
    bytes: int  # RAM that is freed only when the master is dropped
    weights: int
    touched: int
    beside: Callable[[], int]  # returns the RAM that the component uses beside its weights now


@dataclass
class _Placed:
    """A component's copy on the device; `streamed` when its blocks are copied one by one."""

    module: Any
    bytes: int
    streamed: bool
    touched: int
    beside: Callable[[], int]  # the same function: a copy uses that RAM also after its master was dropped


class MemoryErrors:
    """A context manager that turns a device's out-of-memory errors into MemoryError.

    It also clears the stack frames of the error, because they hold tensors that did not fit.
    """

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
    """Holds the loaded components: their weights in RAM (masters), and the copies of them on the device.

    Evicting drops a copy from the device; nothing is copied back to RAM. A copy is listed only when it is complete.
    Where the device is the CPU, the copy is the only object, and there is no master. Calls from several threads must be
    serialised by the caller, except `table`, `masters` and `on_disk`.
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

    # ── state ────────────────────────────────────────────────────────────────────────────────────

    def table(self) -> dict[str, int]:
        """Returns the components on the device as key -> bytes, in the order of loading; safe from any thread."""
        placed = self._placed.copy()
        if self._device.in_place:  # RAM beside the weights is the device's memory, too
            return {key: each.bytes + each.beside() for key, each in placed.items()}
        return {key: each.bytes for key, each in placed.items()}

    def masters(self) -> dict[str, int]:
        """Returns the components whose weights are held in RAM, as key -> bytes of weights; safe from any thread."""
        return {key: master.weights for key, master in self._masters.copy().items()}

    def on_disk(self) -> dict[str, int]:
        """Returns the components that were used earlier and are now neither on the device nor in RAM, as key -> bytes.

        It is safe from any thread.
        """
        here = {*self._placed.copy(), *self._masters.copy()}
        return {key: size for key, size in self._weights.copy().items() if key not in here}

    def used(self) -> int:
        """Returns the bytes that all components on the device take together."""
        return sum(self.table().values())

    def fits(self, component: Component, stage: Stage) -> bool:
        """Returns whether a component is on the device as a stage needs it: either whole, or streamed by blocks."""
        held = self._placed.get(component.key)
        return held is not None and held.streamed == stage.streamed(component)

    # ── loading ──────────────────────────────────────────────────────────────────────────────────

    def asked(self, component: Component) -> None:
        """Counts one use of a component by a job; components that are often used are evicted later."""
        self._demand.note(component.key)

    def place(self, component: Component, stage: Stage) -> Any:
        """Returns a component's module on the device, after loading it if it is not there as the stage needs it.

        Raises: MemoryError; then the component is not on the device.
        """
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

    # ── evicting ─────────────────────────────────────────────────────────────────────────────────

    def victims(self, keep: Iterable[str], later: Iterable[str] = ()) -> list[str]:
        """Returns the keys of the components that may be evicted from the device, in the order in which to do so.

        Left out are the keys in `keep`. Those in `later`, which the running job needs again, come last. The others are
        sorted by what it costs to lose the component, the cheapest first: the seconds to load it again per byte, times
        its rate of use. Of equals the longest unused is first.
        """
        kept, wanted = set(keep), set(later)
        free = {key: placed for key, placed in self._placed.copy().items() if key not in kept and placed.bytes > 0}

        def price(key: str) -> float:
            seconds = self._put_s.get(key, 0.0) + (0.0 if key in self._masters else self._load_s.get(key, 0.0))
            return seconds * self._demand.rate(key) / free[key].bytes

        return sorted(free, key=lambda key: (key in wanted, price(key), free[key].touched, key))

    def evict(self, key: str) -> None:
        """Drops a component from the device; its weights in RAM stay."""
        placed = self._placed.pop(key)
        self._device.drop(placed.module, placed.bytes)

    def clear(self, keep: Iterable[str] = ()) -> None:
        """Drops all components, except those whose key is in `keep`, from the device and from RAM."""
        kept = set(keep)
        for key in [key for key in self._placed if key not in kept]:
            self.evict(key)
        for key in [key for key in self._masters if key not in kept]:
            self._release(key)

    def settle(self) -> None:
        """Drops weights from RAM until the limit for RAM holds again.

        A component that has been used may take more RAM beside its weights than before, so this is called afterwards.
        """
        self._trim()

    def _held(self) -> int:
        """Returns the RAM in bytes of the masters' weights and of all that components use beside their weights."""
        parts: dict[str, _Placed | _Master] = {**self._placed, **self._masters}  # once a key: both share `beside`
        return sum(master.bytes for master in self._masters.values()) + sum(part.beside() for part in parts.values())

    def _trim(self, loading: str = "") -> None:
        """Drops the masters that are cheapest to read again per byte until the host budget holds.

        Stops when the cheapest one is `loading`, the component being loaded, which is needed until it is placed.
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
