"""The pose of a head from five landmarks, and how much of a person is shown."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from engines.api.faces import Face, Point, Pose
from engines.faces.geometry import _HEAD, angle_of, framing_of, of_size, pose_of


def seen(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> tuple[Point, ...]:
    """The landmarks of the fixed head, turned and laid on a picture by rotations that are spelled out."""
    y, p, r = np.radians((yaw, pitch, roll))
    turn = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    laid = 40 * (tilt @ nod @ turn @ _HEAD.T).T[:, :2] + (320, 200)
    return tuple((float(x), float(y)) for x, y in laid)


@pytest.mark.parametrize(("yaw", "roll"), product((-60, -20, 0, 35), (-20, 0, 15)))
def test_the_pose_of_a_turned_head_is_found(yaw: float, roll: float) -> None:
    """A head that was turned and tilted by known degrees reads as turned and tilted by them."""
    found = pose_of(seen(yaw, 0, roll))
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((yaw, 0, roll), abs=0.01)


def test_looking_up_is_a_pitch_above_zero() -> None:
    """A head that looks up by ten degrees has that pitch, and no yaw."""
    found = pose_of(seen(0, 10))
    assert (found.yaw, found.pitch) == pytest.approx((0, 10), abs=0.01)


def test_a_mirrored_face_has_the_mirrored_yaw() -> None:
    """Mirroring turns left into right, whatever the landmarks; noise of a pixel changes nothing of that."""
    noise = np.random.default_rng(0)
    for yaw in (-50, -25, 0, 12, 40):
        points = np.array(seen(yaw)) + noise.normal(0, 1, (5, 2))
        mirrored = [(640 - points[at][0], points[at][1]) for at in (1, 0, 2, 4, 3)]
        found, other = pose_of([tuple(each) for each in points.tolist()]), pose_of(mirrored)
        assert (other.yaw, other.pitch, other.roll) == pytest.approx((-found.yaw, found.pitch, -found.roll), abs=1e-6)


@pytest.mark.parametrize(
    ("yaw", "angle"),
    [(0, "front"), (-14, "front"), (17, ""), (30, "half-right"), (-35, "half-left"), (45, ""), (-52, "profile-left")],
)
def test_angles_follow_the_yaw(yaw: float, angle: str) -> None:
    """Left and right are the viewer's, and between two angles none is certain."""
    assert angle_of(Pose(yaw, 0, 0)) == angle


@pytest.mark.parametrize(
    ("share", "framing"), [(0.7, "head"), (0.4, "head"), (0.25, "bust"), (0.16, ""), (0.08, "full body")]
)
def test_framing_follows_the_faces_share(share: float, framing: str) -> None:
    """The larger a face is in a picture, the less of the person is shown."""
    assert framing_of(Face(0, 0, 10, 1000 * share), 1000) == framing


def test_small_faces_are_people_in_the_background() -> None:
    """Only faces of at least 40 % of the largest one count as people whom a picture shows."""
    faces = [Face(0, 0, 10, height) for height in (100, 45, 30)]
    assert [face.height for face in of_size(faces)] == [100, 45]
