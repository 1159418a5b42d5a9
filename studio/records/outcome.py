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
    """Names the result of judging a picture: pass, fail, or unknown where it could not be judged.

    It is given for one axis, such as identity or head angle, or for all axes together.
    """

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Goal(StrEnum):
    """Names whether a rate reaches its target: met, missed, or open.

    It is open where the outcomes that could not be judged could still make the rate reach or miss the target.
    """

    MET = "met"
    MISSED = "missed"
    OPEN = "open"


Axes = Mapping[str, Outcome]  # the name of an axis, such as identity or angle -> its outcome


@dataclass(frozen=True, kw_only=True)
class Rate(Part):
    """Holds how many of `n` outcomes passed (`k`), failed (`fail`) and could not be judged (`unknown`).

    `judged` is `k` + `fail`. `rate` is `k` / `judged`, None where no outcome could be judged; `low` and `high` are its
    95 % Wilson interval.
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
    """Holds the comparison of two lists, a and b, of outcomes of the same items, pair by pair.

    `pairs` counts all pairs, `judged` those in which both outcomes could be judged, `unknown` the rest. The other
    figures count only judged pairs: `rate_a` and `rate_b` are the pass rates of the two lists, None without a judged
    pair; `only_a` pairs passed in list a alone, `only_b` in list b alone. `p` is the p-value of McNemar's test.
    """

    pairs: int
    judged: int
    unknown: int
    rate_a: float | None
    rate_b: float | None
    only_a: int
    only_b: int
    p: float
