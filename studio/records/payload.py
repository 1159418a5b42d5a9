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
        """Reads the payload of a job. Raises: ValueError for a job of another kind."""
        return cls.from_json(job.payload)


@dataclass(frozen=True, kw_only=True)
class ImportPayload(Payload):
    """The files to import, and the limits of their sizes and numbers."""

    paths: tuple[str, ...]
    limits: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CaptionPayload(Payload):
    """The pictures to caption; `params` are CaptionParams."""

    ids: tuple[str, ...]
    model: str
    params: Json
    overwrite_human: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelPayload(Payload):
    """The payload of all jobs that draw or train: a model, a LoRA version, and notes on unused parts of LoRA files."""

    model: str = field(default="", metadata=UNLESS_DEFAULT)
    version: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    notes: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class PullPayload(Payload):
    """The model to download, the form of its large parts, and the folder or file to take it from, "" for the hub."""

    model: str
    form: str
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class BackupPayload(Payload):
    """The zip file that a character is written to, by its name, or restored from, by its path."""

    file: str


@dataclass(frozen=True, kw_only=True)
class PlanRow(Part):
    """One planned edit: the source picture, its EditParams verbatim, and the tags that the result should have.

    `mends` is the wrong result that it is a new try at; with `area`, a mask's file, only that part of it is redone.
    """

    source: str
    params: Json
    asked: Mapping[str, str] = field(default_factory=dict)
    task: str = ""
    mends: str = field(default="", metadata=UNLESS_DEFAULT)
    area: str = field(default="", metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class EnrichPayload(ModelPayload):
    """The edits to do."""

    rows: tuple[PlanRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DrawPayload(ModelPayload):
    """The pictures to draw, as GenerateParams; for a model card also its seeds."""

    items: tuple[Json, ...] = ()
    seeds: tuple[int, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class TrainPayload(ModelPayload):
    """A training on a frozen dataset; `params` are TrainParams, `start` the version to continue from.

    `held_out` are the triplets that an editor's training is evaluated on.
    """

    params: Json = field(default_factory=dict)
    dataset: str = ""
    start: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    held_out: tuple[Triplet, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
