"""The GPU manager: who has the card, what is on it, what fits, who is evicted. The device is injected."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from engines.api import Component, Device, Plan, Stage
from engines.errors import BadInput, Cancelled, OutOfMemory
from studio.fit import GIB, Arithmetic, Fit, Peaks, in_gib
from studio.lease import Active, CardLease, never, silent
from studio.residents import Residents

__all__ = ["Fit", "GpuManager", "GpuStatus", "Peaks"]

_POLL_S = 0.05


@dataclass(frozen=True)
class GpuStatus:
    """What the status strip shows; `holder` and `stage` are empty when the card is free."""

    device: str
    budget: int
    used: int
    residents: tuple[tuple[str, int], ...]
    holder: str = ""
    stage: str = ""
    peak: int = 0


class GpuManager:
    """One card, many who want it: components are leased stage by stage under one budget.

    A stage is admitted when Σ weights + max(working bytes, measured peak) + reserve fits budget and device.
    What is not leased stays on the card until its room is wanted; the cheapest to reload per byte goes first.
    """

    def __init__(
        self,
        device: Device,
        budget_bytes: int,
        peaks: Peaks,
        *,
        reserve_bytes: int = int(0.7 * GIB),
        host_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.raw_device = device
        self._budget = budget_bytes
        self._sums = Arithmetic(peaks, reserve_bytes, lambda: self.budget)
        self._residents = Residents(device, host_bytes, clock)
        self._turn = threading.Condition()  # guards _queue, _holders, _active
        self._moves = threading.RLock()  # held while components load or go
        self._queue: list[object] = []
        self._holders: list[CardLease] = []
        self._thread = 0
        self._active: list[Active] = []
        self._high = 0

    # ── what a user sees ────────────────────────────────────────────────────────────────────────

    @property
    def torch_device(self) -> str:
        """What torch calls the device."""
        return self.raw_device.torch_device

    @property
    def budget(self) -> int:
        """Bytes that may be used: the user's budget, or the device where that is smaller."""
        return min(self._budget, self.raw_device.total_bytes())

    def status(self) -> GpuStatus:
        """A snapshot that never waits for a load."""
        residents = tuple(self._residents.table().items())
        holders, active = self._holders.copy(), self._active.copy()
        return GpuStatus(
            device=self.raw_device.name,
            budget=self.budget,
            used=sum(size for _, size in residents),
            residents=residents,
            holder=holders[-1].plan.what if holders else "",
            stage=active[-1].stage.name if active else "",
            peak=self._high,
        )

    def check(self, plan: Plan, *, key: str = "") -> Fit:
        """Would a plan's hungriest stage fit, were the card otherwise empty?"""
        return self._sums.check(plan, key)

    def unload_all(self) -> None:
        """Empty the card and the host cache of all that no running stage uses."""
        with self._moves:
            self._residents.clear(keep=self._pinned())
            self.raw_device.reclaim()

    # ── leases ──────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def lease(
        self,
        plan: Plan,
        *,
        cancelled: Callable[[], bool] = never,
        key: str = "",
        waiting: Callable[[str], None] = silent,
    ) -> Iterator[CardLease]:
        """Exclusive use of the card, first come first served; a thread that has it may lease again inside.

        `waiting` is told what is waited for, and "" when the wait is over. Measured peaks are remembered
        under `key`; by default under each stage's own components and declared bytes.
        Raises: OutOfMemory before any wait when a stage can never fit, Cancelled.
        """
        for stage in plan.stages:
            if self._sums.needs(stage, key) > self.budget:
                raise self._sums.too_large(stage, key)
        lease = CardLease(self, plan, key, cancelled, waiting)
        try:
            self._acquire(lease)
            yield lease
        finally:
            self._release(lease)

    def _acquire(self, lease: CardLease) -> None:
        ticket, me, said = object(), threading.get_ident(), ""
        with self._turn:
            self._queue.append(ticket)
        try:
            while True:
                with self._turn:
                    inside = bool(self._holders) and self._thread == me
                    if inside or (not self._holders and self._queue[0] is ticket):
                        self._holders.append(lease)
                        self._thread = me
                        return
                    words = f"the card: {self._holders[-1].plan.what}" if self._holders else "the card"
                if words != said:
                    lease.waiting(words)
                    said = words
                if lease.cancelled():
                    raise Cancelled
                with self._turn:
                    self._turn.wait(_POLL_S)
        finally:
            with self._turn:
                self._queue.remove(ticket)
                self._turn.notify_all()
            if said:
                lease.waiting("")

    def _release(self, lease: CardLease) -> None:
        for active in [active for active in self._active if active.lease is lease]:
            self.leave(active)
        with self._turn:
            lease.closed = True
            self._holders = [other for other in self._holders if other is not lease]
            self._turn.notify_all()

    # ── stages ──────────────────────────────────────────────────────────────────────────────────

    def enter(self, lease: CardLease, name: str) -> Active:
        """Admit and load a stage; only `CardLease.stage` calls this."""
        if lease.closed:
            raise RuntimeError(f"stage {name!r} was entered after its lease had ended")
        stage = next((stage for stage in lease.plan.stages if stage.name == name), None)
        if stage is None:
            known = ", ".join(stage.name for stage in lease.plan.stages)
            raise BadInput(f"The plan {lease.plan.what!r} has no stage {name!r}.", f"It has: {known}.")
        with self._moves:
            self._make_room(stage, lease)
            parts = {}
            for component in stage.components:
                parts[component.key.rpartition("/")[2]] = self._load(component, stage, lease)
            now = self._fold_peak()
            active = Active(stage, lease, parts, now, now)
            with self._turn:
                self._active.append(active)
        return active

    def leave(self, active: Active) -> None:
        """Unpin a stage and remember its measured peak; a second call does nothing."""
        with self._turn:
            if active not in self._active:
                return
        self._fold_peak(settle=False)
        with self._turn:
            if active not in self._active:
                return
            self._active = [other for other in self._active if other is not active]
        active.parts.clear()
        self._sums.remember(active.stage, active.lease.key, active.high - active.base)

    def ran_out(self, active: Active) -> OutOfMemory:
        """What follows when a stage runs out in its work: give back, evict the idle, tell the numbers."""
        stage, lease = active.stage, active.lease
        with self._moves:
            self.raw_device.reclaim()
            idle = self._residents.victims(keep=self._pinned())
            freed = self._residents.table()
            for key in idle:
                self._residents.evict(key)
            self.raw_device.reclaim()
        count = sum(freed[key] for key in idle)
        cause = f"{lease.plan.what}: {stage.name} ran out of memory. {self._sums.words(stage, lease.key)}."
        if count:
            self._sums.remember(stage, lease.key, self._sums.working(stage, lease.key) + count)
            return OutOfMemory(cause, f"Idle models of {in_gib(count)} were unloaded since: resume the job.")
        return OutOfMemory(cause, "Choose a smaller picture, batch or model, or close other programs.")

    # ── room ────────────────────────────────────────────────────────────────────────────────────

    def _make_room(self, stage: Stage, lease: CardLease) -> None:
        own = {component.key: component.bytes for component in stage.components}
        residents = self._residents.table()
        outer = sum(self._sums.working(active.stage, active.lease.key) for active in self._active)
        working = self._sums.working(stage, lease.key) + outer
        keep = self._pinned() | set(own)
        pinned = sum(size for key, size in residents.items() if key in keep and key not in own)
        if sum(own.values()) + pinned + working + self._sums.reserve > self.budget:
            raise self._sums.too_large(stage, lease.key, pinned + outer)
        later = {part.key for other in lease.plan.stages if other is not stage for part in other.components}
        missing = sum(size for key, size in own.items() if key not in residents)
        for victim in self._residents.victims(keep, later):
            if self._residents.used() + missing + working + self._sums.reserve <= self.budget and self._free(
                missing + working
            ):
                return
            self._residents.evict(victim)
        if not self._free(missing + working):
            self.raw_device.reclaim()
            if not self._free(missing):
                raise self._sums.crowded(stage, lease.key, self.raw_device.free_bytes())

    def _free(self, nbytes: int) -> bool:
        return nbytes <= self.raw_device.free_bytes()

    def _load(self, component: Component, stage: Stage, lease: CardLease) -> Any:
        if component.key not in self._residents.table():
            if lease.cancelled():
                raise Cancelled
            lease.waiting(f"loading {component.key}, {in_gib(component.bytes)}")
        try:
            for relief in (self._give_back, self._evict_idle):
                try:
                    return self._residents.place(component)
                except MemoryError as error:
                    traceback.clear_frames(error.__traceback__)
                relief(stage)
            return self._residents.place(component)
        except MemoryError:
            self.raw_device.reclaim()
            raise self._sums.crowded(stage, lease.key, self.raw_device.free_bytes()) from None
        finally:
            lease.waiting("")

    def _give_back(self, stage: Stage) -> None:
        del stage
        self.raw_device.reclaim()

    def _evict_idle(self, stage: Stage) -> None:
        keep = self._pinned() | {component.key for component in stage.components}
        for key in self._residents.victims(keep):
            self._residents.evict(key)
        self.raw_device.reclaim()

    def _pinned(self) -> set[str]:
        return {part.key for active in self._active.copy() for part in active.stage.components}

    def _fold_peak(self, *, settle: bool = True) -> int:
        """Bring the measured high-water mark into every running stage; `settle` restarts the measurement."""
        high = self.raw_device.peak_bytes(reset=settle)
        for active in self._active.copy():
            active.high = max(active.high, high)
        self._high = max(self._high, high)
        return self.raw_device.peak_bytes() if settle else high
