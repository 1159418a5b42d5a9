"""The record of a trained LoRA version, with its checkpoints and metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from studio.records.base import UNLESS_DEFAULT, Json, Part, Record
from studio.records.dataset import Role
from studio.records.outcome import Axes


class VersionState(StrEnum):
    """Names the state of a LoRA version: candidate (not decided on yet), adopted (in use) or retired."""

    CANDIDATE = "candidate"
    ADOPTED = "adopted"
    RETIRED = "retired"


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Part):
    """Holds a LoRA file saved after `step` training steps; `adapter` is its path within the character's folder."""

    step: int
    adapter: str


@dataclass(frozen=True, kw_only=True)
class Side(Part):
    """Holds the figures of the test edits of an editor's training, all made either without or with its new LoRA.

    The test edits were kept out of the training. `accepted` is the share that passed among the `judged` edits, with its
    95 % interval from `low` to `high`; `unknown` edits could not be judged. `outcomes` holds one mapping for each edit,
    from an axis, such as identity, to its outcome. `identity_median` is the median similarity to the imported pictures.
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
    """Holds one edit that was kept out of an editor's training, and was made twice to measure the new LoRA.

    `before` and `after` are the ids of the results without and with the LoRA. `triplet` is the id of the example that
    was kept out, `task` its kind of edit.
    """

    triplet: str
    task: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Comparison(Part):
    """Holds how `n` edits that were kept out of an editor's training turned out without and with the new LoRA.

    `before` and `after` are the figures without and with it, `pairs` the single edits. `judged` counts the edits of
    which both results could be judged; of these, `better` were accepted only with the LoRA, `worse` only without it.
    `p` is the p-value of McNemar's test. `originals` is the number of imported pictures that identity was judged by,
    None in older comparisons. `note` is a text for the user.
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
    """Holds the figures of a version's training: steps, final smoothed loss, seconds, and number of pictures.

    `real_share` is the share of imported pictures in an epoch, 0…1; a repeated picture counts each time. `edits`
    compares edits without and with the LoRA; None for a LoRA of the character. A figure is None where it is unknown.
    """

    steps: int | None = None
    loss: float | None = None
    seconds: float | None = None
    real_share: float | None = None
    pictures: int | None = None
    edits: Comparison | None = field(default=None, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class Version(Record):
    """Holds a trained LoRA version: its role (character or editor), model, dataset, parameters, checkpoints and state.

    `adapter` is the path of the LoRA file relative to the character's folder. `parent` is the id of the version that
    was in use when this one was made, "" for the base model.
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
