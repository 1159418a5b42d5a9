"""The memory budget: whether the stages of a plan fit, from their sizes and measured peaks, and the text about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from engines.api.errors import ModelMissing, OutOfMemory, UserError
from engines.api.protocols import Plan, Stage

GIB = 1 << 30


class Peaks(Protocol):
    """Describes a store of measured memory peaks, as key -> bytes; a dict satisfies this protocol."""

    def get(self, key: str, default: int, /) -> int:
        """Returns the bytes stored under a key, or `default` when there are none."""
        ...

    def __setitem__(self, key: str, nbytes: int, /) -> None: ...


@dataclass(frozen=True)
class StageFit:
    """Holds the GPU memory in bytes that one stage of a job needs, such as encoding the prompt."""

    name: str
    """The stage's name."""
    needed: int
    """The bytes that it takes in all."""
    weights: int
    """The bytes of its models."""
    working: int
    """The bytes that computing takes beside them."""
    how: str = ""
    """How it saves memory; "" where it does not."""


@dataclass(frozen=True)
class Fit:
    """Holds the result of a memory check: whether a job fits the GPU, its sizes in bytes, and a text for the user."""

    ok: bool
    """Whether it fits."""
    needed: int
    """The bytes that the largest stage takes."""
    budget: int
    """The bytes that may be used."""
    words: str
    """The result, in words."""
    stages: tuple[StageFit, ...] = ()
    """What each stage takes."""
    evicts: tuple[tuple[str, int], ...] = ()
    """The idle parts of models that would be unloaded, as (key, bytes)."""
    missing: bool = False
    """Whether the model is not on this machine."""

    @classmethod
    def refused(cls, error: UserError, budget: int) -> Fit:
        """Returns a failed check for a job whose memory need cannot be computed because of `error`.

        Its text is that of `error`. For a missing model the text leaves the remedy out, and `missing` is true.
        """
        gone = isinstance(error, ModelMissing)
        return cls(False, 0, budget, error.cause if gone else str(error), missing=gone)

    @property
    def level(self) -> str:
        """Returns the result in words: `fits`, `tight` or `does not fit`.

        It is tight when the job needs over nine tenths of the budget, or fits only by saving memory.
        """
        if not self.ok:
            return "does not fit"
        return "tight" if self.needed > 0.9 * self.budget or any(stage.how for stage in self.stages) else "fits"

    @property
    def details(self) -> str:
        """Returns one line of text: the memory of each stage, and the models that will be unloaded for the job."""
        stages = [f"{stage.name} {in_gib(stage.needed)}{stage.how and f' ({stage.how})'}" for stage in self.stages]
        gone = [f"{key} {in_gib(size)}" for key, size in self.evicts]
        return " · ".join(stages) + (f"; unloads {', '.join(gone)}" if gone else "")


@dataclass(frozen=True)
class Arithmetic:
    """Computes the memory that stages of a job need, and compares it with the memory budget.

    A stage needs Σ weights + max(working bytes, measured peak) + `reserve` bytes. `limit` is called for the budget in
    bytes, `peaks` stores the measured peaks; `can_stream` says whether the device can take weights block by block.
    """

    peaks: Peaks
    reserve: int
    limit: Callable[[], int]
    can_stream: bool = True

    def forms(self, stage: Stage) -> Iterator[Stage]:
        """Yields a stage as it is planned, then its variants that save memory, each smaller than the one before."""
        form: Stage | None = stage
        while form is not None:
            if self.can_stream or not form.streams:
                yield form
            form = form.leaner

    def fitting(self, stage: Stage, key: str) -> Stage | None:
        """Returns the first of a stage's variants that fits the budget on an empty device; None when none fits.

        They are tried in the order of `forms`: as planned first, the one with the least memory last. The job's measured
        memory peaks are stored under `key`; "" makes a key from the stage.
        """
        return next((form for form in self.forms(stage) if self.needs(form, key) <= self.limit()), None)

    def working(self, stage: Stage, key: str) -> int:
        """Returns the bytes a stage needs beside its weights: the larger of the declared and the measured number.

        The job's measured memory peaks are stored under `key`; "" makes a key from the stage.
        """
        return max(stage.working_bytes, self.peaks.get(slot(stage, key), 0))

    def weights(self, stage: Stage) -> int:
        """Returns the bytes of the weights that a stage needs on the device; a shared component counts once."""
        return sum({part.key: stage.size(part) for part in stage.components}.values())

    def needs(self, stage: Stage, key: str) -> int:
        """Returns the bytes that a stage needs in total: weights, working bytes and reserve.

        The job's measured memory peaks are stored under `key`; "" makes a key from the stage.
        """
        return self.weights(stage) + self.working(stage, key) + self.reserve

    def remember(self, stage: Stage, key: str, working: int) -> None:
        """Stores `working`, the measured bytes of a stage beside its weights, where it is more than was stored before.

        The stored number is limited so that the stage, which has just run, still fits the present budget. It is stored
        under a key made of the job's `key` and the stage's name; with "" the key is made from the stage alone.
        """
        working = min(working, self.limit() - self.weights(stage) - self.reserve)
        if working > self.peaks.get(slot(stage, key), 0):
            self.peaks[slot(stage, key)] = working

    def check(self, plan: Plan, key: str) -> Fit:
        """Returns the memory check of a job's plan on an empty device.

        It says whether all stages fit, how much memory each needs, and the same as a text. The job's measured memory
        peaks are stored under `key`; "" makes a key from each stage.
        """
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
        """Returns as text the memory that a stage needs, term by term, and what its leanest variant would need.

        Peaks that earlier jobs measured under `key` count in the need; "" makes a key from the stage.
        """
        parts = [f"{part.key} {in_gib(stage.size(part))}" for part in stage.components]
        parts += [f"working set {in_gib(self.working(stage, key))}", f"reserve {in_gib(self.reserve)}"]
        total, limit = in_gib(self.needs(stage, key)), in_gib(self.limit())
        *_, leanest = self.forms(stage)
        least = f", {in_gib(self.needs(leanest, key))} with {leanest.how}" if leanest is not stage else ""
        how = f" with {stage.how}" if stage.how else ""
        return f"{stage.name}{how} needs {total} ({' + '.join(parts)}){least} of {limit}"

    def too_large(self, stage: Stage, key: str, held: int = 0) -> OutOfMemory:
        """Returns the error to raise for a stage that exceeds the budget.

        `held` are the bytes in use by the running stages that this one is nested in. Peaks that
        earlier jobs measured under `key` count in its need; "" makes a key from the stage.
        """
        beside = f", beside {in_gib(held)} of the stage around it" if held else ""
        return OutOfMemory(
            f"Does not fit: {self.words(stage, key)}{beside}.",
            "Choose a smaller picture, batch or model, or raise the memory budget if the device has more.",
        )

    def crowded(self, stage: Stage, key: str, free: int) -> OutOfMemory:
        """Returns the error to raise for a stage that fits the budget, but not the `free` bytes on the device.

        The rest of the device's memory is in use by other programs. The job's measured memory peaks are stored under
        `key`; "" makes a key from the stage.
        """
        return OutOfMemory(
            f"The device has {in_gib(free)} free: {self.words(stage, key)}.",
            "Close other programs that use the device's memory, then resume the job.",
        )


def slot(stage: Stage, key: str) -> str:
    """Returns the key under which a stage's measured memory peak is stored.

    It consists of the job's `key`, the stage's name, and how the stage saves memory. Where `key` is "", the stage's
    components and declared bytes take its place.
    """
    parts = "+".join(sorted(part.key for part in stage.components))
    how = f"|{stage.how}" if stage.how else ""
    return f"{key or f'{parts}@{stage.working_bytes}'}|{stage.name}{how}"


def in_gib(nbytes: int) -> str:
    """Returns a number of bytes as text, such as `15.2 GiB`; small numbers are given in MiB."""
    return f"{nbytes / GIB:.1f} GiB" if nbytes >= GIB // 10 else f"{nbytes / (1 << 20):.1f} MiB"
