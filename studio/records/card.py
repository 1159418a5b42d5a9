"""The model card: standard cells × seeds, each with its picture and its outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.records.base import Json, Part, Record
from studio.records.outcome import Axes, Goal, Outcome, Rate


@dataclass(frozen=True, kw_only=True)
class Cell(Part):
    """One picture of a card: its cell and seed, the outcome of each axis, and a human's verdict or None."""

    cell: str
    seed: int
    image: str
    identity: float | None = None  # the similarity to the originals; None where it is unknown
    axes: Axes
    verdict: Outcome  # the outcome of all axes together
    human: bool | None = None

    @property
    def headline(self) -> Outcome:
        """Returns the human's verdict where there is one, else the judge's."""
        if self.human is None:
            return self.verdict
        return Outcome.PASS if self.human else Outcome.FAIL


@dataclass(frozen=True, kw_only=True)
class Summary(Part):
    """The figures of a card; the first seed alone counts as first try. Rates are None where no cell could be judged.

    `human` is the number of cells with a human's verdict, `agreement` the share of them on which the judge agrees.
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
    """One run of the model card."""

    version: str  # "" = the base model
    job: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    originals: int | None = None  # the number of originals compared with; None in older cards
    summary: Json = field(default_factory=dict)  # the figures at the time of the run, for readers of the file
