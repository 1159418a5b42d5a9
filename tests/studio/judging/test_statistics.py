"""The statistics against figures that can be worked out, or looked up, without them."""

from __future__ import annotations

import pytest

from studio.judging import statistics


def test_wilson_matches_the_published_card_example() -> None:
    """19 of 23 cells is 63 % to 93 %."""
    low, high = statistics.wilson(19, 23)
    assert (round(low, 2), round(high, 2)) == (0.63, 0.93)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (0, 5), (5, 5), (1, 1)])
def test_wilson_stays_within_zero_and_one(k: int, n: int) -> None:
    """An interval of shares never leaves 0…1, and holds the share itself."""
    low, high = statistics.wilson(k, n)
    assert 0.0 <= low <= (k / n if n else 0.5) <= high <= 1.0


def test_mcnemar_is_the_exact_binomial() -> None:
    """1 against 9 discordant pairs is p = 22/1024."""
    assert statistics.mcnemar(1, 9) == pytest.approx(22 / 1024)


def test_mcnemar_is_symmetric_and_one_without_discordant_pairs() -> None:
    """Which version is called first doesn't matter, and no difference is no evidence."""
    assert statistics.mcnemar(3, 8) == statistics.mcnemar(8, 3)
    assert statistics.mcnemar(0, 0) == 1.0
    assert statistics.mcnemar(4, 4) == 1.0


def test_percentile_interpolates() -> None:
    """The 10th percentile of 0…10 is 1, whatever the order."""
    assert statistics.percentile([10, 0, 5, 1, 2, 3, 4, 6, 7, 8, 9], 10) == 1.0
    assert statistics.median([4.0, 1.0]) == 2.5


def test_percentile_of_nothing_is_an_error() -> None:
    """No value has no percentile."""
    with pytest.raises(ValueError, match="at least one"):
        statistics.percentile([], 10)


def test_bootstrap_interval_holds_the_median_and_repeats() -> None:
    """The interval brackets the median and is the same at every call."""
    values = [0.1 * i for i in range(40)]
    middle, low, high = statistics.bootstrap(values)
    assert low < middle < high
    assert statistics.bootstrap(values) == (middle, low, high)


def test_auc_counts_ties_half() -> None:
    """Perfect ranking is 1, all ties are a half, and one swap in four is 3/4."""
    assert statistics.auc([3, 4], [1, 2]) == 1.0
    assert statistics.auc([1, 1], [1, 1]) == 0.5
    assert statistics.auc([2, 4], [1, 3]) == 0.75


def test_logistic_finds_the_crossing() -> None:
    """Labels that flip at 0.5 calibrate to one half there, rising with the score."""
    scores = [i / 100 for i in range(100)]
    fit = statistics.fit_logistic(scores, [s >= 0.5 for s in scores])
    assert fit is not None
    assert fit(0.495) == pytest.approx(0.5, abs=0.05)
    assert fit(0.1) < 0.1 < 0.9 < fit(0.9)


def test_logistic_recovers_a_shallow_slope() -> None:
    """When score says nothing, every score has the base rate."""
    scores = [0.2, 0.2, 0.8, 0.8] * 25
    fit = statistics.fit_logistic(scores, [True, False, True, False] * 25)
    assert fit is not None
    assert fit(0.2) == pytest.approx(0.5, abs=0.01)
    assert fit(0.8) == pytest.approx(0.5, abs=0.01)


def test_logistic_needs_both_kinds_of_labels() -> None:
    """Sixty approvals and nothing else teach no boundary; equal scores don't crash."""
    assert statistics.fit_logistic([0.1] * 60, [True] * 60) is None
    fit = statistics.fit_logistic([0.3] * 4, [True, False, True, True])
    assert fit is not None and 0.5 < fit(0.3) < 0.9


def test_the_calibration_error_is_the_mean_gap_between_promise_and_truth() -> None:
    """Ninety per cent that are right nine times in ten have no error, and all wrong have all of it; none have none."""
    assert statistics.calibration_error([(0.9, at > 0) for at in range(10)]) == pytest.approx(0)
    assert statistics.calibration_error([(0.9, False)] * 5) == pytest.approx(0.9)
    assert statistics.calibration_error([(0.55, True)] * 5 + [(1.0, True)] * 5) == pytest.approx(0.225)
    assert statistics.calibration_error([]) == 0
