"""Tests that the drawn world is deterministic, and that its captions never name who is in a picture."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest

from engines.api.axes import EXPRESSIONS, POSES
from engines.mini import world
from engines.mini.dataset import FORGETFUL, edit_pair, forgetful, train_scene
from engines.mini.people import IDENTITY_WORDS, PERSON_VALUES, RARE_WORDS
from engines.mini.world import Scene
from engines.wording import drawn as vocab


def _scenes(count: int) -> list[Scene]:
    rng = random.Random(5)
    return [Scene.random(rng) for _ in range(count)]


def test_drawing_is_a_pure_function_of_the_scene() -> None:
    """A scene has the same bytes every time, at the given size."""
    for scene in _scenes(10):
        first, second = world.draw(scene), world.draw(scene)
        assert first.size == (64, 64) and first.mode == "RGB"
        assert first.tobytes() == second.tobytes()
    assert world.draw(_scenes(1)[0], size=96).size == (96, 96)


def test_ground_truth_survives_json() -> None:
    """A scene read back from its ground truth is equal."""
    for scene in _scenes(50):
        back = world.from_truth(json.loads(json.dumps(world.truth(scene))))
        assert back == scene


def test_captions_leak_no_identity() -> None:
    """A caption names everything in a scene but no trait of the person."""
    for scene in _scenes(500):
        said = set(re.findall(r"[\w-]+", world.caption(scene, trigger="ohwx")))
        assert not said & IDENTITY_WORDS
        assert world.caption(scene, trigger="ohwx").startswith("ohwx person, ")


def test_captions_of_generic_people_name_what_one_sees() -> None:
    """With `identity` hair, skin and eyes are named, so that a base generator can vary them."""
    for scene in _scenes(50):
        said = world.caption(scene, identity=True)
        assert f"{scene.person.skin} skin" in said and f"{scene.person.eyes} eyes" in said
        assert scene.person.hair_style in said


def test_rare_words_never_occur_in_training() -> None:
    """The words reserved for characters are in no caption and no instruction that the models learn from."""
    for i in range(300):
        scene = train_scene(i)
        words = f"{world.caption(scene, identity=True)} {edit_pair(scene, str(i)).instruction}".lower()
        assert not set(re.findall(r"[\w-]+", words)) & set(RARE_WORDS)


def test_captions_are_short() -> None:
    """No caption has more than forty words and marks."""
    for scene in _scenes(500):
        assert len(re.findall(r"[\w-]+|,", world.caption(scene, identity=True))) <= 40


def test_training_and_held_out_people_share_no_named_traits() -> None:
    """No combination of named traits occurs both in training and among held-out people."""

    def traits(person: world.Person) -> tuple[str, ...]:
        return tuple(getattr(person, name) for name in PERSON_VALUES)

    trained = {traits(world.train_person(seed)) for seed in range(2000)}
    unseen = {traits(world.held_out_person(seed)) for seed in range(500)}
    assert len(unseen) > 200
    assert not trained & unseen


@pytest.mark.parametrize("task", vocab.TASKS)
def test_an_edit_changes_only_what_it_names(task: str) -> None:
    """An edit changes the task's attribute (a pose also shows the full body) and keeps the person."""
    for scene in _scenes(30):
        for value in world.edit_options(scene, task):
            after = world.apply_edit(scene, task, value)
            assert getattr(after, vocab.TASK_ATTRIBUTE[task]) == value
            allowed = {vocab.TASK_ATTRIBUTE[task]} | ({"framing"} if task == "pose" else set())
            assert {n for n in vocab.SCENE_VALUES if getattr(after, n) != getattr(scene, n)} <= allowed
            assert after.person == scene.person


@pytest.mark.parametrize("task", vocab.TASKS)
def test_an_instruction_words_every_change(task: str) -> None:
    """The instruction between two scenes has the task's phrase or the new value."""
    rng = random.Random(3)
    for scene in _scenes(20):
        value = rng.choice(world.edit_options(scene, task))
        words = world.instruction(scene, world.apply_edit(scene, task, value), rng)
        phrase = vocab.PHRASES[vocab.TASK_ATTRIBUTE[task]][value]
        assert phrase in words or value in words


def test_expressions_differ_visibly_in_head_shots() -> None:
    """Changing the expression changes at least a hundredth of a head shot's pixels clearly."""
    for seed in range(10):
        pictures = [
            np.asarray(world.draw(Scene(person=world.train_person(seed), expression=e)), dtype=int) for e in EXPRESSIONS
        ]
        for i, one in enumerate(pictures):
            for other in pictures[:i]:
                assert (np.abs(one - other).max(axis=2) > 40).mean() > 0.01


def test_left_and_right_are_the_viewers() -> None:
    """In a left profile the nose, and so the skin outside the head's circle, points to the viewer's left."""
    person = world.Person(hair_style="bald", skin="dark", feature="none", nose_length=0.34)
    for angle, left in (("profile-left", True), ("profile-right", False)):
        dark = np.asarray(world.draw(Scene(person=person, angle=angle)).convert("L"))[30:38] < 150
        columns = np.flatnonzero(dark.any(axis=0))
        assert (32 - columns.min() > columns.max() - 31) == left


def test_the_sample_covers_the_card() -> None:
    """A character's twelve pictures show one held-out person at every angle, expression and framing."""
    for seed in range(5):
        scenes = world.sample_scenes(seed)
        assert len(scenes) == 12 and {scene.person for scene in scenes} == {world.held_out_person(seed)}
        for name in ("angle", "expression", "framing"):
            assert {getattr(scene, name) for scene in scenes} == set(vocab.SCENE_VALUES[name])


def test_a_pose_needs_the_full_body() -> None:
    """A head shot of a sitting person is refused, since it would not show the pose."""
    with pytest.raises(ValueError, match="full body"):
        Scene(person=world.train_person(0), pose="sitting", framing="head")


def test_some_redrawn_people_come_back_with_other_hair() -> None:
    """A share of FORGETFUL of the edits that redraw a person changes the hair, and nothing else; no one is held out."""
    pairs = [edit_pair(train_scene(i), str(i)) for i in range(800)]
    taught = [forgetful(pair, str(i)) for i, pair in enumerate(pairs)]
    redrawn = [i for i, pair in enumerate(pairs) if set(pair.tasks) - {"background", "lighting"}]
    forgotten = [i for i, pair in enumerate(taught) if pair.after.person != pair.before.person]

    assert set(forgotten) <= set(redrawn)
    assert abs(len(forgotten) / len(redrawn) - FORGETFUL) < 0.06
    for i in forgotten:
        before, after = pairs[i].after.person, taught[i].after.person
        assert before.hair_style != after.hair_style and before.hair_colour != after.hair_colour
        assert replace(after, hair_style=before.hair_style, hair_colour=before.hair_colour) == before
        assert not world.is_held_out(after)
        assert replace(taught[i], after=replace(taught[i].after, person=before)) == pairs[i]


def test_a_head_can_be_asked_to_stand() -> None:
    """A scene that is no full body picture can be edited to every pose, standing included."""
    for scene in _scenes(30):
        poses = set(world.edit_options(scene, "pose"))
        assert poses == set(POSES) - ({scene.pose} if scene.framing == "full body" else set())
