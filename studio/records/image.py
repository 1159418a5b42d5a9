"""The record of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from engines.api.params import EditParams
from studio.records.base import UNLESS_DEFAULT, Json, Record
from studio.records.reading import Answered, ReadBy
from studio.records.tournament import Trial

CUT = "cut"  # the name of the advice that training cuts a picture's ends away


class Kind(StrEnum):
    """Names the origin of a picture.

    A source was imported; it is also called an original. An enriched picture was made from another one by the editor
    model, a synthetic one was generated from a prompt. A correction was mended by a human. A pair is the source or
    the result of an imported edit, which the editor learns; it need not show the character. A card picture belongs to a
    model card (the evaluation of a LoRA version), a preview to a training. A guide was drawn by the studio for an
    editor to see beside a source: a grey figure, a map of light; it shows nobody.
    """

    SOURCE = "source"
    ENRICHED = "enriched"
    SYNTHETIC = "synthetic"
    CORRECTION = "correction"
    PAIR = "pair"
    CARD = "card"
    PREVIEW = "preview"
    GUIDE = "guide"


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
    """Its origin: source (imported), enriched (an edit), synthetic (generated), correction, card, preview or guide."""
    file: str
    """Its file, relative to the character's folder."""
    width: int
    """Its width in pixels."""
    height: int
    """Its height in pixels."""
    name: str = ""
    """The name of the file that it was imported from."""
    parent: str = ""
    """The id of the picture that it was made from; "" for none."""
    source_crop: tuple[float, ...] = ()
    """The crop of the source picture when the edit was made."""
    job: str = ""
    """The id of the job that made it; "" for none."""
    model: str = ""
    """The name of the model that made it; "" for none."""
    params: Json = field(default_factory=dict)
    """The parameters that it was made with; `params_kind` names their class."""
    params_kind: str = ""
    """GenerateParams or EditParams."""
    version: str = ""
    """The id of the LoRA version that it was made with; "" for none."""
    seed: int = 0
    """The seed that it was made with."""
    caption: str = ""
    """Its caption."""
    caption_by: str = ""
    """Who wrote the caption: human, the model's name, or sidecar, a text file beside the picture."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What it shows, by axis, such as angle or light."""
    read_by: Mapping[str, ReadBy] = field(default_factory=dict, metadata=UNLESS_DEFAULT)
    """What read the tags, by axis: a caption's words where an axis is missing."""
    answers: Mapping[str, Answered] = field(default_factory=dict, metadata=UNLESS_DEFAULT)
    """Answers to questions about it, by the asker's version and by axis: the logarithm of each value's probability."""
    asked: Mapping[str, str] = field(default_factory=dict)
    """The tags that its instruction or prompt asked for."""
    scores: Mapping[str, float | None] = field(default_factory=dict)
    """Its similarity to the originals, by the scorer's version; null where no face was found."""
    nearest: str = ""
    """The id of the original that is most similar to it; "" where it is unknown."""
    advice: Mapping[str, str] = field(default_factory=dict)
    """What is to be said of its quality, by the name of the check."""
    measures: Json = field(default_factory=dict)
    """Its measured qualities, such as sharpness."""
    state: Verdict = Verdict.PENDING
    """The verdict on it: pending, good, needs_correction or reject."""
    reasons: tuple[str, ...] = ()
    """The reviewer's reasons."""
    reviewer: str = ""
    """Who gave the verdict."""
    decided: str = ""
    """When the verdict was given, in UTC."""
    crop: tuple[float, ...] = ()
    """The part that is trained: left, top, right, bottom in 0…1; empty for all."""
    mask: str = ""
    """The file of its training mask, a grey picture of the same size, relative to the character's folder."""
    filtered: bool = False
    """Whether review leaves it out: the identity filter set it aside, or its tournament needs no verdict on it."""
    star: bool = False
    """Whether it is starred."""
    mends: str = field(default="", metadata=UNLESS_DEFAULT)
    """The id of the wrong result that this edit is a new try at."""
    references: tuple[str, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    """The ids of further pictures that the editor saw after the source."""
    area: str = field(default="", metadata=UNLESS_DEFAULT)
    """The file of the mask of the only part that the new try redid."""
    trial: Trial | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Its place in a tournament of editors; null or absent where it is in none."""
    trashed: str = ""
    """When it was moved into the trash; "" where it was not."""
    emptied: str = field(default="", metadata=UNLESS_DEFAULT)
    """When its file was deleted from the trash for good."""

    @property
    def is_blind(self) -> bool:
        """Returns whether it has to be judged without knowing who drew it: it is in a tournament and has no verdict."""
        return self.trial is not None and self.state is Verdict.PENDING

    @property
    def blinded(self) -> ImageRecord:
        """Returns the record without what tells who drew the picture, or how good a machine finds it.

        A record that need not be judged blind is returned as it is.
        """
        if self.trial is None or not self.is_blind:
            return self
        worded = {name: value for name, value in self.params.items() if name == EditParams.worded}
        trial = Trial(tournament=self.trial.tournament, contestant="", ask=self.trial.ask)
        return self.replace(model="", version="", params=worded, scores={}, nearest="", trial=trial)

    @property
    def likeness(self) -> float | None:
        """Returns the picture's latest similarity to the imported pictures; None where it is unknown.

        It is the last value in `scores`, which holds one for each version of the identity scorer. It is unknown without
        a face, without imported pictures, and before the first scoring.
        """
        return list(self.scores.values())[-1] if self.scores else None
