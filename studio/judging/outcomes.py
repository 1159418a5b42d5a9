"""Outcomes of axes and of pictures, rates over them, goals, and the paired comparison of two lists of outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from studio.judging.statistics import mcnemar, wilson
from studio.records.outcome import Axes, Goal, Outcome, Paired, Rate

IDENTITY = "identity"  # the axis of the character's identity; the other axes have the names of tags


def axes_outcomes(asked: Mapping[str, str], tags: Mapping[str, str], identity: Outcome) -> Axes:
    """Returns whether a picture shows what was asked, as axis -> outcome; one axis is identity, the others are tags.

    `asked` maps a tag's name, such as angle, to the value in the prompt, `tags` maps it to the value read from the
    picture; where none was read, the outcome is unknown. `identity` is whether it passes as the character.
    """
    outcomes = {IDENTITY: identity}
    for axis, value in asked.items():
        passed = Outcome.PASS if tags.get(axis) == value else Outcome.FAIL
        outcomes[axis] = passed if axis in tags else Outcome.UNKNOWN
    return outcomes


def overall(outcomes: Iterable[Outcome]) -> Outcome:
    """Returns one outcome for several: fail if any failed, else unknown if any is unknown, else pass."""
    said = set(outcomes)
    return next((each for each in (Outcome.FAIL, Outcome.UNKNOWN) if each in said), Outcome.PASS)


def rate(outcomes: Sequence[Outcome]) -> Rate:
    """Returns the share of passed outcomes among those that passed or failed, with its 95 % Wilson interval."""
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
    """Returns MET, MISSED, or OPEN where it depends on unknown outcomes whether a rate reaches a target.

    The target is met if the rate reaches it even when all unknown outcomes count as fails, and missed if the rate stays
    below it even when they count as passes.
    """
    if not found.n:
        return Goal.OPEN
    worst, best = found.k / found.n, (found.k + found.unknown) / found.n
    return Goal.MET if worst >= target else Goal.MISSED if best < target else Goal.OPEN


def paired(before: Sequence[Outcome], after: Sequence[Outcome]) -> Paired:
    """Compares two lists of outcomes of the same items, leaving out the pairs in which one is unknown.

    Returns both rates, how many pairs passed in the first list alone and in the second alone, and McNemar's p-value.
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
