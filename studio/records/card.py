"""The model card: standard cells × seeds, each with its picture and its outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.records.base import UNLESS_DEFAULT, Json, Part, Record
from studio.records.outcome import Axes, Goal, Outcome, Rate
from studio.records.reading import Agreement


@dataclass(frozen=True, kw_only=True)
class Cell(Part):
    """Holds one picture of a model card, an evaluation grid of fixed prompts (cells) × seeds, and how it was judged."""

    cell: str
    """The name of the test prompt."""
    seed: int
    """The seed that it was drawn with."""
    image: str
    """The id of the picture."""
    identity: float | None = None
    """Its similarity to the originals; null where that is unknown."""
    axes: Axes
    """The outcome on each axis, such as identity or angle."""
    verdict: Outcome
    """The outcome of all axes together."""
    human: bool | None = None
    """A human's verdict; null without one."""

    @property
    def headline(self) -> Outcome:
        """Returns the outcome to report: by the human's verdict where there is one, else the automatic one."""
        if self.human is None:
            return self.verdict
        return Outcome.PASS if self.human else Outcome.FAIL


@dataclass(frozen=True, kw_only=True)
class Summary(Part):
    """Holds the figures of a model card, the evaluation grid of a version.

    A human's verdict counts before the automatic one, but `machine` and `axes` use automatic verdicts only, and like
    `first_try` the pictures of the first seed alone. A figure is None where nothing could be judged.
    """

    first_try_rate: float | None
    """The share of pictures of the first seed that passed, 0…1."""
    first_try: Rate
    """The rate of the pictures of the first seed."""
    all_seeds: Rate
    """The rate of the pictures of all seeds."""
    machine: Rate
    """The rate of the first seed by the automatic verdicts alone."""
    axes: Mapping[str, Rate]
    """The rate of each axis, by the automatic verdicts."""
    target: float
    """The first-try rate to reach, 0…1."""
    goal: Goal
    """Whether the target is reached: met, missed, or open where too much could not be judged."""
    met: bool
    """Whether `goal` is met."""
    notes: tuple[str, ...]
    """Remarks, in words."""
    identity_median: float | None
    """The median similarity to the originals."""
    human: int
    """The number of pictures that a human judged."""
    agreement: float | None
    """The share of pictures on which human and machine agree; null where none was judged by both."""


@dataclass(frozen=True, kw_only=True)
class CardRun(Record):
    """Holds one model card: the judged pictures of all cells, which are fixed prompts, and seeds."""

    version: str
    """The id of the LoRA version that was judged; "" for the model without one."""
    job: str
    """The id of the job that drew it."""
    seeds: tuple[int, ...]
    """The seeds that each cell was drawn with."""
    cells: tuple[Cell, ...]
    """Each picture with its outcomes."""
    originals: int | None = None
    """The number of originals that it was compared with; null in older cards."""
    summary: Json = field(default_factory=dict)
    """The card's figures."""
    judge: Mapping[str, Agreement] = field(default_factory=dict, metadata=UNLESS_DEFAULT)
    """How far answers to questions were trusted then, by axis; empty in older cards, which were read from captions."""
