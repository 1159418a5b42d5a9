"""The nouns of the studio: frozen records, as the store keeps them and every tab calls them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Self

from engines.api.axes import ANGLES as ANGLES
from engines.api.axes import EXPRESSIONS as EXPRESSIONS
from engines.api.axes import FRAMINGS as FRAMINGS
from engines.api.axes import POSES as POSES
from engines.api.axes import TAGS as TAGS

Json = dict[str, Any]

CUT = "cut"  # the name of the advice that a picture's shape loses its ends in training
CHARACTER_SETTING = "character"  # the library's setting that names the character a window opens on


def now() -> str:
    """UTC, ISO 8601, seconds and a fraction."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


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


class JobState(StrEnum):
    """A job's life; `interrupted` is what a crash leaves behind."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class VersionState(StrEnum):
    """A LoRA version's standing."""

    CANDIDATE = "candidate"
    ADOPTED = "adopted"
    RETIRED = "retired"


class Role(StrEnum):
    """Which flywheel a version or dataset belongs to."""

    CHARACTER = "character"
    EDITOR = "editor"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A noun with an id that the store can keep."""

    id: str
    created: str = field(default_factory=now)

    def to_json(self) -> Json:
        """A plain dict that `from_json` turns into an equal record."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild; lists become tuples and enum names enum members."""
        fields = cls.__dataclass_fields__
        return cls(**{k: _revive(fields[k].type, v) for k, v in data.items()})

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


_ENUMS = {e.__name__: e for e in (Kind, Verdict, JobState, VersionState, Role)}


def _revive(type_name: Any, value: Any) -> Any:
    if type_name in _ENUMS:
        return _ENUMS[type_name](value)
    return tuple(value) if isinstance(value, list) and str(type_name).startswith("tuple") else value


@dataclass(frozen=True, kw_only=True)
class Character(Record):
    """Who is being grown. `trigger` is the word that calls the character in a prompt."""

    name: str
    trigger: str = "ohwx"
    subject: str = "person"
    scorer: str = "mini-identity"
    generator: str = "mini-flux"
    editor: str = "mini-qwen-edit"
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class ImageRecord(Record):
    """A picture and all that is known of it; the id is the hash of the file's bytes."""

    kind: Kind
    file: str  # relative to the character's folder
    width: int
    height: int
    name: str = ""  # what the user's file was called
    parent: str = ""  # the picture it was made from
    source_crop: tuple[float, ...] = ()  # the part that an edit was made from, as its source was cropped then
    job: str = ""
    model: str = ""
    params: Json = field(default_factory=dict)
    params_kind: str = ""
    version: str = ""  # the LoRA version that drew it
    seed: int = 0
    caption: str = ""
    caption_by: str = ""  # human | the captioner's name | sidecar
    tags: Json = field(default_factory=dict)
    asked: Json = field(default_factory=dict)  # the tags that the instruction or prompt asked for
    scores: Json = field(default_factory=dict)  # scorer version -> similarity, or null for "no face"
    nearest: str = ""  # the original that it is most like
    advice: Json = field(default_factory=dict)  # quality gates: name -> words
    measures: Json = field(default_factory=dict)  # the figures behind the advice, studio.quality.Measures
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
        """Its similarity to the originals by the scorer that looked last; None where none could compare."""
        value = next(reversed(self.scores.values()), None)
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True, kw_only=True)
class Decision(Record):
    """One verdict as it was given, and what it replaced, so that it can be undone."""

    image: str
    verdict: Verdict
    before: Verdict
    reviewer: str = "owner"
    reasons: tuple[str, ...] = ()
    undone: bool = False
    was: Json = field(default_factory=dict)  # all that it replaced, so that an undo restores it exactly


@dataclass(frozen=True, kw_only=True)
class Triplet(Record):
    """What the editor learns from: source, words, result. Golden = a human mended the result."""

    source: str
    result: str  # the picture to learn: approved, or corrected
    params: Json  # the edit's own parameters, verbatim
    golden: bool = False
    wrong: str = ""  # the rejected result that a correction replaces
    task: str = ""
    held_out: bool = False


@dataclass(frozen=True, kw_only=True)
class Dataset(Record):
    """A frozen list of what a version was trained on; `hash` is that of its entries."""

    role: Role
    entries: tuple[Json, ...]  # {image, caption, kind, references}
    hash: str = ""
    real_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Version(Record):
    """A trained LoRA. `adapter` is relative to the character's folder."""

    role: Role
    name: str
    model: str
    adapter: str
    parent: str = ""
    dataset: str = ""
    job: str = ""
    params: Json = field(default_factory=dict)
    checkpoints: tuple[Json, ...] = ()  # {step, adapter, scores}
    metrics: Json = field(default_factory=dict)
    state: VersionState = VersionState.CANDIDATE
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class CardRun(Record):
    """One model card: cells × seeds, each with its picture and its axes' outcomes."""

    version: str  # "" = the base model
    job: str
    seeds: tuple[int, ...]
    cells: tuple[Json, ...]  # {cell, seed, image, axes: {name: pass|fail|unknown}, verdict, human}
    originals: int | None = None  # how many were there to compare with; None: an older card, which does not say
    summary: Json = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job(Record):
    """A row of the queue. `payload` holds the parameters verbatim."""

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
    artifacts: Json = field(default_factory=dict)  # name -> ids, paths or figures
    error: Json = field(default_factory=dict)


LEFT_OUT, NOT_COMPARED, AGAIN = "left_out", "not_compared", "again"
WITHOUT: Final[Mapping[str, str]] = {  # artifacts that name pictures with which a job did not do all, and its words
    LEFT_OUT: "left out",  # items that could not be done
    NOT_COMPARED: "not compared with",  # originals that a judge could not look at
    AGAIN: "drawn again",  # results that were there before
}
_SAID = 3


def summary(job: Job) -> str:
    """What a job that is done says of itself: which pictures it did without, and why; nothing where it did all."""
    words = []
    for what, done in WITHOUT.items():
        if found := job.artifacts.get(what, []):
            each = "; ".join(f"{one['name']}: {one['why']}" for one in found[:_SAID])
            more = f"; and {len(found) - _SAID} more" if len(found) > _SAID else ""
            of = f" of {job.total}" if job.total and what != NOT_COMPARED else ""
            words.append(f"{sum(one['items'] for one in found)}{of} {done}: {each}{more}")
    return f"done, {'. '.join(words)}" if words else ""
