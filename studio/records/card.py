"""The model card: standard cells × seeds, each with its picture and its outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.records.base import Json, Part, Record
from studio.records.outcome import Axes, Goal, Outcome, Rate


@dataclass(frozen=True, kw_only=True)
class Cell(Part):
    """Holds one picture of a model card, an evaluation grid of fixed prompts (cells) × seeds, and how it was judged.

    `cell` names the prompt, `image` is the picture's id. `axes` has an outcome for each axis, such as identity or
    angle, `verdict` their overall outcome. `human` is a human's verdict, None without one.
    """

    cell: str
    seed: int
    image: str
    identity: float | None = None  # the similarity to the originals; None where it is unknown
    axes: Axes
    verdict: Outcome  # the outcome of all axes together
    human: bool | None = None

    @property
    def headline(self) -> Outcome:
        """Returns the outcome to report: by the human's verdict where there is one, else the automatic one."""
        if self.human is None:
            return self.verdict
        return Outcome.PASS if self.human else Outcome.FAIL


@dataclass(frozen=True, kw_only=True)
class Summary(Part):
    """Holds the figures of a model card, the evaluation grid of a version.

    `first_try`, `machine` and `axes` rate the pictures of the first seed alone, `all_seeds` those of every seed. A
    human's verdict counts before the automatic one, but `machine` and `axes` (a rate for each axis, such as identity)
    use automatic verdicts only. `human` is the number of pictures that a human judged; `agreement` is the share of
    equal verdicts among the pictures that were judged both by a human and automatically. `goal` says whether the
    first-try rate reaches `target`. A figure is None where nothing could be judged.
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
    """Holds one model card: the version's id, the job's id, the seeds, and the judged picture of each cell and seed.

    A cell is a fixed prompt. `version` is "" where the base model was judged. `originals` is the number of imported
    pictures that identity was compared with, None in older cards; `summary` holds the card's figures.
    """

    version: str  # "" = the base model
    job: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    originals: int | None = None  # the number of originals compared with; None in older cards
    summary: Json = field(default_factory=dict)  # the figures at the time of the run, for readers of the file
