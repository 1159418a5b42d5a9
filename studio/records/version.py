"""A trained LoRA version, its checkpoints and its figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from studio.records.base import UNLESS_DEFAULT, Json, Part, Record
from studio.records.dataset import Role
from studio.records.outcome import Axes


class VersionState(StrEnum):
    """A LoRA version's standing."""

    CANDIDATE = "candidate"
    ADOPTED = "adopted"
    RETIRED = "retired"


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Part):
    """An adapter as it was after so many steps; `adapter` is relative to the character's folder."""

    step: int
    adapter: str


@dataclass(frozen=True, kw_only=True)
class Side(Part):
    """How the held-out edits came out on one side of a comparison; `accepted` is the rate of those judged."""

    identity_median: float | None = None
    outcomes: tuple[Axes, ...] = ()
    accepted: float | None = None
    judged: int = 0
    unknown: int = 0
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Pair(Part):
    """One held-out edit as it was redone without and with the new LoRA: ids of pictures."""

    triplet: str
    task: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Comparison(Part):
    """`n` held-out edits before and after a training of the editor, compared pair by pair.

    `better` were accepted only after, `worse` only before; `p` is McNemar's. `originals` is how many pictures there
    were to compare with, None in an older comparison, which does not say.
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
    """What is known of a version's training; `edits` is the comparison of an editor's version."""

    steps: int | None = None
    loss: float | None = None
    seconds: float | None = None
    real_share: float | None = None
    pictures: int | None = None
    edits: Comparison | None = field(default=None, metadata=UNLESS_DEFAULT)


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
    checkpoints: tuple[Checkpoint, ...] = ()
    metrics: Metrics = field(default_factory=Metrics)
    state: VersionState = VersionState.CANDIDATE
    notes: str = ""
