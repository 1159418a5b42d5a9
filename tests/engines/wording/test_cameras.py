"""The grammars of views: each says the words of its card, and no two views are asked for alike."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from engines.api.axes import ANGLES, AROUND, ELEVATIONS, FRAMINGS
from engines.api.views import Angle, Elevation, Framing, View
from engines.catalogue.editor_loras import EDITOR_LORAS
from engines.catalogue.models import MODELS
from engines.wording.cameras import CAMERAS
from engines.wording.registry import VOCABULARIES

VIEWS = [View(*each) for each in product(get_args(Angle), get_args(Elevation), get_args(Framing))]
SAID = (  # grammar, view, the source's angle, the instruction
    ("fal", View("front"), "", "<sks> front view eye-level shot medium shot"),
    ("fal", View("profile-left", "high", "head"), "", "<sks> right side view high-angle shot close-up"),
    ("fal", View("back", "low", "full body"), "", "<sks> back view low-angle shot wide shot"),
    ("fal", View("half-right", "elevated"), "front", "<sks> front-left quarter view elevated shot medium shot"),
    ("dx8152", View("half-right"), "", "将镜头向左旋转45度 Rotate the camera 45 degrees to the left."),
    ("dx8152", View("half-left"), "front", "将镜头向右旋转45度 Rotate the camera 45 degrees to the right."),
    ("dx8152", View("front", "high"), "", "将相机转向鸟瞰视角 Turn the camera to a bird's-eye view."),
    ("dx8152", View("front", "low"), "", "将相机切换到仰视视角 Turn the camera to a worm's-eye view."),
    ("dx8152", View("front", "elevated"), "", "将镜头转为俯视"),
    ("dx8152", View("front", framing="head"), "", "将镜头转为特写镜头 Turn the camera to a close-up."),
    (
        "dx8152",
        View("back", framing="full body"),
        "",
        "将镜头向左旋转180度 Rotate the camera 180 degrees to the left. "
        "将镜头转为广角镜头 Turn the camera to a wide-angle lens.",
    ),
    (
        "plain",
        View("half-left", "low", "head"),
        "",
        "Turn the head to half-left (the viewer's left). Look up at the person from a low camera angle. "
        "Frame a close-up of the head and shoulders. Keep the same person, clothes, background and light.",
    ),
    (
        "klein",
        View("back", "high", "full body"),
        "",
        "Turn the person to a rear view, facing away from the camera so that no face is seen, shot from a high camera "
        "angle looking down, as a wide shot of the full body, while keeping the person's face, hair, clothes, the "
        "background and the light exactly the same.",
    ),
    (
        "klein",
        View("profile-right"),
        "",
        "Turn the person's head to a strict side profile, facing the right side of the image, shot at eye level, as a "
        "medium shot from the waist up, while keeping the person's face, hair, clothes, the background and the light "
        "exactly the same.",
    ),
    ("drawn", View("half-left"), "", "turn the head to half-left"),
)


@pytest.mark.parametrize(("name", "view", "source", "words"), SAID, ids=[f"{each[0]} {each[1]}" for each in SAID])
def test_a_grammar_says_the_words_of_its_card(name: str, view: View, source: str, words: str) -> None:
    """To the letter."""
    assert CAMERAS[name].says(view, source) == words


@pytest.mark.parametrize("name", CAMERAS)
def test_all_96_views_have_words_of_their_own(name: str) -> None:
    """Eight angles, four elevations and three distances: none is empty, none like another."""
    words = [CAMERAS[name].says(view) for view in VIEWS]
    assert len(VIEWS) == len(set(words)) == 96
    assert all(each.strip() == each and each for each in words)


def test_the_types_of_a_view_are_its_axes() -> None:
    """Field types name each value of the axes, in the same order."""
    assert (get_args(Angle), get_args(Elevation), get_args(Framing)) == (AROUND, ELEVATIONS, FRAMINGS)


def test_every_row_names_a_grammar_that_there_is() -> None:
    """Each editor's, and that of each LoRA for angles that an editor here can use."""
    assert {spec.camera for spec in MODELS} | {row.camera for row in EDITOR_LORAS} <= {*CAMERAS, ""}
    assert {row.name for row in EDITOR_LORAS if row.camera} == {
        row.name for row in EDITOR_LORAS if row.task == "angle" and not row.unfit
    }


def test_fals_words_are_those_of_the_catalogue() -> None:
    """The picker and the row's own placeholders ask with the same 96 instructions."""
    row = next(each for each in EDITOR_LORAS if each.camera == "fal")
    told = {row.instruction(azimuth=a, elevation=e, distance=d) for a, e, d in product(*row.slots.values())}
    assert {CAMERAS["fal"].says(view) for view in VIEWS} == told


def test_the_five_angles_keep_their_words() -> None:
    """The plan's own edits of the angle are worded as before, and the picker begins with these words."""
    requests = VOCABULARIES["photographs"].edits["angle"].requests
    assert tuple(requests) == ANGLES
    for name, words in (("plain", "photographs"), ("klein", "klein"), ("drawn", "drawn")):
        asked = VOCABULARIES[words].edits["angle"].requests
        assert all(CAMERAS[name].says(View(angle)).startswith(asked[angle]) for angle in get_args(Angle)[:3])


@pytest.mark.parametrize(
    ("source", "wanted", "degrees"),
    [("half-left", "half-right", "90 degrees to the left"), ("back", "front", "180 degrees"), ("", "back-left", "135")],
)
def test_a_grammar_of_moves_starts_where_the_source_stands(source: str, wanted: Angle, degrees: str) -> None:
    """The turn is that from the source's angle; an unknown angle counts as frontal."""
    assert degrees in CAMERAS["dx8152"].says(View(wanted), source)


def test_what_a_grammar_does_not_say_is_not_expected() -> None:
    """A LoRA without a word for a medium shot leaves the distance as it is in the source."""
    assert CAMERAS["dx8152"].expects(View("back")) == {"angle": "back"}
    assert CAMERAS["fal"].expects(View("back")) == {"angle": "back", "elevation": "eye level", "framing": "bust"}


def test_a_view_knows_its_degrees() -> None:
    """Left is negative, as a measured head pose has it; from behind it is half a turn."""
    yaws = {angle: View(angle).yaw for angle in get_args(Angle)}
    assert yaws == {
        "front": 0, "half-left": -45, "profile-left": -90, "back-left": -135, "back": -180, "back-right": 135,
        "profile-right": 90, "half-right": 45,
    }  # fmt: skip
