"""Rates and goals where not everything could be judged."""

import pytest

from studio.judging import outcomes
from studio.judging.statistics import mcnemar, wilson
from studio.records.outcome import Outcome


def _verdicts(passed: int, failed: int, unknown: int) -> list[Outcome]:
    return [Outcome.PASS] * passed + [Outcome.FAIL] * failed + [Outcome.UNKNOWN] * unknown


def test_a_rate_is_over_what_could_be_judged() -> None:
    """18 of 20 judged are right whatever 3 unknown ones hide, and the interval is that of 20."""
    found = outcomes.rate(_verdicts(18, 2, 3))

    assert (found.k, found.judged, found.unknown, found.n) == (18, 20, 3, 23)
    assert found.rate == 0.9
    assert (found.low, found.high) == wilson(18, 20)


def test_where_nothing_could_be_judged_there_is_no_rate() -> None:
    """Neither 0 % nor 100 %: nobody knows."""
    found = outcomes.rate(_verdicts(0, 0, 23))

    assert found.rate is None
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("passed", "failed", "unknown", "reached"),
    [
        (19, 4, 0, "met"),
        (18, 5, 0, "missed"),
        (4, 1, 0, "met"),  # exactly 80 %
        (15, 0, 8, "open"),  # a perfect model whose profiles show no face
        (19, 0, 4, "met"),  # with all four wrong it would be met yet
        (10, 8, 5, "missed"),  # with all five right it would not be met
        (0, 0, 23, "open"),
        (0, 0, 0, "open"),
    ],
)
def test_a_goal_is_met_or_missed_only_where_the_unknown_cannot_undo_it(
    passed: int, failed: int, unknown: int, reached: str
) -> None:
    """With everything known it is the rate against the target; else what the unknown ones decide is open."""
    assert outcomes.goal(outcomes.rate(_verdicts(passed, failed, unknown)), 0.8) == reached


def test_pairs_are_compared_where_both_were_judged() -> None:
    """An unknown side is neither a gain nor a loss."""
    before = [Outcome(each) for each in ("pass", "fail", "fail", "unknown", "pass", "fail")]
    after = [Outcome(each) for each in ("pass", "pass", "pass", "pass", "unknown", "fail")]

    found = outcomes.paired(before, after)

    assert (found.pairs, found.judged, found.unknown) == (6, 4, 2)
    assert (found.rate_a, found.rate_b) == (0.25, 0.75)
    assert (found.only_a, found.only_b, found.p) == (0, 2, mcnemar(0, 2))


def test_pairs_that_nobody_could_judge_say_nothing() -> None:
    """No rate, no difference."""
    found = outcomes.paired([Outcome.UNKNOWN], [Outcome.PASS])

    assert (found.judged, found.rate_a, found.rate_b, found.p) == (0, None, None, 1.0)
