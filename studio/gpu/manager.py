"""The GPU manager: grants leases of the device, loads and evicts components, and keeps to the memory budget."""

from __future__ import annotations

import dataclasses
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from engines.api.errors import BadInput, Cancelled, OutOfMemory, RanOut
from engines.api.protocols import Component, Device, Plan, Stage
from studio.gpu.budget import GIB, Arithmetic, Fit, Peaks, in_gib, slot
from studio.gpu.lease import Active, CardLease, never, silent
from studio.gpu.oom_ladder import Ladder, Rung
from studio.gpu.residents import Residents

__all__ = ["Fit", "GpuManager", "GpuStatus", "Peaks"]

_POLL_S = 0.05


@dataclass(frozen=True)
class GpuStatus:
    """Holds the state of the GPU at one moment; all sizes are in bytes.

    `residents` are the models on the device, `masters` those whose weights are in RAM, `on_disk` those that were used
    earlier and have to be read from disk again, each as (key, bytes). `peak` is the most memory in use since the start.
    `holder` names the job that uses the GPU, `stage` its running stage; both are "" when the GPU is idle.
    """

    device: str
    budget: int
    used: int
    residents: tuple[tuple[str, int], ...]
    masters: tuple[tuple[str, int], ...] = ()
    on_disk: tuple[tuple[str, int], ...] = ()
    holder: str = ""
    stage: str = ""
    peak: int = 0


class GpuManager:
    """Shares one device among jobs, under one memory budget.

    A job runs in stages, each with the components (models) that it needs on the device. A stage starts when Σ weights +
    max(working bytes, measured peak) + reserve fits the budget and the device. Where it does not fit as planned, a
    variant of it that saves memory is used. Components that are not in use stay on the device until their memory is
    needed; those that are quickest to load again, per byte, are evicted first.
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
        self._sums = Arithmetic(peaks, reserve_bytes, lambda: self.budget, can_stream=not device.in_place)
        self._ladder = Ladder()
        self._residents = Residents(device, host_bytes, clock)
        self._turn = threading.Condition()  # guards _queue, _holders, _active
        self._moves = threading.RLock()  # held while components load or go
        self._queue: list[object] = []
        self._holders: list[CardLease] = []
        self._thread = 0
        self._active: list[Active] = []
        self._high = 0

    # ── state and budget ────────────────────────────────────────────────────────────────────────

    @property
    def torch_device(self) -> str:
        """Returns torch's name of the device, such as cuda."""
        return self.raw_device.torch_device

    @property
    def budget(self) -> int:
        """Returns the bytes that may be used: the user's budget, or the device's memory where that is smaller."""
        return min(self._budget, self.raw_device.total_bytes())

    def set_budget(self, budget_bytes: int) -> None:
        """Sets the memory budget in bytes; stages that are running keep the memory that they have."""
        self._budget = budget_bytes

    def status(self) -> GpuStatus:
        """Returns the present state of the GPU; it does not wait while a model is being loaded."""
        residents = tuple(self._residents.table().items())
        holders, active = self._holders.copy(), self._active.copy()
        return GpuStatus(
            device=self.raw_device.name,
            budget=self.budget,
            used=sum(size for _, size in residents),
            residents=residents,
            masters=tuple(self._residents.masters().items()),
            on_disk=tuple(self._residents.on_disk().items()),
            holder=holders[-1].plan.what if holders else "",
            stage=active[-1].stage.name if active else "",
            peak=self._high,
        )

    def check(self, plan: Plan, *, key: str = "") -> Fit:
        """Returns the memory check of a job's plan, made as for an empty device.

        It says whether all stages fit, and which components that are loaded now would be evicted. The job's measured
        memory peaks are stored under `key`; "" makes a key from each stage.
        """
        fit = self._sums.check(plan, key)
        return dataclasses.replace(fit, evicts=self._foreseen(plan, key)) if fit.ok else fit

    def _foreseen(self, plan: Plan, key: str) -> tuple[tuple[str, int], ...]:
        """Returns (key, bytes) of the resident components outside a plan that would be evicted while it runs."""
        before = self._residents.table()
        planned = {part.key for stage in plan.stages for part in stage.components}
        own = {name: size for name, size in before.items() if name in planned}
        strangers = [(name, before[name]) for name in self._residents.victims(keep=planned) if name in before]
        gone = 0
        for stage in plan.stages:
            form = self._sums.fitting(stage, key) or stage
            own.update({part.key: form.size(part) for part in form.components})
            wanted = sum(own.values()) + self._sums.working(form, key) + self._sums.reserve
            while gone < len(strangers) and wanted + sum(size for _, size in strangers[gone:]) > self.budget:
                gone += 1
        return tuple(strangers[:gone])

    def unload_all(self) -> None:
        """Unloads every component that no running stage uses, from the device and from RAM."""
        with self._moves, self._moving():
            self._residents.clear(keep=self._pinned())
            self.raw_device.reclaim()
            self._ladder.forget()

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
        """Waits until the device is free, and yields its exclusive use for a plan; jobs are served in order of request.

        The thread that holds the device may lease it again inside the block. The wait ends with Cancelled when
        `cancelled` returns True. `waiting` is called with a text about what is waited for, and with "" when the wait is
        over. Measured peaks are stored under `key`; "" makes a key from each stage. Raises: Cancelled; OutOfMemory,
        before any wait, for a stage that can never fit.
        """
        for stage in plan.stages:
            if self._sums.fitting(stage, key) is None:
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
                    words = f"the GPU: {self._holders[-1].plan.what}" if self._holders else "the GPU"
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
        """Loads the models of the stage `name` in a lease's plan, and returns the running stage with its modules.

        Where the stage does not fit as planned, a variant that saves memory is loaded. Only `CardLease.stage` calls
        this. Raises: OutOfMemory where no variant fits, Cancelled, BadInput for a name that the plan does not have.
        """
        if lease.closed:
            raise RuntimeError(f"stage {name!r} was entered after its lease had ended")
        stage = next((stage for stage in lease.plan.stages if stage.name == name), None)
        if stage is None:
            known = ", ".join(stage.name for stage in lease.plan.stages)
            raise BadInput(f"The plan {lease.plan.what!r} has no stage {name!r}.", f"It has: {known}.")
        with self._moves:
            active = self._admit(stage, lease)
            with self._turn:
                self._active.append(active)
        return active

    def _admit(self, stage: Stage, lease: CardLease) -> Active:
        """Loads a stage in the plainest form that fits now. Raises: OutOfMemory, Cancelled."""
        for component in stage.components:
            if component.key not in lease.asked:
                lease.asked.add(component.key)
                self._residents.asked(component)
        refusal = self._sums.too_large(stage, lease.key)
        for number, rung in self._ladder.rungs(self._sums.forms(stage), slot(stage, lease.key)):
            try:
                with self._moving():
                    self._make_room(rung, stage, lease)
                    parts = {
                        part.key.rpartition("/")[2]: self._load(part, rung.form, lease) for part in rung.form.components
                    }
            except OutOfMemory as error:
                refusal = error
                continue
            now = self._beside_weights(self.raw_device.peak_bytes())
            return Active(stage, rung.form, number, lease, parts, now, now)
        raise refusal

    def leave(self, active: Active) -> None:
        """Ends a running stage: releases its components and stores its memory peak; a second call does nothing."""
        with self._turn:
            if active not in self._active:
                return
        with self._moves:
            self._fold_peak()
            self._residents.settle()
        with self._turn:
            if active not in self._active:
                return
            self._active = [other for other in self._active if other is not active]
            active.lease.peak = max(active.lease.peak, active.high + self._residents.used())
        active.parts.clear()
        self._sums.remember(active.stage, active.lease.key, active.high - active.base)

    def worked(self, active: Active) -> None:
        """Records that a running stage has done its work without running out of memory.

        If it ran as planned, it starts as planned the next time, too.
        """
        self._ladder.worked(slot(active.asked, active.lease.key), active.rung)

    def ran_out(self, active: Active) -> OutOfMemory:
        """Frees memory after a stage ran out of it, and returns the error to raise.

        Evicts all components that are not in use. When the job is run again, the stage is tried without idle components
        beside it, or as its next variant that saves memory. The error is RanOut, or OutOfMemory where no further try
        is left.
        """
        form, lease = active.stage, active.lease
        with self._moves:
            self.raw_device.reclaim()
            with self._moving():
                count = self._evict_idle(self._pinned())
            forms = self._sums.forms(active.asked)
            rung = self._ladder.ran_out(slot(active.asked, lease.key), active.rung, forms)
        cause = f"{lease.plan.what}: {form.name} ran out of memory. {self._sums.words(form, lease.key)}."
        if rung is None:
            return OutOfMemory(cause, "Choose a smaller picture, batch or model, or close other programs.")
        if rung.form.how:
            return RanOut(cause, f"From now on it is done with {rung.form.how}: resume the job.")
        return RanOut(cause, f"Idle models of {in_gib(count)} were unloaded since: resume the job.")

    # ── room ────────────────────────────────────────────────────────────────────────────────────

    def _make_room(self, rung: Rung, stage: Stage, lease: CardLease) -> None:
        form, in_use = rung.form, self._pinned()
        own = {component.key: form.size(component) for component in form.components}
        here = {component.key for component in form.components if self._residents.fits(component, form)}
        outer = sum(self._sums.working(active.stage, active.lease.key) for active in self._active)
        working = self._sums.working(form, lease.key) + outer
        held = outer + sum(size for key, size in self._residents.table().items() if key in in_use - set(own))
        if self._sums.needs(form, lease.key) + held > self.budget or (in_use & set(own)) - here:
            raise self._sums.too_large(form, lease.key, held)
        for key in set(own) & set(self._residents.table()) - here:  # resident, but in another form
            self._residents.evict(key)
        if rung.alone:
            self._evict_idle(in_use | set(own))
        later = {part.key for other in lease.plan.stages if other is not stage for part in other.components}
        missing = sum(size for key, size in own.items() if key not in here)
        for victim in self._residents.victims(in_use | set(own), later):
            within = self._residents.used() + missing + working + self._sums.reserve <= self.budget
            if within and self._free(missing + working):
                return
            self._residents.evict(victim)
        if not self._free(missing + working):
            self.raw_device.reclaim()
            if not self._free(missing):
                raise self._sums.crowded(form, lease.key, self.raw_device.free_bytes())

    def _free(self, nbytes: int) -> bool:
        return nbytes <= self.raw_device.free_bytes()

    def _load(self, component: Component, form: Stage, lease: CardLease) -> Any:
        if not self._residents.fits(component, form):
            if lease.cancelled():
                raise Cancelled
            lease.waiting(f"loading {component.key}, {in_gib(form.size(component))}")
        try:
            try:
                return self._residents.place(component, form)
            except MemoryError as error:
                traceback.clear_frames(error.__traceback__)
            self.raw_device.reclaim()
            return self._residents.place(component, form)
        except MemoryError:
            self.raw_device.reclaim()
            raise self._sums.crowded(form, lease.key, self.raw_device.free_bytes()) from None
        finally:
            lease.waiting("")

    def _evict_idle(self, keep: set[str]) -> int:
        """Evicts every resident that is not in `keep` and returns the bytes that this freed."""
        before = self._residents.used()
        for key in self._residents.victims(keep):
            self._residents.evict(key)
        self.raw_device.reclaim()
        return before - self._residents.used()

    def _pinned(self) -> set[str]:
        return {part.key for active in self._active.copy() for part in active.stage.components}

    @contextmanager
    def _moving(self) -> Iterator[None]:
        """Excludes the memory that loading and evicting takes from the measured peaks of all active stages."""
        self._fold_peak()
        try:
            yield
        finally:
            self._high = max(self._high, self.raw_device.peak_bytes(reset=True))

    def _fold_peak(self) -> None:
        """Adds the device's peak since the last call to the innermost active stage and resets the device's peak."""
        high = self.raw_device.peak_bytes(reset=True)
        for active in self._active[-1:]:
            active.high = max(active.high, self._beside_weights(high))
        self._high = max(self._high, high)

    def _beside_weights(self, nbytes: int) -> int:
        return nbytes - self._residents.used()
