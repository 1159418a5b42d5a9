"""The machine's measures of an edit in a tournament: pixels that should not have changed, and new faults of quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from studio.judging.quality import advise, measure

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 128  # pixels of the reduced pictures that are compared
_SAME = 24  # of 255: the largest difference of a channel that counts as unchanged
# What an edit of one axis should leave as it is, as left, top, right, bottom in 0…1: inside of the box, or outside.
_INSIDE: Mapping[str, tuple[float, float, float, float]] = {
    "background": (0.35, 0.25, 0.65, 0.6),  # the head and the chest
    "outfit": (0.2, 0.0, 0.8, 0.35),  # the head
}
_OUTSIDE: Mapping[str, tuple[float, float, float, float]] = {"expression": (0.15, 0.05, 0.85, 0.9)}  # the background


def kept(source: Image, result: Image, asked: Mapping[str, str]) -> float | None:
    """Returns the share of pixels, 0…1, that an edit should not have changed and did not.

    `asked` are the tags that the edit asked for. Only edits of the background, the outfit or the expression alone have
    such pixels; None for others. They are those of a fixed part of the picture, so the share compares editors on equal
    edits and says little of one picture.
    """
    (axis,) = asked if len(asked) == 1 else ("",)
    box = _INSIDE.get(axis) or _OUTSIDE.get(axis)
    if box is None:
        return None
    both = [np.asarray(each.convert(source.mode).resize((_SIDE, _SIDE)), dtype=np.int16) for each in (source, result)]
    same: NDArray[np.bool_] = np.abs(both[0] - both[1]).max(axis=2) <= _SAME
    left, top, right, bottom = (round(_SIDE * part) for part in box)
    within = np.zeros((_SIDE, _SIDE), dtype=bool)
    within[top:bottom, left:right] = True
    return round(float(same[within if axis in _INSIDE else ~within].mean()), 4)


def artefacts(source: Image, result: Image) -> tuple[str, ...]:
    """Returns the names of the faults of quality, such as blurred, that a result has and its source does not have."""
    return tuple(sorted(advise(measure(result)).keys() - advise(measure(source)).keys()))
