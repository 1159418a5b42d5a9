"""Has a training become slower than it began? What spills out of a card's memory shows in nothing but this."""

from __future__ import annotations

from collections.abc import Sequence

from studio.flywheel.train.runs import Point
from studio.judging.statistics import median

_WINDOW = 20  # steps: several of every bucket's size
_SLOWER = 1.5


def slowdown(points: Sequence[Point]) -> float | None:
    """How many times as long the latest steps take as its quickest stretch did; None unless that is much longer.

    Stretches are compared by their medians, so that one slow step, as after a checkpoint, says nothing.
    """
    seconds = [point.seconds for point in points]
    stretches = [median(seconds[end - _WINDOW : end]) for end in range(len(seconds), _WINDOW - 1, -_WINDOW)]
    if len(stretches) < 2 or not min(stretches):
        return None
    ratio = stretches[0] / min(stretches)
    return round(ratio, 2) if ratio >= _SLOWER else None
