"""The record of a job in the queue: its state, its artifacts and its error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from studio.records.base import UNLESS_DEFAULT, Json, Part, Record
from studio.records.version import Checkpoint

BYTES: Final = "bytes"  # the unit of a job that counts bytes; "" counts items or steps


class JobState(StrEnum):
    """The state of a job; interrupted after a crash, or when the studio was closed while the job ran."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class JobError(Part):
    """Holds the error of a job: its cause and what to do next; `code` is empty without an error."""

    code: str = field(default="", metadata=UNLESS_DEFAULT)
    message: str = field(default="", metadata=UNLESS_DEFAULT)
    hint: str = field(default="", metadata=UNLESS_DEFAULT)

    def __bool__(self) -> bool:
        return bool(self.code)


@dataclass(frozen=True, kw_only=True)
class Omission(Part):
    """Holds a picture that a job could not use or drew a second time, and why.

    `items` is the number of the job's items that it affects.
    """

    image: str
    name: str
    why: str
    items: int = 1


@dataclass(frozen=True)
class Refused(Part):
    """Holds a file that an import refused: its name, the reason, and what to do."""

    file: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Duplicate(Part):
    """Holds a file whose picture the character already has; `id` is that picture's."""

    file: str
    id: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Advised(Part):
    """Holds the advice on an imported picture: its file, its id and the text."""

    file: str
    id: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Artifacts(Part):
    """Holds the results of a job so far; a field is None where its kind of job makes no such result, or not yet."""

    images: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    # of a captioning: picture -> words that were removed from its caption
    captioned: Mapping[str, tuple[str, ...]] | None = field(default=None, metadata=UNLESS_DEFAULT)
    # of a training
    checkpoints: tuple[Checkpoint, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    version: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    # of an editor's training: the held-out edits, redone without and with the new LoRA
    before: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    after: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    # of a drawing: how many pictures the identity filter set aside, and below which similarity
    filtered: int | None = field(default=None, metadata=UNLESS_DEFAULT)
    threshold: float | None = field(default=None, metadata=UNLESS_DEFAULT)
    card: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    # of a backup: its file, relative to the character's folder; of an import of one: the character's id
    file: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    character: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    # of an import
    imported: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    masked: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    duplicates: tuple[Duplicate, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    refused: tuple[Refused, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    advice: tuple[Advised, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    # of any job: items that could not be done, originals that were not compared with, results that existed before
    left_out: tuple[Omission, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    not_compared: tuple[Omission, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    again: tuple[Omission, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)


class Without(StrEnum):
    """The kinds of omission; each is named like the field of Artifacts that lists it."""

    LEFT_OUT = "left_out"
    NOT_COMPARED = "not_compared"
    AGAIN = "again"


WITHOUT_WORDS: Final[Mapping[Without, str]] = {
    Without.LEFT_OUT: "left out",
    Without.NOT_COMPARED: "not compared with",
    Without.AGAIN: "drawn again",
}
CANCELLING = "cancelling"  # the message of a cancelled job until it ends
_NAMED = 3  # the number of pictures that a summary names


@dataclass(frozen=True, kw_only=True)
class Job(Record):
    """Holds a job of the queue; `payload` holds its parameters verbatim and is read by records.payload."""

    kind: str
    character: str
    title: str = ""
    payload: Json = field(default_factory=dict)
    state: JobState = JobState.QUEUED
    position: float = 0.0
    key: str = ""  # the caller's idempotency key
    step: int = 0
    total: int = 0
    unit: str = field(default="", metadata=UNLESS_DEFAULT)  # of step and total
    message: str = ""
    started: str = ""
    ended: str = ""
    ended_as: int = 0  # ordinal number of its end among all jobs; 0 before it, and in older data
    rate: float = 0.0  # seconds per step
    eta_s: float = 0.0
    waits_for: str = ""
    artifacts: Artifacts = field(default_factory=Artifacts)
    error: JobError = field(default_factory=JobError)

    @property
    def stopping(self) -> bool:
        """Returns whether the job has been cancelled and still runs, until its present step has ended."""
        return self.state is JobState.RUNNING and self.message == CANCELLING

    def omissions(self, what: Without) -> tuple[Omission, ...]:
        """Returns the job's omissions of one kind."""
        found = {
            Without.LEFT_OUT: self.artifacts.left_out,
            Without.NOT_COMPARED: self.artifacts.not_compared,
            Without.AGAIN: self.artifacts.again,
        }
        return found[what] or ()

    def summary(self) -> str:
        """Returns as text what a finished job left out or drew a second time, with reasons; "" where nothing was."""
        words = []
        for what, done in WITHOUT_WORDS.items():
            if found := self.omissions(what):
                each = "; ".join(f"{one.name}: {one.why}" for one in found[:_NAMED])
                more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
                of = f" of {self.total}" if self.total and what is not Without.NOT_COMPARED else ""
                words.append(f"{sum(one.items for one in found)}{of} {done}: {each}{more}")
        return f"done, {'. '.join(words)}" if words else ""
