"""Outcomes of judging, rates over them, and the comparison of two lists of outcomes.

An unknown outcome is neither a pass nor a fail. A rate leaves unknown outcomes out and is shown with their number; a
goal is met or missed only where the unknown outcomes could not change that (docs/decisions/0011).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from studio.records.base import Part


class Outcome(StrEnum):
    """The outcome of judging a picture on one axis, or on all axes."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Goal(StrEnum):
    """Whether a rate reaches its target: met, missed, or open where unknown outcomes could change that."""

    MET = "met"
    MISSED = "missed"
    OPEN = "open"


Axes = Mapping[str, Outcome]  # the name of an axis, such as identity or angle -> its outcome


@dataclass(frozen=True, kw_only=True)
class Rate(Part):
    """Holds counts of `n` outcomes: `k` passed, `fail` failed, `unknown` could not be judged, `judged` is `k` + `fail`.

    `rate` is k / judged, None where none could be judged; `low` and `high` are its 95 % Wilson interval.
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
    """Holds the comparison of two lists of outcomes of the same items; rates are over the pairs with both judged.

    `only_a` pairs passed in the first list alone, `only_b` in the second alone; `p` is McNemar's p-value.
    """

    pairs: int
    judged: int
    unknown: int
    rate_a: float | None
    rate_b: float | None
    only_a: int
    only_b: int
    p: float
