"""The payload of each kind of job: its parameters, as the job's record holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from pydantic import ConfigDict

from studio.records.base import UNLESS_DEFAULT, Json, Part
from studio.records.job import Job
from studio.records.review import Triplet


@dataclass(frozen=True, kw_only=True)
class Payload(Part):
    """The base class of payloads; unknown names in the stored form are ignored."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    @classmethod
    def of(cls, job: Job) -> Self:
        """Returns the payload of a job. Raises: ValueError where it does not fit this class."""
        return cls.from_json(job.payload)


@dataclass(frozen=True, kw_only=True)
class ImportPayload(Payload):
    """Holds the paths to import, and the limits of the import by name."""

    paths: tuple[str, ...]
    limits: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CaptionPayload(Payload):
    """Holds the ids of the pictures to caption; `params` are CaptionParams."""

    ids: tuple[str, ...]
    model: str
    params: Json
    overwrite_human: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelPayload(Payload):
    """Holds what all jobs that draw or train have: a model, a LoRA version, and notes on unused parts of LoRA files.

    `version` "" is the base model.
    """

    model: str = field(default="", metadata=UNLESS_DEFAULT)
    version: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    notes: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class PullPayload(Payload):
    """Holds a model to download, the form of its large parts, and the folder or file to take it from; "" is the hub."""

    model: str
    form: str
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class BackupPayload(Payload):
    """Holds the zip file of a backup: its name where a character is written to it, its path where one is restored."""

    file: str


@dataclass(frozen=True, kw_only=True)
class PlanRow(Part):
    """Holds one planned edit: the source's id, its EditParams verbatim, and the tags that the result should have.

    `mends` is the id of the wrong result that the edit is a new try at, "" for none. With `area`, the file of a mask,
    only that part of the wrong result is redone.
    """

    source: str
    params: Json
    asked: Mapping[str, str] = field(default_factory=dict)
    task: str = ""
    mends: str = field(default="", metadata=UNLESS_DEFAULT)
    area: str = field(default="", metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class EnrichPayload(ModelPayload):
    """Holds the edits to make."""

    rows: tuple[PlanRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DrawPayload(ModelPayload):
    """Holds the pictures to draw, as GenerateParams; for a model card also its seeds."""

    items: tuple[Json, ...] = ()
    seeds: tuple[int, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class TrainPayload(ModelPayload):
    """Holds a training on a frozen dataset; `params` are TrainParams, `start` the version to start from, "" for none.

    `held_out` are the triplets that an editor's training is measured by.
    """

    params: Json = field(default_factory=dict)
    dataset: str = ""
    start: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    held_out: tuple[Triplet, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
