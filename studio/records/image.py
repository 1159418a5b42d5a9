"""A picture and all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from studio.records.base import Json, Record

CUT = "cut"  # the name of the advice that training cuts off a picture's ends


class Kind(StrEnum):
    """Where a picture comes from."""

    SOURCE = "source"
    ENRICHED = "enriched"
    SYNTHETIC = "synthetic"
    CORRECTION = "correction"
    CARD = "card"
    PREVIEW = "preview"


class Verdict(StrEnum):
    """What a human said of a picture; `pending` until then."""

    PENDING = "pending"
    GOOD = "good"
    NEEDS_CORRECTION = "needs_correction"
    REJECT = "reject"


@dataclass(frozen=True)
class Likeness:
    """How like the originals a picture is: scorer version -> similarity, None for no face; the nearest original."""

    scores: Mapping[str, float | None]
    nearest: str = ""


@dataclass(frozen=True, kw_only=True)
class ImageRecord(Record):
    """A picture's record; its id is the hash of the file's bytes."""

    kind: Kind
    file: str  # relative to the character's folder
    width: int
    height: int
    name: str = ""  # what the user's file was called
    parent: str = ""  # the picture it was made from
    source_crop: tuple[float, ...] = ()  # the part that an edit was made from, as its source was cropped then
    job: str = ""
    model: str = ""
    params: Json = field(default_factory=dict)  # the parameters verbatim, of the class that `params_kind` names
    params_kind: str = ""
    version: str = ""  # the LoRA version that drew it
    seed: int = 0
    caption: str = ""
    caption_by: str = ""  # human | the captioner's name | sidecar
    tags: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)  # the tags that the instruction or prompt asked for
    scores: Mapping[str, float | None] = field(default_factory=dict)  # scorer version -> similarity; None: no face
    nearest: str = ""  # the original that it is most like
    advice: Mapping[str, str] = field(default_factory=dict)  # name of a quality gate -> words
    measures: Json = field(default_factory=dict)  # the figures behind the advice, judging.quality.Measures
    state: Verdict = Verdict.PENDING
    reasons: tuple[str, ...] = ()
    reviewer: str = ""
    decided: str = ""
    crop: tuple[float, ...] = ()  # the part that counts in training: left, top, right, bottom in 0…1; empty for all
    mask: str = ""  # what of it counts in training: a grey picture of its size, relative to the character's folder
    filtered: bool = False  # set aside by the identity filter; still visible
    star: bool = False
    trashed: str = ""  # when; empty = not in the trash

    @property
    def likeness(self) -> float | None:
        """The similarity to the originals by the scorer that looked last; None where none could compare."""
        return list(self.scores.values())[-1] if self.scores else None
