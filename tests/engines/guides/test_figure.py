"""The grey figure and the maps of light: which way they look, and where they are bright."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.api.guides import GUIDES, LIGHTS, Guide
from engines.api.views import View
from engines.guides.figure import SIDE, grey_figure, light_map

GROUND = 200


def grey(view: View) -> NDArray[np.float64]:
    """The figure's pixels."""
    return np.asarray(grey_figure(view).convert("L"), float)


def test_the_head_points_where_the_view_says() -> None:
    """To the viewer's left and right; frontal is symmetric, and left is right mirrored in shape."""
    front = grey(View("front", framing="head")) != GROUND
    assert (front == front[:, ::-1]).mean() > 0.995
    left, right = (grey(View(angle, framing="head")) != GROUND for angle in ("profile-left", "profile-right"))
    assert (left == right[:, ::-1]).mean() > 0.995
    brow, nose, lip = (np.flatnonzero(left[int(share * SIDE)]) for share in (0.30, 0.405, 0.48))
    assert nose[0] < brow[0] - 10 and nose[0] < lip[0] - 10, "the nose stands out to the left"
    assert brow[-1] > nose[-1] > lip[-1], "the back of the head is round"


def test_from_behind_there_is_no_face() -> None:
    """The marks of eyes and mouth are seen from the front alone."""
    middle = (slice(int(0.3 * SIDE), int(0.39 * SIDE)), slice(int(0.42 * SIDE), int(0.58 * SIDE)))
    edges = {angle: np.abs(np.diff(grey(View(angle, framing="head"))[middle])) > 25 for angle in ("front", "back")}
    assert edges["front"].sum() > 50 and not edges["back"].any()


def test_a_wide_shot_shows_feet_and_a_close_up_fills_the_picture() -> None:
    """The figure is as large as the distance says, and whole where it is wide."""
    close, wide = (grey(View(framing=framing)) != GROUND for framing in ("head", "full body"))
    assert close.mean() > 3 * wide.mean()
    rows = np.flatnonzero(wide.any(axis=1))
    assert rows[0] > 0 and rows[-1] < SIDE - 1 and rows[-1] - rows[0] > 0.8 * SIDE


def test_a_high_camera_shortens_the_figure() -> None:
    """From above it is less tall than at eye level."""
    level, high = (grey(View("front", each, "full body")) != GROUND for each in ("eye level", "high"))
    assert np.ptp(np.flatnonzero(high.any(axis=1))) < 0.75 * np.ptp(np.flatnonzero(level.any(axis=1)))


@pytest.mark.parametrize(("light", "way"), [("left", -1), ("right", 1), ("front", 0)])
def test_a_light_map_is_bright_on_the_side_of_the_light(light: str, way: int) -> None:
    """On black, as bright as the light falls."""
    pixels = np.asarray(light_map(light, View(framing="head")).convert("L"), float)
    left, right = pixels[:, : SIDE // 2].mean(), pixels[:, SIDE // 2 :].mean()
    assert pixels[0, 0] == 0
    assert np.sign(round((right - left) / (right + left), 1)) == way


def test_kinds_are_the_same_in_type_and_words() -> None:
    """Each kind of second picture can be stored, and has words; opposite lights are opposite."""
    assert set(get_args(Guide)) == {"", *GUIDES}
    assert LIGHTS["left"][0] == -LIGHTS["right"][0] and LIGHTS["above"][1] == -LIGHTS["below"][1]
