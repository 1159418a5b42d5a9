"""Does it fit? The arithmetic of stages, budget and measured peaks, and the words for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from engines.api.errors import OutOfMemory
from engines.api.protocols import Plan, Stage

GIB = 1 << 30


class Peaks(Protocol):
    """Where measured peaks are remembered; a dict will do."""

    def get(self, key: str, default: int, /) -> int:
        """The bytes remembered under a key."""
        ...

    def __setitem__(self, key: str, nbytes: int, /) -> None: ...


@dataclass(frozen=True)
class StageFit:
    """What one stage of a plan asks of the card, in bytes; `how` is empty where it is done the plain way."""

    name: str
    needed: int
    weights: int
    working: int
    how: str = ""


@dataclass(frozen=True)
class Fit:
    """The pre-flight a user sees before a job starts; sizes in bytes."""

    ok: bool
    needed: int
    budget: int
    words: str
    stages: tuple[StageFit, ...] = ()
    evicts: tuple[tuple[str, int], ...] = ()  # what others left on the card and has to go

    @property
    def level(self) -> str:
        """`fits`, `tight` (over nine tenths of the budget, or done with less) or `does not fit`."""
        if not self.ok:
            return "does not fit"
        return "tight" if self.needed > 0.9 * self.budget or any(stage.how for stage in self.stages) else "fits"

    @property
    def details(self) -> str:
        """Each stage's need, and what will be unloaded."""
        stages = [f"{stage.name} {in_gib(stage.needed)}{stage.how and f' ({stage.how})'}" for stage in self.stages]
        gone = [f"{key} {in_gib(size)}" for key, size in self.evicts]
        return " · ".join(stages) + (f"; unloads {', '.join(gone)}" if gone else "")


@dataclass(frozen=True)
class Arithmetic:
    """What a stage needs: Σ weights + max(working bytes, measured peak) + reserve, against the budget."""

    peaks: Peaks
    reserve: int
    limit: Callable[[], int]
    can_stream: bool = True

    def forms(self, stage: Stage) -> Iterator[Stage]:
        """A stage the plain way, then with less and less memory."""
        form: Stage | None = stage
        while form is not None:
            if self.can_stream or not form.streams:
                yield form
            form = form.leaner

    def fitting(self, stage: Stage, key: str) -> Stage | None:
        """The plainest form that the budget has room for, were the device otherwise empty."""
        return next((form for form in self.forms(stage) if self.needs(form, key) <= self.limit()), None)

    def working(self, stage: Stage, key: str) -> int:
        """Bytes beside the weights: as declared, or as measured where that was more."""
        return max(stage.working_bytes, self.peaks.get(slot(stage, key), 0))

    def weights(self, stage: Stage) -> int:
        """Bytes of the stage's components, each counted once."""
        return sum({part.key: stage.size(part) for part in stage.components}.values())

    def needs(self, stage: Stage, key: str) -> int:
        """All that a stage must have room for."""
        return self.weights(stage) + self.working(stage, key) + self.reserve

    def remember(self, stage: Stage, key: str, working: int) -> None:
        """Keep a measured working set; what ran under a budget is never refused by it afterwards."""
        working = min(working, self.limit() - self.weights(stage) - self.reserve)
        if working > self.peaks.get(slot(stage, key), 0):
            self.peaks[slot(stage, key)] = working

    def check(self, plan: Plan, key: str) -> Fit:
        """Would a plan's stages fit, were the device otherwise empty?"""
        limit = self.limit()
        if not plan.stages:
            return Fit(True, 0, limit, "needs nothing")
        misfit = next((stage for stage in plan.stages if self.fitting(stage, key) is None), None)
        forms = [self.fitting(stage, key) or stage for stage in plan.stages]
        stages = tuple(
            StageFit(form.name, self.needs(form, key), self.weights(form), self.working(form, key), form.how)
            for form in forms
        )
        needed = max(stage.needed for stage in stages)
        if misfit is not None:
            return Fit(False, needed, limit, f"does not fit: {self.words(misfit, key)}", stages)
        how = "; ".join(dict.fromkeys(f"{stage.name} with {stage.how}" for stage in stages if stage.how))
        return Fit(True, needed, limit, f"needs {in_gib(needed)} of {in_gib(limit)}{how and f', {how}'}", stages)

    def words(self, stage: Stage, key: str) -> str:
        """The sum, term by term, and what the leanest form would still need."""
        parts = [f"{part.key} {in_gib(stage.size(part))}" for part in stage.components]
        parts += [f"working set {in_gib(self.working(stage, key))}", f"reserve {in_gib(self.reserve)}"]
        total, limit = in_gib(self.needs(stage, key)), in_gib(self.limit())
        *_, leanest = self.forms(stage)
        least = f", {in_gib(self.needs(leanest, key))} with {leanest.how}" if leanest is not stage else ""
        how = f" with {stage.how}" if stage.how else ""
        return f"{stage.name}{how} needs {total} ({' + '.join(parts)}){least} of {limit}"

    def too_large(self, stage: Stage, key: str, held: int = 0) -> OutOfMemory:
        """The refusal of what can never fit; `held` bytes belong to the stage it would run inside."""
        beside = f", beside {in_gib(held)} of the stage around it" if held else ""
        return OutOfMemory(
            f"Does not fit: {self.words(stage, key)}{beside}.",
            "Choose a smaller picture, batch or model, or raise the memory budget if the device has more.",
        )

    def crowded(self, stage: Stage, key: str, free: int) -> OutOfMemory:
        """The refusal of what would fit, were the device not used by others."""
        return OutOfMemory(
            f"The device has {in_gib(free)} free: {self.words(stage, key)}.",
            "Close other programs that use the device's memory, then resume the job.",
        )


def slot(stage: Stage, key: str) -> str:
    """Where a peak is kept. Declared bytes follow from size and batch, so they tell cases apart."""
    parts = "+".join(sorted(part.key for part in stage.components))
    how = f"|{stage.how}" if stage.how else ""
    return f"{key or f'{parts}@{stage.working_bytes}'}|{stage.name}{how}"


def in_gib(nbytes: int) -> str:
    """Bytes for people: `15.2 GiB`, or MiB below a tenth of one."""
    return f"{nbytes / GIB:.1f} GiB" if nbytes >= GIB // 10 else f"{nbytes / (1 << 20):.1f} MiB"
