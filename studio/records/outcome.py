"""Outcomes of judging, rates over them, and two rows of them compared.

Unknown is neither right nor wrong. A rate leaves it out and is shown with how many there were; a goal is met or missed
only where the unknown ones could not change that (docs/decisions/0011).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from studio.records.base import Part


class Outcome(StrEnum):
    """How a picture did on one axis, or on all."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Goal(StrEnum):
    """Whether a rate reaches its target; `open` where the unknown outcomes could change that."""

    MET = "met"
    MISSED = "missed"
    OPEN = "open"


Axes = Mapping[str, Outcome]  # the name of an axis, such as identity or angle -> its outcome


@dataclass(frozen=True, kw_only=True)
class Rate(Part):
    """How many of `n` passed (`k`), failed and could not be judged; `low` and `high` are Wilson's interval of `rate`.

    `rate` is k of the judged ones, None where none could be judged.
    """

    k: int = 0
    n: int = 0
    judged: int = 0
    fail: int = 0
    unknown: int = 0
    rate: float | None = None
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Paired(Part):
    """Two rows of outcomes of the same things; rates are over the pairs of which both could be judged.

    `only_a` passed in the first row alone, `only_b` in the second alone; `p` is McNemar's.
    """

    pairs: int
    judged: int
    unknown: int
    rate_a: float | None
    rate_b: float | None
    only_a: int
    only_b: int
    p: float
