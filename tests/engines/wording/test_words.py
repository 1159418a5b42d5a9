"""The words that models are asked with, and the tags read back from them."""

from __future__ import annotations

import pytest

from engines.api.params import EditParams
from engines.api.protocols import ModelSpec
from engines.mini import world
from engines.wording import drawn as vocab
from engines.wording import words as prompts

SPEC = ModelSpec(
    name="m", label="m", role="editor", family="f", engine="", source="", licence="",
    defaults={"EditParams": {"steps": 7, "true_cfg": 2.0}},
)  # fmt: skip


@pytest.mark.parametrize("toy", [True, False])
def test_edits_cover_every_task_and_the_whole_card(toy: bool) -> None:
    """Each of the seven tasks has edits, and every angle, expression and pose can be asked for."""
    tasks = prompts.edit_tasks(toy)
    assert {t.task for t in tasks} == set(vocab.TASKS)
    expected = {(name, value) for t in tasks for name, value in t.expects.items()}
    for name in ("angle", "expression", "pose"):
        assert {(name, value) for value in vocab.SCENE_VALUES[name]} <= expected


def test_toy_edits_are_worded_as_trained() -> None:
    """A toy instruction is one that the embedded editor was trained with, word for word."""
    for edit in prompts.edit_tasks(toy=True):
        assert edit.words == world.edit_instruction(edit.task, edit.value)


def test_toy_pairs_are_worded_as_trained() -> None:
    """Two edits in one instruction are joined as the drawn world joins them."""
    by_value = {t.value: t for t in prompts.edit_tasks(toy=True)}
    person = world.held_out_person(1)
    before = world.Scene(person=person, angle="front", expression="neutral")
    after = world.Scene(person=person, angle="half-left", expression="smiling")
    both = prompts.combined(by_value["half-left"], by_value["smiling"], toy=True)
    assert both.words == world.instruction(before, after)
    assert dict(both.expects) == {"angle": "half-left", "expression": "smiling"}


def test_real_edits_name_what_stays_and_whose_left() -> None:
    """A real editor is told what to keep, and that left and right are the viewer's."""
    for edit in prompts.edit_tasks(toy=False):
        assert "Keep the same person" in edit.words
        for side in ("left", "right"):
            assert side not in edit.words.split() or f"the viewer's {side}" in edit.words
    angle, smile = (next(t for t in prompts.edit_tasks(toy=False) if t.value == v) for v in ("half-left", "smiling"))
    both = prompts.combined(angle, smile, toy=False).words
    assert both == "Turn the head to half-left (the viewer's left). Make the person smile. Keep the same person."


def test_edit_params_start_from_the_model() -> None:
    """A model's defaults are kept where no knob overrules them."""
    params = prompts.edit_params(SPEC, "make it so", seed=3)
    assert params == EditParams(instruction="make it so", steps=7, true_cfg=2.0, seed=3)


def test_card_has_its_23_cells() -> None:
    """5 angles × 4 expressions and 3 poses, each with its own name."""
    assert len(prompts.CARD_CELLS) == 23
    assert len({cell.name for cell in prompts.CARD_CELLS}) == 23
    poses = [cell.axes["pose"] for cell in prompts.CARD_CELLS if "pose" in cell.axes]
    assert sorted(poses) == ["T-pose", "sitting", "standing"]


@pytest.mark.parametrize("toy", [True, False])
def test_card_prompts_ask_for_their_cell(toy: bool) -> None:
    """What a card prompt asks for can be read back from its words, and the trigger is in them."""
    for cell in prompts.CARD_CELLS:
        prompt = prompts.card_prompt(cell, "ohwx", "person", toy)
        tags = prompts.read_tags(prompt)
        assert "ohwx person" in prompt
        assert {name: tags.get(name) for name in cell.asked} == cell.asked


def test_toy_card_prompt_is_a_caption_of_the_drawn_world() -> None:
    """The embedded generator is asked in the captions that it was trained with."""
    scene = world.Scene(person=world.held_out_person(1), angle="half-left", expression="sad")
    cell = next(c for c in prompts.CARD_CELLS if c.name == "half-left sad")
    assert prompts.card_prompt(cell, "ohwx", "person", toy=True) == world.caption(scene, "ohwx")


@pytest.mark.parametrize("toy", [True, False])
def test_scene_prompts_vary_and_repeat(toy: bool) -> None:
    """Scenes differ, use every value about equally, and are the same for the same seed."""
    scenes = prompts.scene_prompts("ohwx", "person", 40, 5, toy)
    assert scenes == prompts.scene_prompts("ohwx", "person", 40, 5, toy)
    assert scenes != prompts.scene_prompts("ohwx", "person", 40, 6, toy)
    assert len({prompt for prompt, _ in scenes}) == 40
    assert all(prompt.split(", ")[0].endswith("ohwx person") for prompt, _ in scenes)
    angles = [asked["angle"] for _, asked in scenes]
    assert {angles.count(angle) for angle in vocab.ANGLES} == {8}


def test_scenes_with_aims_show_each_in_turn_and_vary_the_rest() -> None:
    """What a card missed is asked for in scenes that it never asked for: places, clothes and light differ."""
    aims = [{"pose": "sitting", "framing": "full body"}, {"angle": "front", "expression": "sad", "framing": "head"}]

    scenes = prompts.scene_prompts("ohwx", "person", 12, 1, toy=True, aims=aims)

    assert all(aims[at % 2].items() <= asked.items() for at, (_, asked) in enumerate(scenes))
    assert all("sitting" in words for words, _ in scenes[::2])
    assert all("pose" not in asked for _, asked in scenes[1::2])
    assert len({asked["background"] for _, asked in scenes}) > 3


def test_scene_prompts_pose_only_whole_bodies() -> None:
    """A pose is asked for only where the whole body is seen."""
    for _, asked in prompts.scene_prompts("ohwx", "person", 30, 1, toy=True):
        assert ("pose" in asked) == (asked["framing"] == "full body")


def test_toy_captions_read_back_whole() -> None:
    """Every tag of a drawn picture is read back from its caption."""
    for seed in range(5):
        for scene in world.sample_scenes(seed):
            tags = prompts.read_tags(world.caption(scene, "ohwx"))
            names = [n for n in vocab.SCENE_VALUES if n != "pose" or scene.framing == "full body"]
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
    assert prompts.read_tags(caption) == expected
