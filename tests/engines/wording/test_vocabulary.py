"""What every vocabulary can do: the registered ones, and one that is written here as data alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.api.axes import ANGLES, EXPRESSIONS, POSES, Medium
from engines.wording.cells import CARD_CELLS
from engines.wording.photographs import PHOTOGRAPHS
from engines.wording.reading import read_tags
from engines.wording.registry import VOCABULARIES
from engines.wording.vocabulary import CaptionPart, Vocabulary

INK = replace(
    PHOTOGRAPHS,
    one_edit="Redraw in ink: {request}.",
    two_edits="Redraw in ink: {first}, and {second}.",
    opening="ink drawing, {subject} called {trigger} {subject}",
    styled_opening="{style} drawing, {subject} called {trigger} {subject}",
    parts=(
        *reversed(PHOTOGRAPHS.parts[:4]),
        CaptionPart(axis="outfit", template="dressed in {article} {value}"),
        CaptionPart(axis="background", template="{value} background"),
    ),
)
WORDINGS = {**VOCABULARIES, "a third": INK}


@pytest.fixture(params=list(WORDINGS))
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    """Each vocabulary in turn."""
    return WORDINGS[request.param]


def test_edits_cover_the_whole_card(vocabulary: Vocabulary) -> None:
    """Every angle, expression and pose can be asked for, and a pose shows the full body."""
    edits = vocabulary.edit_tasks()
    reached = {(axis, value) for edit in edits for axis, value in edit.expects.items()}
    wanted = {"angle": ANGLES, "expression": EXPRESSIONS, "pose": POSES}
    assert {(axis, value) for axis, values in wanted.items() for value in values} <= reached
    assert all(edit.expects["framing"] == "full body" for edit in edits if edit.task == "pose")


@pytest.mark.parametrize(
    ("medium", "opening"), [("photo", "photo of"), ("drawing", "drawing of"), ("3D render", "3D render of")]
)
def test_a_photographic_wording_says_the_medium(medium: Medium, opening: str) -> None:
    """Captions and prompts open with it; a style that was asked for goes before it."""
    wording = PHOTOGRAPHS.of_medium(medium)
    assert wording.describe({"angle": "front"}, "ohwx", "girl") == f"{opening} ohwx girl, facing the camera"
    assert wording.describe({"style": "comic"}, "ohwx", "girl") == "comic picture of ohwx girl"
    assert wording.card_prompt(CARD_CELLS[0], "ohwx", "girl").startswith(f"{opening} ohwx girl")


def test_the_toy_world_is_drawn_whatever_the_medium() -> None:
    """Its models know one opening."""
    assert VOCABULARIES["drawn"].of_medium("3D render").describe({}, "ohwx") == "ohwx person"


def test_two_edits_become_one_that_expects_both(vocabulary: Vocabulary) -> None:
    """Whatever two edits are combined, the result has the tags of both, those of the second where they differ."""
    for first in vocabulary.edit_tasks():
        for second in vocabulary.edit_tasks():
            both = vocabulary.combined(first, second)
            assert both.expects == {**first.expects, **second.expects}
            assert both.words not in (first.words, second.words)


def test_card_prompts_ask_for_their_cell(vocabulary: Vocabulary) -> None:
    """What a card prompt asks for can be read back from its words, and the trigger is in them."""
    for cell in CARD_CELLS:
        prompt = vocabulary.card_prompt(cell, "ohwx", "person")
        tags = read_tags(prompt)
        assert "ohwx person" in prompt
        assert {name: tags.get(name) for name in cell.asked} == cell.asked


def test_scene_prompts_vary_and_repeat(vocabulary: Vocabulary) -> None:
    """Scenes differ, use every value about equally, and are the same for the same seed."""
    scenes = vocabulary.scene_prompts("ohwx", "person", 40, 5)
    assert scenes == vocabulary.scene_prompts("ohwx", "person", 40, 5)
    assert scenes != vocabulary.scene_prompts("ohwx", "person", 40, 6)
    assert len({prompt for prompt, _ in scenes}) == 40
    assert all("ohwx person" in prompt for prompt, _ in scenes)
    angles = [asked["angle"] for _, asked in scenes]
    assert {angles.count(angle) for angle in ANGLES} == {8}


def test_scenes_with_aims_show_each_in_turn_and_vary_the_rest(vocabulary: Vocabulary) -> None:
    """What a card missed is asked for in scenes that it never asked for: places, clothes and light differ."""
    aims = [{"pose": "sitting", "framing": "full body"}, {"angle": "front", "expression": "sad", "framing": "head"}]

    scenes = vocabulary.scene_prompts("ohwx", "person", 12, 1, aims)

    assert all(aims[at % 2].items() <= asked.items() for at, (_, asked) in enumerate(scenes))
    assert all("sitting" in words for words, _ in scenes[::2])
    assert all("pose" not in asked for _, asked in scenes[1::2])
    assert len({asked["background"] for _, asked in scenes}) > 3


def test_an_aim_at_a_pose_shows_the_whole_body(vocabulary: Vocabulary) -> None:
    """A pose that is asked for without a framing is in every prompt, whatever framings the seed draws."""
    for words, asked in vocabulary.scene_prompts("ohwx", "person", 12, 1, [{"pose": "sitting"}]):
        assert (asked["pose"], asked["framing"]) == ("sitting", "full body")
        assert "sitting" in words


def test_scene_prompts_pose_only_whole_bodies(vocabulary: Vocabulary) -> None:
    """A pose is asked for only where the whole body is seen."""
    for _, asked in vocabulary.scene_prompts("ohwx", "person", 30, 1):
        assert ("pose" in asked) == (asked["framing"] == "full body")


def test_words_of_users_are_no_templates(vocabulary: Vocabulary) -> None:
    """Braces in a trigger or a tag are said as they stand."""
    caption = vocabulary.describe({"outfit": "{0} coat", "style": "{x}"}, "{ohwx}", "{y}")
    assert all(words in caption for words in ("{0} coat", "{x}", "{ohwx} {y}"))
