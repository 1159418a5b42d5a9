"""Tells by local features whether two pictures show the same photograph, whatever was cut off, added or turned."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_SIDE = 128  # pixels of the shorter side: drawings of 64 pixels have too few corners, and all alike
_SIDE = 640  # pixels of the longer side at which corners are looked for
_MOST = 800  # features of a picture
_RATIO = 0.8  # of the distances to the nearest and the next feature: Lowe's test
_OFF = 4.0  # pixels by which a feature may miss its place
_ENOUGH = 25  # features in their place; different photographs share up to 7 (docs/measured.md)


@dataclass(frozen=True)
class Features:
    """Holds the local features (ORB) of a picture.

    `points` (N, 2) are their places, in pixels of the picture reduced to a longer side of 640; `marks` (N, 32) are the
    bytes that describe what is there.
    """

    points: NDArray[np.float32]
    marks: NDArray[np.uint8]

    @classmethod
    def of(cls, picture: Image) -> Self:
        """Returns the features of a picture; none for one whose shorter side is below 128 pixels."""
        if min(picture.size) < LEAST_SIDE:
            return cls(np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8))
        import cv2  # not at start-up

        grey = picture.convert("L")
        grey.thumbnail((_SIDE, _SIDE))
        points, marks = cv2.ORB.create(nfeatures=_MOST).detectAndCompute(np.asarray(grey), None)
        places = np.array([each.pt for each in points], np.float32).reshape(-1, 2)
        return cls(places, np.zeros((0, 32), np.uint8) if marks is None else np.asarray(marks, np.uint8))

    def to_bytes(self) -> bytes:
        """Returns the content of a file in which the features can be kept."""
        file = io.BytesIO()
        np.savez_compressed(file, points=self.points, marks=self.marks)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Returns the features that `to_bytes` wrote. Raises: ValueError, OSError or zipfile.BadZipFile if damaged."""
        with np.load(io.BytesIO(data), allow_pickle=False) as kept:
            return cls(kept["points"], kept["marks"])


def are_copies(one: Features, other: Features) -> bool:
    """Returns whether enough features of one picture lie in the other where one shift, turn and scale puts them."""
    import cv2

    if min(len(one.marks), len(other.marks)) < _ENOUGH:
        return False
    found = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(one.marks, other.marks, k=2)
    pairs = [best for best, second in found if best.distance < _RATIO * second.distance]
    if len(pairs) < _ENOUGH:
        return False
    here = one.points[[each.queryIdx for each in pairs]]
    there = other.points[[each.trainIdx for each in pairs]]
    _, fits = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=_OFF)
    places = there[fits.ravel().astype(bool)].round() if fits is not None else there[:0]
    return len(np.unique(places, axis=0)) >= _ENOUGH  # many features that all fit one place are one
