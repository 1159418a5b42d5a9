"""Outcomes of axes and of pictures, rates over them, goals, and the paired comparison of two lists of outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from studio.judging.statistics import mcnemar, wilson
from studio.records.outcome import Axes, Goal, Outcome, Paired, Rate

IDENTITY = "identity"  # the axis of the character's identity; the other axes have the names of tags


def axes_outcomes(
    asked: Mapping[str, str], tags: Mapping[str, str], identity: float | None, floor: float | None
) -> Axes:
    """Returns the outcome of identity, and of each axis in `asked`, by comparing it with the picture's `tags`.

    `identity` is the picture's similarity to the originals, `floor` the lowest that passes; identity is unknown where
    either is None. An axis without a tag is unknown.
    """
    outcomes = {IDENTITY: Outcome.UNKNOWN if identity is None or floor is None else _passed(identity >= floor)}
    for axis, value in asked.items():
        outcomes[axis] = _passed(tags[axis] == value) if axis in tags else Outcome.UNKNOWN
    return outcomes


def _passed(yes: bool) -> Outcome:
    return Outcome.PASS if yes else Outcome.FAIL


def overall(outcomes: Iterable[Outcome]) -> Outcome:
    """Returns fail when one outcome is a fail, else unknown when one is unknown, else pass."""
    said = set(outcomes)
    return next((each for each in (Outcome.FAIL, Outcome.UNKNOWN) if each in said), Outcome.PASS)


def rate(outcomes: Sequence[Outcome]) -> Rate:
    """Returns the rate of passed outcomes among the judged ones, with Wilson's interval."""
    passed, failed = outcomes.count(Outcome.PASS), outcomes.count(Outcome.FAIL)
    judged = passed + failed
    low, high = wilson(passed, judged)
    return Rate(
        k=passed,
        n=len(outcomes),
        judged=judged,
        fail=failed,
        unknown=len(outcomes) - judged,
        rate=passed / judged if judged else None,
        low=low,
        high=high,
    )


def goal(found: Rate, target: float) -> Goal:
    """Returns whether a rate reaches a target, considering the unknown outcomes.

    It is met when the rate reaches the target with every unknown outcome counted as a fail, missed when it does not
    with every one counted as a pass, else open.
    """
    if not found.n:
        return Goal.OPEN
    worst, best = found.k / found.n, (found.k + found.unknown) / found.n
    return Goal.MET if worst >= target else Goal.MISSED if best < target else Goal.OPEN


def paired(before: Sequence[Outcome], after: Sequence[Outcome]) -> Paired:
    """Compares two lists of outcomes of the same items, pair by pair, where both outcomes were judged.

    Returns both rates, the number of pairs that only one list passed, and the p-value of McNemar's test.
    """
    judged = [pair for pair in zip(before, after, strict=True) if Outcome.UNKNOWN not in pair]
    only_a = judged.count((Outcome.PASS, Outcome.FAIL))
    only_b = judged.count((Outcome.FAIL, Outcome.PASS))
    return Paired(
        pairs=len(before),
        judged=len(judged),
        unknown=len(before) - len(judged),
        rate_a=rate([a for a, _ in judged]).rate,
        rate_b=rate([b for _, b in judged]).rate,
        only_a=only_a,
        only_b=only_b,
        p=mcnemar(only_a, only_b),
    )
