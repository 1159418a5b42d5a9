"""The model card: standard cells × seeds, each with its picture and its outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.records.base import Json, Part, Record
from studio.records.outcome import Axes, Goal, Outcome, Rate


@dataclass(frozen=True, kw_only=True)
class Cell(Part):
    """Holds one picture of a model card: its cell and seed, the outcome of each axis, and a human's verdict or None."""

    cell: str
    seed: int
    image: str
    identity: float | None = None  # the similarity to the originals; None where it is unknown
    axes: Axes
    verdict: Outcome  # the outcome of all axes together
    human: bool | None = None

    @property
    def headline(self) -> Outcome:
        """Returns the outcome that counts: the human's verdict where there is one, else the machine's."""
        if self.human is None:
            return self.verdict
        return Outcome.PASS if self.human else Outcome.FAIL


@dataclass(frozen=True, kw_only=True)
class Summary(Part):
    """Holds the figures of a model card; the first seed alone counts as first try.

    A rate is None where no cell could be judged. `machine` is the first-try rate by the machine's verdicts alone.
    `human` is the number of cells with a human's verdict, `agreement` the share of them, where the machine could judge,
    on which both agree.
    """

    first_try_rate: float | None
    first_try: Rate
    all_seeds: Rate
    machine: Rate
    axes: Mapping[str, Rate]
    target: float
    goal: Goal
    met: bool
    notes: tuple[str, ...]
    identity_median: float | None
    human: int
    agreement: float | None


@dataclass(frozen=True, kw_only=True)
class CardRun(Record):
    """Holds one run of the model card: its version, seeds and judged cells."""

    version: str  # "" = the base model
    job: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    originals: int | None = None  # the number of originals compared with; None in older cards
    summary: Json = field(default_factory=dict)  # the figures at the time of the run, for readers of the file
