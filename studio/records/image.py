"""The record of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from studio.records.base import UNLESS_DEFAULT, Json, Record

CUT = "cut"  # the name of the advice that training cuts a picture's ends away


class Kind(StrEnum):
    """Names the origin of a picture.

    A source was imported; it is also called an original. An enriched picture was made from another one by the editor
    model, a synthetic one was generated from a prompt. A correction was mended by a human. A card picture belongs to a
    model card (the evaluation of a LoRA version), a preview to a training.
    """

    SOURCE = "source"
    ENRICHED = "enriched"
    SYNTHETIC = "synthetic"
    CORRECTION = "correction"
    CARD = "card"
    PREVIEW = "preview"


class Verdict(StrEnum):
    """Names a human's verdict on a picture: good, needs correction or reject; `PENDING` before there is a verdict."""

    PENDING = "pending"
    GOOD = "good"
    NEEDS_CORRECTION = "needs_correction"
    REJECT = "reject"


@dataclass(frozen=True)
class Likeness:
    """Holds how similar a picture is to the originals, which are the imported pictures of the character.

    `scores` maps the version of the identity scorer to the similarity, which is None where no face was found or where
    there are no originals. `nearest` is the id of the most similar original, "" for none.
    """

    scores: Mapping[str, float | None]
    nearest: str = ""

    def replacing(self, older: Mapping[str, float | None]) -> Mapping[str, object]:
        """Returns the fields by which a picture's record, so far with the scores `older`, holds this likeness.

        Scores of other versions of the scorer are kept; the latest stands last.
        """
        kept = {version: value for version, value in older.items() if version not in self.scores}
        return {"scores": {**kept, **self.scores}, "nearest": self.nearest}


@dataclass(frozen=True, kw_only=True)
class ImageRecord(Record):
    """Holds what is stored about a picture: how it was made, its caption and tags, its scores, and its review.

    The id is taken from the hash of the picture file's bytes. `file` is the file's path relative to the character's
    folder.
    """

    kind: Kind
    file: str  # relative to the character's folder
    width: int
    height: int
    name: str = ""  # the name of the user's file
    parent: str = ""  # the id of the picture it was made from
    source_crop: tuple[float, ...] = ()  # the crop of the source picture when the edit was made
    job: str = ""
    model: str = ""
    params: Json = field(default_factory=dict)  # the parameters verbatim; `params_kind` names their class
    params_kind: str = ""
    version: str = ""  # the LoRA version that drew it
    seed: int = 0
    caption: str = ""
    caption_by: str = ""  # human | the captioner's name | sidecar
    tags: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)  # the tags that the instruction or prompt asked for
    scores: Mapping[str, float | None] = field(default_factory=dict)  # scorer version -> similarity; None: no face
    nearest: str = ""  # the id of the most similar original
    advice: Mapping[str, str] = field(default_factory=dict)  # name of a quality gate -> text
    measures: Json = field(default_factory=dict)  # judging.quality.Measures as JSON
    state: Verdict = Verdict.PENDING
    reasons: tuple[str, ...] = ()
    reviewer: str = ""
    decided: str = ""
    crop: tuple[float, ...] = ()  # the part that is trained: left, top, right, bottom in 0…1; empty: all
    mask: str = ""  # the mask's file, a grey picture of the same size, relative to the character's folder
    filtered: bool = False  # set aside by the identity filter, but still visible
    star: bool = False
    mends: str = field(default="", metadata=UNLESS_DEFAULT)  # the id of the wrong result that this edit is a new try at
    references: tuple[str, ...] = field(default=(), metadata=UNLESS_DEFAULT)  # further pictures that the editor saw
    area: str = field(default="", metadata=UNLESS_DEFAULT)  # the mask's file of the only part that the new try redid
    trashed: str = ""  # the time it was moved into the trash; empty: not in the trash
    emptied: str = field(default="", metadata=UNLESS_DEFAULT)  # the time its file was deleted from the trash for good

    @property
    def likeness(self) -> float | None:
        """Returns the picture's latest similarity to the imported pictures; None where it is unknown.

        It is the last value in `scores`, which holds one for each version of the identity scorer. It is unknown without
        a face, without imported pictures, and before the first scoring.
        """
        return list(self.scores.values())[-1] if self.scores else None
