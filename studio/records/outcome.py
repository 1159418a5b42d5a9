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
    """Holds how many outcomes passed, failed and could not be judged; the interval of the rate is Wilson's."""

    k: int = 0
    """The number of outcomes that passed."""
    n: int = 0
    """The number of all outcomes."""
    judged: int = 0
    """The number that could be judged."""
    fail: int = 0
    """The number that failed."""
    unknown: int = 0
    """The number that could not be judged."""
    rate: float | None = None
    """k / judged; null where none could be judged."""
    low: float = 0.0
    """The lower end of its 95 % interval."""
    high: float = 1.0
    """The upper end of its 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Paired(Part):
    """Holds the comparison of two lists, a and b, of outcomes of the same items, pair by pair."""

    pairs: int
    """The number of pairs."""
    judged: int
    """The number of pairs in which both could be judged."""
    unknown: int
    """The number of the other pairs."""
    rate_a: float | None
    """The share that passed in a, of the judged pairs."""
    rate_b: float | None
    """The share that passed in b, of the judged pairs."""
    only_a: int
    """The number of pairs that passed in a alone."""
    only_b: int
    """The number of pairs that passed in b alone."""
    p: float
    """The p-value of McNemar's test."""
