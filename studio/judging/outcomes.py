"""Pass, fail or unknown: of an axis, of a picture, and as rates over what could be judged.

Unknown is neither right nor wrong. A rate leaves it out and is shown with how many there were; a goal is met or missed
only where the unknown ones could not change that (docs/decisions/0011).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engines.api.params import Json
from studio.judging.statistics import mcnemar, wilson

PASS, FAIL, UNKNOWN = "pass", "fail", "unknown"
MET, MISSED, OPEN = "met", "missed", "open"
IDENTITY = "identity"


def axes_outcomes(
    asked: Mapping[str, str], tags: Mapping[str, str], identity: float | None, floor: float | None
) -> Json:
    """pass, fail or unknown for identity and for each axis that was asked for; no floor: nobody can tell who it is."""
    outcomes = {IDENTITY: UNKNOWN if identity is None or floor is None else PASS if identity >= floor else FAIL}
    for axis, value in asked.items():
        outcomes[axis] = UNKNOWN if axis not in tags else PASS if tags[axis] == value else FAIL
    return outcomes


def overall(outcomes: Iterable[str]) -> str:
    """pass when all pass, fail when one fails, else unknown."""
    said = set(outcomes)
    return FAIL if FAIL in said else UNKNOWN if UNKNOWN in said else PASS


def rate(verdicts: Sequence[str]) -> Json:
    """How many pass of those that could be judged, with Wilson's interval; `rate` is None where none could.

    `n` counts all: `k` passed, `fail` and `unknown`; `judged` is k and fail together.
    """
    passed, failed = verdicts.count(PASS), verdicts.count(FAIL)
    judged = passed + failed
    low, high = wilson(passed, judged)
    return {
        "k": passed,
        "n": len(verdicts),
        "judged": judged,
        "fail": failed,
        "unknown": len(verdicts) - judged,
        "rate": passed / judged if judged else None,
        "low": low,
        "high": high,
    }


def goal(found: Json, target: float) -> str:
    """Whether a rate reaches a target: met if it does even with every unknown one wrong, missed if it does not even
    with every unknown one right, else open."""
    if not found["n"]:
        return OPEN
    worst, best = found["k"] / found["n"], (found["k"] + found["unknown"]) / found["n"]
    return MET if worst >= target else MISSED if best < target else OPEN


def paired(before: Sequence[str], after: Sequence[str]) -> Json:
    """Two rows of verdicts on the same things, compared where both could be judged; rates are None where none could.

    `pairs` counts all: `judged` and `unknown`. `only_a` passed before alone, `only_b` after alone; `p` is McNemar's.
    """
    judged = [(a, b) for a, b in zip(before, after, strict=True) if UNKNOWN not in (a, b)]
    only_a, only_b = judged.count((PASS, FAIL)), judged.count((FAIL, PASS))
    return {
        "pairs": len(before),
        "judged": len(judged),
        "unknown": len(before) - len(judged),
        "rate_a": rate([a for a, _ in judged])["rate"],
        "rate_b": rate([b for _, b in judged])["rate"],
        "only_a": only_a,
        "only_b": only_b,
        "p": mcnemar(only_a, only_b),
    }
