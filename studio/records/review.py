"""The records of reviews: decisions, which can be undone, and the triplets that the editor is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.records.base import UNLESS_DEFAULT, Json, Part, Record
from studio.records.image import Verdict


@dataclass(frozen=True, kw_only=True)
class Triplet(Record):
    """Holds a training example for the editor: a source picture, the edit's parameters, and the accepted result."""

    source: str
    """The id of the picture that was edited."""
    result: str
    """The id of the approved or corrected picture: what the editor shall learn to make."""
    params: Json
    """The edit's own parameters."""
    golden: bool = False
    """Whether a human mended the pixels, marked an area or changed the words."""
    wrong: str = ""
    """The id of the rejected result that a correction replaces; "" for none."""
    task: str = ""
    """The kind of edit, such as background."""
    held_out: bool = False
    """Whether it is kept out of trainings, to measure them."""


@dataclass(frozen=True, kw_only=True)
class Before(Part):
    """Holds the review of a picture as it was before a decision, from which an undo restores it exactly."""

    state: Verdict = Verdict.PENDING
    """The verdict before."""
    reasons: tuple[str, ...] = ()
    """The reasons before."""
    reviewer: str = ""
    """Who had given that verdict."""
    decided: str = ""
    """When it had been given, in UTC."""
    triplet: Triplet | None = None
    """The editor's example that was there before; null for none."""
    correction: str = ""
    """The id of the corrected picture that came with the decision; "" for none."""


@dataclass(frozen=True, kw_only=True)
class Decision(Record):
    """Holds one verdict of a reviewer on a picture."""

    image: str
    """The id of the picture."""
    verdict: Verdict
    """The verdict: good, needs_correction or reject."""
    before: Verdict
    """The verdict before."""
    reviewer: str = "owner"
    """Who gave it."""
    reasons: tuple[str, ...] = ()
    """Why."""
    undone: bool = False
    """Whether it was taken back."""
    was: Before = field(default_factory=Before)
    """All that it replaced."""


@dataclass(frozen=True, kw_only=True)
class Throw(Record):
    """Holds one move of pictures into the trash, so that it can be undone.

    `images` are the pictures' ids, `triplets` the editor's training examples that were removed with the pictures.
    """

    images: tuple[str, ...]
    triplets: tuple[Triplet, ...]


@dataclass(frozen=True, kw_only=True)
class Recrop(Record):
    """Holds one change of the crop of the picture with the id `image`; `before` is the crop that was replaced.

    A crop is left, top, right and bottom as fractions of the picture's size; an empty one is the whole picture.
    `advice` is what the user was told about the shape of the former crop, "" for nothing.
    """

    image: str
    before: tuple[float, ...]
    advice: str = field(default="", metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class Notes(Part):
    """Holds what can be noted on a picture: caption, who wrote the caption, tags by axis, and whether it has a star."""

    caption: str = ""
    caption_by: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    star: bool = False


@dataclass(frozen=True, kw_only=True)
class Noted(Part):
    """Holds the caption, tags and star of the picture with the id `image`, before and after a change."""

    image: str
    before: Notes
    after: Notes


@dataclass(frozen=True, kw_only=True)
class Batch(Record):
    """Holds one change of the captions, tags or stars of many pictures, so that it can be undone.

    `words` describes the change to the user. `pictures` has the values of each picture before and after the change.
    """

    words: str
    pictures: tuple[Noted, ...]
