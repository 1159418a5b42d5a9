"""What a review leaves: decisions, which can be undone, and the triplets that the editor learns from."""

from __future__ import annotations

from dataclasses import dataclass, field

from studio.records.base import Json, Part, Record
from studio.records.image import Verdict


@dataclass(frozen=True, kw_only=True)
class Triplet(Record):
    """One lesson of the editor: source, words, result. Golden = a human mended the result."""

    source: str
    result: str  # the picture to learn: approved, or corrected
    params: Json  # the edit's own parameters, verbatim
    golden: bool = False
    wrong: str = ""  # the rejected result that a correction replaces
    task: str = ""
    held_out: bool = False


@dataclass(frozen=True, kw_only=True)
class Before(Part):
    """All that a decision replaced, so that an undo restores it exactly."""

    state: Verdict = Verdict.PENDING
    reasons: tuple[str, ...] = ()
    reviewer: str = ""
    decided: str = ""
    triplet: Triplet | None = None
    correction: str = ""  # the mended picture that came with the decision


@dataclass(frozen=True, kw_only=True)
class Decision(Record):
    """One verdict as it was given, and what it replaced."""

    image: str
    verdict: Verdict
    before: Verdict
    reviewer: str = "owner"
    reasons: tuple[str, ...] = ()
    undone: bool = False
    was: Before = field(default_factory=Before)


@dataclass(frozen=True, kw_only=True)
class Throw(Record):
    """What went into the trash together, and the triplets that went with it."""

    images: tuple[str, ...]
    triplets: tuple[Triplet, ...]


@dataclass(frozen=True, kw_only=True)
class Recrop(Record):
    """A change of a picture's crop, by the crop that it replaced."""

    image: str
    before: tuple[float, ...]
