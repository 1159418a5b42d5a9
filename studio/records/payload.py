"""What each kind of job was asked for, as its row holds it."""

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
    """What a job was asked for; names that a kind of job does not know are passed over."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return what a job was asked for. Raises: ValueError for a job of another kind."""
        return cls.from_json(job.payload)


@dataclass(frozen=True, kw_only=True)
class ImportPayload(Payload):
    """Files to import, and how much they may hold."""

    paths: tuple[str, ...]
    limits: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CaptionPayload(Payload):
    """Pictures to caption; `params` are CaptionParams."""

    ids: tuple[str, ...]
    model: str
    params: Json
    overwrite_human: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelPayload(Payload):
    """What all jobs that draw or train have: a model, a LoRA version of ours, and what is not used of LoRA files."""

    model: str = field(default="", metadata=UNLESS_DEFAULT)
    version: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    notes: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class PlanRow(Part):
    """One edit to do: which picture, its EditParams verbatim, the tags that the result should have."""

    source: str
    params: Json
    asked: Mapping[str, str] = field(default_factory=dict)
    task: str = ""


@dataclass(frozen=True, kw_only=True)
class EnrichPayload(ModelPayload):
    """Edits to do."""

    rows: tuple[PlanRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DrawPayload(ModelPayload):
    """Pictures to draw, as GenerateParams; of a card also its seeds."""

    items: tuple[Json, ...] = ()
    seeds: tuple[int, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class TrainPayload(ModelPayload):
    """A training of a frozen dataset; `params` are TrainParams, `start` a version to go on from.

    `held_out` are the lessons that an editor's training is measured by.
    """

    params: Json = field(default_factory=dict)
    dataset: str = ""
    start: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    held_out: tuple[Triplet, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
