"""Detects a training that has become slower, the only visible sign that the GPU's memory spills over."""

from __future__ import annotations

from collections.abc import Sequence

from studio.flywheel.train.runs import Point
from studio.judging.statistics import median

_WINDOW = 20  # steps of a stretch, enough to hold several batches of every bucket
_SLOWER = 1.5


def slowdown(points: Sequence[Point]) -> float | None:
    """Returns the factor by which a training has become slower, such as 2.0 for twice the time per step.

    `points` are the steps of the training curve. They are divided into stretches of equal length. The median time per
    step of the latest stretch is divided by that of the fastest one. Returns None where the factor is too small to be
    reported, and while there are fewer than two stretches.
    """
    seconds = [point.seconds for point in points]
    stretches = [median(seconds[end - _WINDOW : end]) for end in range(len(seconds), _WINDOW - 1, -_WINDOW)]
    if len(stretches) < 2 or not min(stretches):
        return None
    ratio = stretches[0] / min(stretches)
    return round(ratio, 2) if ratio >= _SLOWER else None
