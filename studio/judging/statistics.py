"""The statistics that verdicts use: intervals, paired tests, ranking quality and calibration."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_Z95 = 1.959963984540054


def wilson(k: int, n: int, z: float = _Z95) -> tuple[float, float]:
    """Returns Wilson's score interval, as (low, high) in 0…1, for the share of `k` successes of `n` trials.

    It is valid also for small `n` and for shares near 0 and 1; for `n` 0 it is (0, 1). `z` is the quantile of the
    normal distribution for the confidence level, by default 95 %. Source: Wilson, J. Am. Stat. Assoc. 22 (1927),
    209–212.
    """
    if n <= 0:
        return (0.0, 1.0)
    share = k / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return (0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half)


def mcnemar(b: int, c: int) -> float:
    """Returns the exact two-sided p-value of McNemar's test that two versions pass equally often on the same items.

    `b` is the number of items that passed only with the first version, `c` only with the second. Source: McNemar,
    Psychometrika 12 (1947), 153–157; exact binomial form.
    """
    n = b + c
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, i) for i in range(min(b, c) + 1))
    return float(min(1.0, 2 * tail / 2**n))


def median(values: Sequence[float]) -> float:
    """Returns the median of `values`. Raises: ValueError when there is no value."""
    return percentile(values, 50.0)


def percentile(values: Sequence[float], q: float) -> float:
    """Returns the percentile of `values` at `q` in 0…100, interpolated linearly. Raises: ValueError without a value."""
    if not values:
        raise ValueError("a percentile needs at least one value")
    return float(np.percentile(values, q))


def mean(values: Sequence[float]) -> float:
    """Returns the mean of `values`. Raises: ValueError when there is no value."""
    if not values:
        raise ValueError("a mean needs at least one value")
    return sum(values) / len(values)


def bootstrap(
    values: Sequence[float],
    of: Callable[[Sequence[float]], float] = median,
    rounds: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Returns a statistic of `values` with its percentile-bootstrap interval, as (statistic, low, high).

    `of` computes the statistic, `rounds` is the number of resamples, `level` the confidence level of the interval. The
    same seed gives the same interval. Raises: ValueError when there is no value.
    """
    middle = of(values)
    rng = random.Random(seed)
    draws = [of(rng.choices(values, k=len(values))) for _ in range(rounds)]
    tail = (1 - level) / 2 * 100
    return (middle, percentile(draws, tail), percentile(draws, 100 - tail))


def auc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Returns the AUC of a score: the chance that a random positive outscores a random negative, ties counting half.

    Raises: ValueError when either side is empty.
    """
    if not positives or not negatives:
        raise ValueError("an AUC needs positives and negatives")
    ordered = sorted([(score, 1) for score in positives] + [(score, 0) for score in negatives])
    rank_sum, at = 0.0, 0
    while at < len(ordered):
        end = at
        while end < len(ordered) and ordered[end][0] == ordered[at][0]:
            end += 1
        rank = (at + 1 + end) / 2  # ties share their mean rank
        rank_sum += rank * sum(label for _, label in ordered[at:end])
        at = end
    k, m = len(positives), len(negatives)
    return (rank_sum - k * (k + 1) / 2) / (k * m)


@dataclass(frozen=True)
class Logistic:
    """Holds a logistic model of the probability that a picture is good, given its score.

    It is p(good | score) = 1 / (1 + exp(-(slope × score + intercept))).
    """

    slope: float
    intercept: float

    def __call__(self, score: float) -> float:
        """Returns the probability of a score, in 0…1."""
        return _sigmoid(self.slope * score + self.intercept)


def fit_logistic(scores: Sequence[float], labels: Sequence[bool], rounds: int = 50) -> Logistic | None:
    """Returns the logistic model fitted to `scores` by Platt's method; None when all labels are the same.

    `labels` says for each score whether it is a positive example; `rounds` limits the Newton steps. Labels are smoothed
    as in Platt's paper, so that the fit stays finite for separable data. Source: Platt 1999; Lin, Lin, Weng, Machine
    Learning 68 (2007), 267–276.
    """
    positives = sum(labels)
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    centre = sum(scores) / len(scores)
    spread = math.sqrt(sum((s - centre) ** 2 for s in scores) / len(scores)) or 1.0
    xs = [(s - centre) / spread for s in scores]
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    ts = [high if label else low for label in labels]
    slope, offset = 0.0, math.log((positives + 1) / (negatives + 1))
    for _ in range(rounds):
        step_slope, step_offset = _newton_step(xs, ts, slope, offset)
        slope, offset = slope - step_slope, offset - step_offset
        if abs(step_slope) + abs(step_offset) < 1e-10:
            break
    return Logistic(slope / spread, offset - slope * centre / spread)


def _newton_step(xs: Sequence[float], ts: Sequence[float], slope: float, offset: float) -> tuple[float, float]:
    ridge = 1e-6  # keeps the system solvable when all scores are equal
    g1 = g0 = 0.0
    h11 = h00 = ridge
    h01 = 0.0
    for x, t in zip(xs, ts, strict=True):
        p = _sigmoid(slope * x + offset)
        weight = p * (1 - p)
        g1 += (p - t) * x
        g0 += p - t
        h11 += weight * x * x
        h01 += weight * x
        h00 += weight
    det = h11 * h00 - h01 * h01
    clip = 10.0
    step = ((h00 * g1 - h01 * g0) / det, (h11 * g0 - h01 * g1) / det)
    return (max(-clip, min(clip, step[0])), max(-clip, min(clip, step[1])))


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def calibration_error(told: Sequence[tuple[float, bool]], bins: int = 10) -> float:
    """Returns the expected calibration error, 0…1, of predictions, each given as (probability, whether it was right).

    It is the mean difference, over `bins` equally wide ranges of the probability, between the mean probability and the
    share that was right, weighted by the number of predictions. It is 0 for none. Source: Naeini et al., AAAI 2015.
    """
    places: dict[int, list[tuple[float, bool]]] = {}
    for probability, right in told:
        places.setdefault(min(int(probability * bins), bins - 1), []).append((probability, right))
    return sum(abs(sum(p - right for p, right in each)) for each in places.values()) / max(len(told), 1)
