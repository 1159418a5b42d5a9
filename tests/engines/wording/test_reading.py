"""The tags that are read back from captions."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from engines.api.views import View
from engines.mini import world
from engines.wording.drawn import SCENE_VALUES
from engines.wording.reading import read_tags
from engines.wording.registry import VOCABULARIES
from tests.engines.wording.test_cameras import VIEWS

# Captions in the manner of a vision-language model, each after what a person would read from it ("-": nothing).
NATURAL = Path(__file__).with_name("captions.txt").read_text(encoding="utf-8").splitlines()
READ = ("framing", "angle", "expression", "pose")


def test_captions_of_drawings_read_back_whole() -> None:
    """Every tag of a drawn picture is read back from its caption."""
    for seed in range(5):
        for scene in world.sample_scenes(seed):
            tags = read_tags(world.caption(scene, "ohwx"))
            names = [n for n in SCENE_VALUES if n != "pose" or scene.framing == "full body"]
            assert tags == {name: getattr(scene, name) for name in names}


@pytest.mark.parametrize("line", NATURAL)
def test_a_captioners_sentences_are_read_as_a_person_reads_them(line: str) -> None:
    """Framing, angle, expression and pose are those that a person would tick, and none where the words name none."""
    *expected, caption = line.split(" | ")
    assert [read_tags(caption).get(axis, "-") for axis in READ] == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("ohwx, profile view facing left, wearing a red coat", {"angle": "profile-left", "outfit": "red coat"}),
        ("close-up, looking at the camera and smiling", {"framing": "head", "angle": "front", "expression": "smiling"}),
        ("three-quarter view to the right, seated", {"angle": "half-right", "pose": "sitting"}),
        ("under warm lighting", {"light": "warm"}),
        ("ohwx man outstanding in his field", {}),
        ("unhappy, not smiling", {"expression": "sad"}),
        ("waist-up shot against a brick wall background", {"framing": "bust", "background": "brick wall"}),
        ("", {}),
        ("standing in front of a house, looking over her left shoulder", {"pose": "standing"}),
        ("profile view, left side", {"angle": "profile-left"}),
        ("face turned to the viewer’s left", {"angle": "half-left"}),
        ("facing the camera, looking right at the viewer", {"angle": "front"}),
        ("wearing a light blue shirt", {"outfit": "light blue shirt"}),
        ("wearing a grey suit with a light tie", {"outfit": "grey suit"}),
        ("a light-coloured jacket, light from above", {}),
        ("wearing a leather jacket in the forest", {"outfit": "leather jacket", "background": "forest"}),
        ("wearing a white linen shirt and shorts, warm light", {"outfit": "white linen shirt", "light": "warm"}),
        ("dressed in a scarf and coat", {"outfit": "scarf and coat"}),
        ("clothes: navy sweater, light: natural light from a window", {"outfit": "navy sweater", "light": "natural"}),
        ("traffic lights in the background", {"background": "traffic lights"}),
        ("the background is a busy city street", {"background": "busy city street"}),
        ("background: plain white, light: soft and even.", {"background": "plain white", "light": "soft and even"}),
        ("café background", {"background": "café"}),
        (unicodedata.normalize("NFD", "a café in the background"), {"background": "café"}),
        ("a blurred green background under natural light", {"background": "blurred green", "light": "natural"}),
        ("a neutral grey background", {"background": "neutral grey"}),
        ("the background is neutral", {"background": "neutral"}),
        ("without a smile", {}),
        ("pose: upper body turned slightly, framing: close-up", {"framing": "head"}),
        ("a pencil sketch of ohwx person", {"style": "pencil"}),
        ("waist-up, back view, eye-level shot", {"framing": "bust", "angle": "back", "elevation": "eye level"}),
        ("his back to the camera, shot from high above", {"angle": "back", "elevation": "high"}),
        ("seen from behind, facing left", {"angle": "back-left"}),
        ("three-quarter back view to the right, low-angle shot", {"angle": "back-right", "elevation": "low"}),
        ("a three-quarter rear view", {}),
        ("a tree behind her, overhead light, a laid-back man", {"light": "overhead"}),
    ],
)  # fmt: skip
def test_natural_captions_are_read(caption: str, expected: dict[str, str]) -> None:
    """Common ways of saying a thing give the studio's tag; words inside other words don't."""
    assert read_tags(caption) == expected


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_every_view_is_read_back_from_its_caption(view: View) -> None:
    """All 96 of them, from the words that a result's caption has."""
    assert read_tags(VOCABULARIES["photographs"].describe(view.tags, "ohwx")) == view.tags


@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=list(VOCABULARIES))
def test_a_style_that_can_be_asked_for_can_be_read(vocabulary) -> None:
    """Every style of an edit is read back from the caption of its result."""
    styles = [edit.value for edit in vocabulary.edit_tasks() if "style" in edit.expects]

    assert styles
    assert [read_tags(vocabulary.describe({"style": each}, "ohwx")).get("style") for each in styles] == styles
