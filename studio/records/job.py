"""The record of a job in the queue: its state, its artifacts and its error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from studio.records.base import UNLESS_DEFAULT, Json, Part, Record
from studio.records.version import Checkpoint

BYTES: Final = "bytes"  # the unit of a job that counts bytes; "" counts items or steps


class JobState(StrEnum):
    """Names the state of a job: queued, running, done, failed, cancelled or interrupted.

    A job is interrupted when the studio crashed or was closed while the job ran.
    """

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def is_under_way(self) -> bool:
        """Returns whether the job waits in the queue or runs."""
        return self in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, kw_only=True)
class JobError(Part):
    """Holds why a job failed; all fields are empty where it did not, and `bool` of the object is then False."""

    code: str = field(default="", metadata=UNLESS_DEFAULT)
    """The kind of error, for programs."""
    message: str = field(default="", metadata=UNLESS_DEFAULT)
    """What went wrong."""
    hint: str = field(default="", metadata=UNLESS_DEFAULT)
    """What to do about it."""

    def __bool__(self) -> bool:
        return bool(self.code)


@dataclass(frozen=True, kw_only=True)
class Omission(Part):
    """Holds a picture that a job reports to the user, and the reason.

    The job could not use the picture, could not compare its results with it, or made it although it was stored already.
    """

    image: str
    """The id of the picture."""
    name: str
    """Its name, for people."""
    why: str
    """The reason."""
    items: int = 1
    """How many items of the job are concerned."""


@dataclass(frozen=True)
class Refused(Part):
    """Holds a file that an import refused."""

    file: str
    """The file's name."""
    reason: str
    """Why it was refused."""
    hint: str
    """What to do about it."""


@dataclass(frozen=True, kw_only=True)
class Duplicate(Part):
    """Holds an imported file that was left out because the character has the same picture already."""

    file: str
    """The file's name."""
    id: str
    """The id of the picture that was there already."""
    hint: str
    """What can be done."""


@dataclass(frozen=True, kw_only=True)
class Advised(Part):
    """Holds advice on an imported picture, such as that it is blurred; the picture was imported all the same."""

    file: str
    """The file's name."""
    id: str
    """The id of the picture."""
    words: str
    """The advice."""


@dataclass(frozen=True, kw_only=True)
class Artifacts(Part):
    """Holds the results that a job has so far, such as the ids of its pictures, its checkpoints or its LoRA version.

    A field is None while the job has no such result, and always in a kind of job that never has one.
    """

    images: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """The ids of the pictures that it made."""
    captioned: Mapping[str, tuple[str, ...]] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of a captioning: for each picture's id, the words that were removed from its caption."""
    checkpoints: tuple[Checkpoint, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of a training: the files saved so far."""
    version: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of a training: the id of the LoRA version that was made."""
    before: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of an editor's training: the ids of the held-out edits, made without the new LoRA."""
    after: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of an editor's training: the ids of the same edits, made with the new LoRA."""
    filtered: int | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of a drawing: how many pictures the identity filter set aside."""
    threshold: float | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of a drawing: the similarity below which the filter set pictures aside."""
    card: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of a model card: its id."""
    file: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of a backup: its file, relative to the character's folder."""
    character: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of the import of a backup: the id of the character."""
    imported: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of an import: the ids of the new pictures."""
    masked: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of an import: the ids of the pictures that got a mask."""
    paired: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of an import: the ids of the results of edits, which the editor learns."""
    duplicates: tuple[Duplicate, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of an import: the files whose picture was there already."""
    refused: tuple[Refused, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of an import: the files that were not taken."""
    advice: tuple[Advised, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """Of an import: what is to be said of the new pictures."""
    left_out: tuple[Omission, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """The items that could not be done."""
    not_compared: tuple[Omission, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """The originals that the results were not compared with."""
    again: tuple[Omission, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """The results that were there already."""


class Without(StrEnum):
    """Names the three lists of pictures that a job reports, each picture with a reason.

    `LEFT_OUT` are pictures that the job could not use, `NOT_COMPARED` originals that it did not compare its results
    with, `AGAIN` results that are identical to a stored picture. Each value is the name of the field of `Artifacts`
    that holds the list.
    """

    LEFT_OUT = "left_out"
    NOT_COMPARED = "not_compared"
    AGAIN = "again"


WITHOUT_WORDS: Final[Mapping[Without, str]] = {
    Without.LEFT_OUT: "left out",
    Without.NOT_COMPARED: "not compared with",
    Without.AGAIN: "drawn again",
}
CANCELLING = "cancelling"  # the message of a cancelled job until it ends
_ID = re.compile(r"[\w-]+", re.ASCII)
_NAMED = 3  # the number of pictures that a summary names


@dataclass(frozen=True, kw_only=True)
class Job(Record):
    """Holds a job of the queue with its progress and results.

    `kind` names what it does, `character` is the id of its character. `payload` holds its parameters as they were
    queued; the classes in `records.payload` parse it. `step` of `total` is its progress, `position` its place in the
    queue.
    """

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
        """Returns whether the job has been cancelled but is still running; it stops after its present step."""
        return self.state is JobState.RUNNING and self.message == CANCELLING

    def omissions(self, what: Without) -> tuple[Omission, ...]:
        """Returns the pictures that the job reports in one of its three lists; an empty tuple where there are none.

        `what` chooses the list: pictures left out, originals not compared with, or results that were not new.
        """
        found = {
            Without.LEFT_OUT: self.artifacts.left_out,
            Without.NOT_COMPARED: self.artifacts.not_compared,
            Without.AGAIN: self.artifacts.again,
        }
        return found[what] or ()

    def summary(self) -> str:
        """Returns a text for the user on what a finished job left out, and why; "" where there is nothing to tell.

        The text also names originals that the job did not compare with, and results that are identical to a stored
        picture. Of each of the three lists it names only the first few.
        """
        words = []
        for what, done in WITHOUT_WORDS.items():
            if found := self.omissions(what):
                each = "; ".join(f"{one.name}: {one.why}" for one in found[:_NAMED])
                more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
                of = f" of {self.total}" if self.total and what is not Without.NOT_COMPARED else ""
                words.append(f"{sum(one.items for one in found)}{of} {done}: {each}{more}")
        return f"done, {'. '.join(words)}" if words else ""


def is_id(text: str) -> bool:
    """Returns whether a text can be the id of a job: letters, digits, _ and -, so that it can name a folder."""
    return _ID.fullmatch(text) is not None
