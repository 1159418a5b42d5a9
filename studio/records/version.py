"""The record of a trained LoRA version, with its checkpoints and metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from studio.records.base import UNLESS_DEFAULT, Json, Part, Record
from studio.records.dataset import Role
from studio.records.lora import BegunWith
from studio.records.outcome import Axes


class VersionState(StrEnum):
    """Names the state of a LoRA version: candidate (not decided on yet), adopted (in use) or retired."""

    CANDIDATE = "candidate"
    ADOPTED = "adopted"
    RETIRED = "retired"


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Part):
    """Holds a LoRA file that was saved in the course of a training."""

    step: int
    """The number of steps that were done."""
    adapter: str
    """The LoRA file, relative to the character's folder."""


@dataclass(frozen=True, kw_only=True)
class Side(Part):
    """Holds the figures of the test edits of an editor's training, all made either without or with its new LoRA.

    The test edits were kept out of the training.
    """

    identity_median: float | None = None
    """The median similarity to the originals."""
    outcomes: tuple[Axes, ...] = ()
    """For each edit, its outcome on each axis."""
    accepted: float | None = None
    """The share that passed, of the judged edits."""
    judged: int = 0
    """The number of edits that could be judged."""
    unknown: int = 0
    """The number of the other edits."""
    low: float = 0.0
    """The lower end of the share's 95 % interval."""
    high: float = 1.0
    """The upper end of the share's 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Pair(Part):
    """Holds one edit that was kept out of an editor's training, and was made twice to measure the new LoRA."""

    triplet: str
    """The id of the held-out example."""
    task: str
    """The kind of edit."""
    before: str
    """The id of the result without the LoRA."""
    after: str
    """The id of the result with the LoRA."""


@dataclass(frozen=True, kw_only=True)
class Comparison(Part):
    """Holds how edits that were kept out of an editor's training turned out without and with the new LoRA.

    `better`, `worse` and `p` count the judged edits.
    """

    n: int = 0
    """The number of held-out edits."""
    note: str = field(default="", metadata=UNLESS_DEFAULT)
    """A remark, in words."""
    originals: int | None = None
    """The number of originals that identity was judged by; null in older ones."""
    before: Side = field(default_factory=Side)
    """The figures without the new LoRA."""
    after: Side = field(default_factory=Side)
    """The figures with it."""
    judged: int = 0
    """The number of edits of which both results could be judged."""
    better: int = 0
    """The number of edits that passed only with the LoRA."""
    worse: int = 0
    """The number of edits that passed only without it."""
    p: float = 1.0
    """The p-value of McNemar's test."""
    pairs: tuple[Pair, ...] = ()
    """The single edits."""


@dataclass(frozen=True, kw_only=True)
class Metrics(Part):
    """Holds the figures of a version's training; a figure is None where it is unknown."""

    steps: int | None = None
    """The number of steps."""
    loss: float | None = None
    """The smoothed loss at the end."""
    seconds: float | None = None
    """How long it took."""
    real_share: float | None = None
    """The share of originals in an epoch, 0…1."""
    pictures: int | None = None
    """The number of pictures that it learned from."""
    edits: Comparison | None = field(default=None, metadata=UNLESS_DEFAULT)
    """For an editor's LoRA: held-out edits without and with it; null otherwise."""


@dataclass(frozen=True, kw_only=True)
class Version(Record):
    """Holds a trained LoRA version."""

    role: Role
    """What it is for: character (drawing) or editor (editing)."""
    name: str
    """Its name, such as v1."""
    model: str
    """The name of the model that it was trained for."""
    adapter: str
    """Its LoRA file, relative to the character's folder."""
    parent: str = ""
    """The id of the version that was in use when it was made; "" for the model alone."""
    dataset: str = ""
    """The id of the dataset that it learned from."""
    job: str = ""
    """The id of the job that trained it."""
    params: Json = field(default_factory=dict)
    """The parameters of its training."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """The files that were saved in its training."""
    metrics: Metrics = field(default_factory=Metrics)
    """The figures of its training."""
    state: VersionState = VersionState.CANDIDATE
    """candidate (not decided on yet), adopted (in use) or retired."""
    notes: str = ""
    """The user's notes."""
    begun: BegunWith | None = field(default=None, metadata=UNLESS_DEFAULT)
    """The LoRA of the library that its training began with; null or absent for a new one."""
    trashed: str = field(default="", metadata=UNLESS_DEFAULT)
    """When it was moved into the trash; "" or absent where it was not."""
