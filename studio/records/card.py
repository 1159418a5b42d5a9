"""The model card: standard cells × seeds, each with its picture and its outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.records.base import Json, Part, Record
from studio.records.outcome import Axes, Goal, Outcome, Rate


@dataclass(frozen=True, kw_only=True)
class Cell(Part):
    """One picture of a card: which cell, which seed, the outcome of each axis, and a human's word on it."""

    cell: str
    seed: int
    image: str
    identity: float | None = None  # the similarity to the originals; None where nobody could tell
    axes: Axes
    verdict: Outcome  # of all axes together
    human: bool | None = None

    @property
    def headline(self) -> Outcome:
        """The human's word where there is one, else the verdict."""
        if self.human is None:
            return self.verdict
        return Outcome.PASS if self.human else Outcome.FAIL


@dataclass(frozen=True, kw_only=True)
class Summary(Part):
    """A card's figures; the first seed alone counts as first try. Rates are None where nothing could be judged.

    `agreement` is the share of the cells with a human's word on which the judge said the same.
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
    """One model card."""

    version: str  # "" = the base model
    job: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    originals: int | None = None  # how many were there to compare with; None: an older card, which does not say
    summary: Json = field(default_factory=dict)  # as it was summed up when it was made, for readers of the file
