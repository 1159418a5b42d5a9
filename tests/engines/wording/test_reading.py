"""The tags that are read back from captions."""

from __future__ import annotations

import pytest

from engines.mini import world
from engines.wording.drawn import SCENE_VALUES
from engines.wording.reading import read_tags


def test_captions_of_drawings_read_back_whole() -> None:
    """Every tag of a drawn picture is read back from its caption."""
    for seed in range(5):
        for scene in world.sample_scenes(seed):
            tags = read_tags(world.caption(scene, "ohwx"))
            names = [n for n in SCENE_VALUES if n != "pose" or scene.framing == "full body"]
            assert tags == {name: getattr(scene, name) for name in names}


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
    ],
)  # fmt: skip
def test_natural_captions_are_read(caption: str, expected: dict[str, str]) -> None:
    """Common ways of saying a thing give the studio's tag; words inside other words don't."""
    assert read_tags(caption) == expected
