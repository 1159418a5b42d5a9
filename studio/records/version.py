"""The record of a trained LoRA version, with its checkpoints and metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from studio.records.base import UNLESS_DEFAULT, Json, Part, Record
from studio.records.dataset import Role
from studio.records.outcome import Axes


class VersionState(StrEnum):
    """The state of a LoRA version: not decided on yet, in use, or retired."""

    CANDIDATE = "candidate"
    ADOPTED = "adopted"
    RETIRED = "retired"


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Part):
    """Holds an adapter saved after `step` training steps; `adapter` is its path relative to the character's folder."""

    step: int
    adapter: str


@dataclass(frozen=True, kw_only=True)
class Side(Part):
    """Holds the outcomes of the held-out edits without, or with, a new LoRA.

    `accepted` is the rate of passed edits among the `judged` ones, `low` and `high` its interval.
    """

    identity_median: float | None = None
    outcomes: tuple[Axes, ...] = ()
    accepted: float | None = None
    judged: int = 0
    unknown: int = 0
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Pair(Part):
    """Holds one held-out edit, redone without and with the new LoRA; `before` and `after` are ids of pictures."""

    triplet: str
    task: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Comparison(Part):
    """Holds the comparison of `n` held-out edits before and after a training of the editor, pair by pair.

    `better` edits were accepted only after, `worse` only before; `p` is McNemar's p-value. `originals` is the number of
    originals that identity was judged by, None in older comparisons.
    """

    n: int = 0
    note: str = field(default="", metadata=UNLESS_DEFAULT)
    originals: int | None = None
    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    judged: int = 0
    better: int = 0
    worse: int = 0
    p: float = 1.0
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Metrics(Part):
    """Holds the figures of a version's training; `edits` compares held-out edits, for a version of the editor only."""

    steps: int | None = None
    loss: float | None = None
    seconds: float | None = None
    real_share: float | None = None
    pictures: int | None = None
    edits: Comparison | None = field(default=None, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class Version(Record):
    """Holds a trained LoRA version; `adapter` is the path of its file relative to the character's folder.

    `parent` is the version that was in use when it was made, "" for the base model.
    """

    role: Role
    name: str
    model: str
    adapter: str
    parent: str = ""
    dataset: str = ""
    job: str = ""
    params: Json = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = ()
    metrics: Metrics = field(default_factory=Metrics)
    state: VersionState = VersionState.CANDIDATE
    notes: str = ""
    trashed: str = field(default="", metadata=UNLESS_DEFAULT)  # the time it was moved into the trash; empty: not there
