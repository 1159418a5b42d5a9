"""A row of the queue: its life, what it has made so far, and why it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from studio.records.base import UNLESS_DEFAULT, Json, Part, Record
from studio.records.version import Checkpoint


class JobState(StrEnum):
    """A job's life; `interrupted` is what a crash leaves behind."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class JobError(Part):
    """Why a job failed, and what to do next; `code` is empty where nothing failed."""

    code: str = field(default="", metadata=UNLESS_DEFAULT)
    message: str = field(default="", metadata=UNLESS_DEFAULT)
    hint: str = field(default="", metadata=UNLESS_DEFAULT)

    def __bool__(self) -> bool:
        return bool(self.code)


@dataclass(frozen=True, kw_only=True)
class Omission(Part):
    """A picture with which a job did not do all, and why; `items` of the job's items are not done for it."""

    image: str
    name: str
    why: str
    items: int = 1


@dataclass(frozen=True)
class Refused(Part):
    """A file that did not come in: which, why, and what to do."""

    file: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Duplicate(Part):
    """A file whose picture was here already, under `id`."""

    file: str
    id: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Advised(Part):
    """What an import has to say of a picture that came in."""

    file: str
    id: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Artifacts(Part):
    """What a job has made so far, each kept durably; None where its kind of job makes no such thing, or not yet."""

    images: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    # a captioning: picture -> words that were taken out of its caption
    captioned: Mapping[str, tuple[str, ...]] | None = field(default=None, metadata=UNLESS_DEFAULT)
    # a training
    checkpoints: tuple[Checkpoint, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    version: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    # an editor's: the held-out edits, redone without and with the new LoRA
    before: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    after: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    # pictures: how many the identity filter set aside, and below which similarity
    filtered: int | None = field(default=None, metadata=UNLESS_DEFAULT)
    threshold: float | None = field(default=None, metadata=UNLESS_DEFAULT)
    card: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    # an import
    imported: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    masked: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    duplicates: tuple[Duplicate, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    refused: tuple[Refused, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    advice: tuple[Advised, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    # any: items that could not be done, originals that were not compared with, results that were there before
    left_out: tuple[Omission, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    not_compared: tuple[Omission, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    again: tuple[Omission, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)


class Without(StrEnum):
    """The artifacts that name pictures with which a job did not do all."""

    LEFT_OUT = "left_out"
    NOT_COMPARED = "not_compared"
    AGAIN = "again"


WITHOUT_WORDS: Final[Mapping[Without, str]] = {
    Without.LEFT_OUT: "left out",
    Without.NOT_COMPARED: "not compared with",
    Without.AGAIN: "drawn again",
}
_NAMED = 3  # of many pictures that a summary names


@dataclass(frozen=True, kw_only=True)
class Job(Record):
    """A row of the queue. `payload` holds the parameters verbatim; records.payload reads it."""

    kind: str
    character: str
    title: str = ""
    payload: Json = field(default_factory=dict)
    state: JobState = JobState.QUEUED
    position: float = 0.0
    key: str = ""  # the caller's idempotency key
    step: int = 0
    total: int = 0
    message: str = ""
    started: str = ""
    ended: str = ""
    ended_as: int = 0  # the how-manieth of all jobs to end; 0 for one that has not, or that an older FLENwheel ran
    rate: float = 0.0  # seconds a step
    eta_s: float = 0.0
    waits_for: str = ""
    artifacts: Artifacts = field(default_factory=Artifacts)
    error: JobError = field(default_factory=JobError)

    def omissions(self, what: Without) -> tuple[Omission, ...]:
        """Return the pictures with which the job did not do all, in one of the ways."""
        found = {
            Without.LEFT_OUT: self.artifacts.left_out,
            Without.NOT_COMPARED: self.artifacts.not_compared,
            Without.AGAIN: self.artifacts.again,
        }
        return found[what] or ()

    def summary(self) -> str:
        """Return in words which pictures a finished job did without, and why; nothing where it did all."""
        words = []
        for what, done in WITHOUT_WORDS.items():
            if found := self.omissions(what):
                each = "; ".join(f"{one.name}: {one.why}" for one in found[:_NAMED])
                more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
                of = f" of {self.total}" if self.total and what is not Without.NOT_COMPARED else ""
                words.append(f"{sum(one.items for one in found)}{of} {done}: {each}{more}")
        return f"done, {'. '.join(words)}" if words else ""
