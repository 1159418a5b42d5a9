"""Reads from a face's landmarks and size how the head is turned, and how much of a person a picture shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.api.axes import BUST, FULL_BODY, HEAD
from engines.api.faces import Face, Point, Pose

# Left eye, right eye, nose, left and right corner of the mouth: x, y and depth away from the camera, in half distances
# of the eyes.
_HEAD = np.array([(-1, -1, 0.26), (1, -1, 0.26), (0, 0, -1.04), (-0.86, 1, 0.26), (0.86, 1, 0.26)])
# The least and the most degrees of yaw towards one side -> the angle; between them an angle is not certain. Labelled 15
# degrees read 9 to 14, labelled 45 read 34 to 42, two profiles 48 to 60 (docs/measured.md).
_ANGLES = ((0.0, 15.0, "front"), (20.0, 43.5, "half-{}"), (46.5, 90.0, "profile-{}"))
# The least and the most height of a face, as a share of the picture's -> what is shown.
_FRAMINGS = ((0.37, 2.0, HEAD), (0.20, 0.34, BUST), (0.0, 0.10, FULL_BODY))
_OF_SIZE = 0.4  # of the largest face's height: smaller ones are people in the background


def pose_of(points: Sequence[Point]) -> Pose:
    """Returns how a head is turned, by the rotation that best lays five fixed points of a head over its landmarks.

    `points`: the five landmarks of a face.
    """
    seen, head = np.asarray(points, float), _HEAD - _HEAD.mean(0)
    stretched = np.linalg.lstsq(head, seen - seen.mean(0), rcond=None)[0].T  # (2, 3): rotation, with a scale and noise
    left, _, right = np.linalg.svd(stretched, full_matrices=False)
    across, down = left @ right  # the two rows of the nearest rotation
    depth = np.cross(across, down)
    yaw, pitch, roll = np.arctan2(depth[0], depth[2]), np.arcsin(-depth[1]), np.arctan2(-across[1], down[1])
    return Pose(*(float(np.degrees(each)) for each in (yaw, pitch, roll)))


def angle_of(pose: Pose) -> str:
    """Returns the head angle as a value of `ANGLES`; "" where the yaw lies between two of them."""
    side = "right" if pose.yaw > 0 else "left"
    return next((angle.format(side) for low, high, angle in _ANGLES if low <= abs(pose.yaw) <= high), "")


def framing_of(face: Face, height: int) -> str:
    """Returns how much of a person a picture of `height` pixels shows, as a value of `FRAMINGS`; "" if not certain."""
    share = face.height / height
    return next((framing for low, high, framing in _FRAMINGS if low <= share <= high), "")


def of_size(faces: Sequence[Face]) -> tuple[Face, ...]:
    """Returns the faces of the people whom a picture shows: the largest, and those of at least 40 % of its height."""
    return tuple(face for face in faces if face.height >= _OF_SIZE * max(each.height for each in faces))
