"""The records of reviews: decisions, which can be undone, and the triplets that the editor is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.records.base import Json, Part, Record
from studio.records.image import Verdict


@dataclass(frozen=True, kw_only=True)
class Triplet(Record):
    """Holds a training example of the editor: source, instruction, result; golden where a human corrected the result.

    A `held_out` triplet is not trained on, but measures the training.
    """

    source: str
    result: str  # the approved or corrected picture, the training target
    params: Json  # the edit's own parameters, verbatim
    golden: bool = False
    wrong: str = ""  # the rejected result that a correction replaces
    task: str = ""
    held_out: bool = False


@dataclass(frozen=True, kw_only=True)
class Before(Part):
    """Holds the values that a decision replaced, from which an undo restores them exactly."""

    state: Verdict = Verdict.PENDING
    reasons: tuple[str, ...] = ()
    reviewer: str = ""
    decided: str = ""
    triplet: Triplet | None = None
    correction: str = ""  # the corrected picture that came with the decision


@dataclass(frozen=True, kw_only=True)
class Decision(Record):
    """Holds one verdict as it was given, and in `was` the values that it replaced."""

    image: str
    verdict: Verdict
    before: Verdict
    reviewer: str = "owner"
    reasons: tuple[str, ...] = ()
    undone: bool = False
    was: Before = field(default_factory=Before)


@dataclass(frozen=True, kw_only=True)
class Throw(Record):
    """Holds the ids of pictures that were moved into the trash together, and the triplets that this removed."""

    images: tuple[str, ...]
    triplets: tuple[Triplet, ...]


@dataclass(frozen=True, kw_only=True)
class Recrop(Record):
    """Holds a change of a picture's crop; `before` is the crop that it replaced."""

    image: str
    before: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Notes(Part):
    """Holds what people write on a picture: its caption and who wrote it, its tags, its star."""

    caption: str = ""
    caption_by: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    star: bool = False


@dataclass(frozen=True, kw_only=True)
class Noted(Part):
    """Holds a picture's notes before and after a change."""

    image: str
    before: Notes
    after: Notes


@dataclass(frozen=True, kw_only=True)
class Batch(Record):
    """Holds one change of the notes of many pictures; `words` describes it."""

    words: str
    pictures: tuple[Noted, ...]
