"""The payload of each kind of job: its parameters, as the job's record holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from pydantic import ConfigDict

from studio.records.base import UNLESS_DEFAULT, Json, Part
from studio.records.job import Job
from studio.records.lora import BegunWith, MergedPart
from studio.records.review import Triplet


@dataclass(frozen=True, kw_only=True)
class Payload(Part):
    """Holds the parameters of a job; each kind of job has its own subclass.

    Parameters that the class does not have are ignored when a stored payload is read.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    @classmethod
    def of(cls, job: Job) -> Self:
        """Returns a job's stored parameters as an instance of this class. Raises: ValueError where they do not fit."""
        return cls.from_json(job.payload)


@dataclass(frozen=True, kw_only=True)
class ImportPayload(Payload):
    """Holds the parameters of an import of pictures.

    `paths` are the paths of the files and folders to import. `limits` maps names of limits, such as `files` and
    `total_bytes`, to the most that is accepted.
    """

    paths: tuple[str, ...]
    limits: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CaptionPayload(Payload):
    """Holds the parameters of a captioning job.

    `ids` are the pictures to caption, `model` is the name of the captioning model, `params` are its CaptionParams as
    JSON. `overwrite_human` also replaces captions that a human wrote.
    """

    ids: tuple[str, ...]
    model: str
    params: Json
    overwrite_human: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelPayload(Payload):
    """Holds the parameters that are common to all jobs that edit pictures, generate pictures or train.

    `model` is the name of the model. `version` is the id of the LoRA version that is used with it; "" and None stand
    for the base model alone. `notes` are texts for the user on the parts of LoRA files that are not used.
    """

    model: str = field(default="", metadata=UNLESS_DEFAULT)
    version: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    notes: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class PullPayload(Payload):
    """Holds the parameters of a model's download.

    `model` is the model's name, `form` the format in which its large parts are stored, such as nf4 or bf16. `source`
    is the path of a local folder or file to take the model from, "" for the Hugging Face hub; `text_encoders` and
    `vae` are those to take these components from.
    """

    model: str
    form: str
    source: str = ""
    text_encoders: tuple[str, ...] = ()
    vae: str = ""


@dataclass(frozen=True, kw_only=True)
class LoraPayload(Payload):
    """Holds the parameters of a job that adds a LoRA to the editors' library.

    `lora` is the id that it gets. It comes from the file named `file` in the hub's repository `repo`, or for an empty
    `repo` from the file of this machine at the path `file`. With `parts` it is merged from these LoRAs of the library,
    each layer to at most `rank`; 0 keeps the sum of the ranks. The other values are stored with it.
    """

    lora: str
    file: str
    repo: str = ""
    name: str = ""
    task: str = ""
    words: str = ""
    strength: float = 1.0
    licence: str = "unknown"
    parts: tuple[MergedPart, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    rank: int = field(default=0, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class BackupPayload(Payload):
    """Holds the parameter of a job that makes a character's backup or restores one; the backup is a zip file.

    `file` is the name of the zip to make, or the path of the zip to restore from.
    """

    file: str


@dataclass(frozen=True, kw_only=True)
class PlanRow(Part):
    """Holds one planned edit: its source, its EditParams as JSON, and the tags that the result should have."""

    source: str
    """The id of the picture to edit."""
    params: Json
    """The parameters of the edit, with its words."""
    asked: Mapping[str, str] = field(default_factory=dict)
    """The tags that the result shall have, by axis."""
    task: str = ""
    """The kind of edit, such as background."""
    mends: str = field(default="", metadata=UNLESS_DEFAULT)
    """The id of the wrong result that this edit is a new try at."""
    area: str = field(default="", metadata=UNLESS_DEFAULT)
    """The file of a mask: only what is white in it is redone."""
    references: tuple[str, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    """The ids of further pictures that the editor sees after the source."""
    model: str = field(default="", metadata=UNLESS_DEFAULT)
    """The name of the model that makes this edit; "" for that of the other rows."""
    version: str = field(default="", metadata=UNLESS_DEFAULT)
    """With `model`: the id of its LoRA version, "" for none."""
    why: str = field(default="", metadata=UNLESS_DEFAULT)
    """Why another editor makes this edit than the one in use; "" where it does not."""


@dataclass(frozen=True, kw_only=True)
class EnrichPayload(ModelPayload):
    """Holds the parameters of a job that edits pictures; `rows` are the edits to make."""

    rows: tuple[PlanRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TournamentPayload(ModelPayload):
    """Holds the parameters of a job that draws a tournament of editors; `tournament` is its id."""

    tournament: str = ""


@dataclass(frozen=True, kw_only=True)
class DrawPayload(ModelPayload):
    """Holds the parameters of a job that generates pictures; `items` has one GenerateParams as JSON for each picture.

    `seeds` are the seeds of a model card (the evaluation of a LoRA version); None where the job makes no model card.
    """

    items: tuple[Json, ...] = ()
    seeds: tuple[int, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class TrainPayload(ModelPayload):
    """Holds the parameters of a LoRA training.

    `params` are TrainParams as JSON, `dataset` is the id of the dataset to train on. `start` is the id of the LoRA
    version that the training begins from; None or "" for a new LoRA. `held_out` are example edits (source, parameters,
    result) that are kept out of an editor's training to measure it; None for a training of the character. `begun` is
    the LoRA of the library that an editor's training begins with; None for a new LoRA.
    """

    params: Json = field(default_factory=dict)
    dataset: str = ""
    start: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    held_out: tuple[Triplet, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    begun: BegunWith | None = field(default=None, metadata=UNLESS_DEFAULT)
