"""Captions: the leak check, the trigger, by hand and by the captioner."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from engines.api.errors import BadInput, ModelMissing
from engines.mini import world as drawn
from engines.wording.reading import read_tags
from studio.flywheel.curate import captions
from studio.records.image import Kind
from studio.records.words import CAPTION_LETTERS
from tests.studio.conftest import World, present


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a young woman with long curly brown hair", ["young", "long curly brown hair"]),
        ("ohwx, blue eyes, smiling", ["blue eyes"]),
        ("ohwx man with pale skin and freckles", ["pale skin", "freckles"]),
        ("a 25-year-old Asian man with a short beard", ["25-year-old", "Asian", "short beard"]),
        ("fair-haired, blue-eyed", ["fair-haired", "blue-eyed"]),
        ("a round face and a strong jawline", ["round face", "strong jawline"]),
        ("a black man in his thirties", ["black", "in his thirties"]),
        ("ohwx person wearing glasses", ["glasses"]),
    ],
)
def test_what_is_constant_is_found(text: str, found: list[str]) -> None:
    """Hair, eyes, skin, face, age and ethnicity are leaks, each with its adjectives."""
    assert captions.leaks(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "ohwx person in a black suit, old town at night, soft light, dark room",
        "ohwx person, eyes closed, facing the camera, face lit from the side",
        "ohwx woman in sunglasses and a white shirt, long shadows, brown leather jacket",
        "ohwx man with a tan hat, hand on chin, raised eyebrows, wide smile",
    ],
)
def test_what_varies_may_be_named(text: str) -> None:
    """Clothes, places, light, gestures and expressions are what captions are for."""
    assert captions.leaks(text) == []
    assert captions.without_leaks(text) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("long blonde, smiling", ["long blonde"]),
        ("a blonde, blue shirt", ["blonde"]),
        ("deep-set eyes, almond-shaped blue eyes", ["deep-set eyes", "almond-shaped blue eyes"]),
        ("blonde, round face", ["blonde, round face"]),
        ("Long, Dark And Curly HAIR", ["Long, Dark And Curly HAIR"]),
        ("long hair-band, eyes, blue and eyes", []),
        ("İ, blue eyes", ["blue eyes"]),
    ],
)
def test_adjectives_run_to_their_feature(text: str, found: list[str]) -> None:
    """All adjectives before a feature are part of the leak; some name a feature by themselves, most say nothing."""
    assert captions.leaks(text) == found


_ENDLESS = (
    *(
        "long ",
        "long, ",
        "long and ",
        "long-",
        "blonde, ",
        "freckled ",
        "deep-set ",
        "a ",
        "a",
        "eye ",
        "old ",
        "old a ",
    ),
    *("old old-", "in his ", "25 years ", "x-years-", "black ", "hair-", "long hair, ", " ", ", ", "and "),
    *("wearing ", "a background ", "half left ", "facing the ", "light ", "a-"),
)


@pytest.mark.parametrize("look", [captions.leaks, read_tags])
@pytest.mark.parametrize("words", _ENDLESS)
def test_no_caption_takes_long(look: Callable[[str], object], words: str) -> None:
    """Eight times the words take about eight times as long: a quadratic look would take 64 times."""

    def seconds(letters: int) -> float:
        text = (words * letters)[:letters]
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            look(text)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(16_000) < 24 * seconds(2000) + 0.02


def test_captions_of_the_drawn_world_never_leak() -> None:
    """The embedded captioner's words pass, those that name the person don't."""
    for scene in drawn.sample_scenes(3):
        assert captions.leaks(drawn.caption(scene, "ohwx")) == []
        assert captions.leaks(drawn.caption(scene, "ohwx", identity=True))


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("ohwx person with long brown hair and blue eyes, smiling", "ohwx person, smiling"),
        ("an elderly man with a red hat", "a man with a red hat"),
        ("ohwx with freckles and a red hat", "ohwx with a red hat"),
        ("blue eyes, smiling", "smiling"),
        ("She has pale skin, freckles and green eyes. She smiles", "She. She smiles"),
        ("long hair", ""),
        ("ohwx man with blue eyes, holding an hourglass", "ohwx man, holding an hourglass"),
        ("ohwx man with brown hair looks at an X-ray", "ohwx man looks at an X-ray"),
        ("a blonde actor at home", "an actor at home"),
        ("an elderly university teacher, an old man", "a university teacher, a man"),
        ("ohwx woman with long hair sitting in an inn", "ohwx woman sitting in an inn"),
    ],
)
def test_leaks_are_taken_out_with_their_joints(text: str, rest: str) -> None:
    """What is left reads as if it had never been there."""
    assert captions.without_leaks(text) == rest


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("ohwx person, smiling", "ohwx person, smiling"),
        ("a woman smiling in a forest", "ohwx person smiling in a forest"),
        ("A photo of a man, sitting", "ohwx person, sitting"),
        ("smiling, forest", "ohwx person, smiling, forest"),
        ("The person is sad.", "ohwx person is sad."),
        ("photo of ohwx person at night", "ohwx person at night"),
        ("", "ohwx person"),
    ],
)
def test_the_trigger_comes_first(text: str, result: str) -> None:
    """Whatever a captioner begins with, the character's token begins the caption."""
    assert captions.with_trigger(text, "ohwx", "person") == result


def test_a_caption_by_hand_is_a_humans(world: World) -> None:
    """What is typed is kept as one line and known as a human's; nothing typed is nobody's."""
    image = captions.set_caption(world.desk, world.sources[0], " ohwx person,\n sad ")
    assert (image.caption, image.caption_by) == ("ohwx person, sad", "human")
    assert captions.set_caption(world.desk, world.sources[0], " ").caption_by == ""


def test_a_caption_has_an_end(world: World) -> None:
    """What no model would read is refused with the limit, and what was there stays."""
    before = world.store.images.get(world.sources[0])
    with pytest.raises(BadInput, match=f"at most {CAPTION_LETTERS}"):
        captions.set_caption(world.desk, world.sources[0], "a" * (CAPTION_LETTERS + 1))
    assert world.store.images.get(world.sources[0]) == before


def test_tags_are_set_in_bulk_and_checked(world: World) -> None:
    """Tags merge, an empty one goes, and a value that is none is refused before anything is written."""
    captions.set_tags(world.desk, world.sources, {"angle": "front", "outfit": "red shirt"})
    captions.set_tags(world.desk, world.sources[0], {"outfit": "", "expression": "sad"})
    tags = [world.store.images.get(image).tags for image in world.sources]
    assert tags[0] == {"angle": "front", "expression": "sad"}
    assert tags[1] == {"angle": "front", "outfit": "red shirt"}
    for wrong in ({"angle": "sideways"}, {"mood": "sad"}):
        with pytest.raises(BadInput):
            captions.set_tags(world.desk, world.sources, wrong)
    assert world.store.images.get(world.sources[0]).tags == tags[0]


def uncaptioned(world: World, count: int) -> list[str]:
    """Sources without words."""
    return [world.picture(Kind.SOURCE, 100 + n, caption="") for n in range(count)]


def test_the_captioner_writes_what_nobody_wrote(world: World) -> None:
    """Pictures without a caption get one with tags; captions by humans and sidecars stay."""
    new = uncaptioned(world, 10)
    sidecar = world.picture(Kind.SOURCE, 50, caption="ohwx by hand", caption_by="sidecar")
    job = world.finish(captions.submit_caption(world.desk))
    assert set(present(job.artifacts.captioned)) == set(new)
    for image in map(world.store.images.get, new):
        assert image.caption.startswith("ohwx person, ")
        assert image.caption_by == "fake-edit"
        assert set(image.tags) == {"angle", "expression"}
    assert world.store.images.get(sidecar).caption == "ohwx by hand"
    assert (job.step, job.total) == (10, 10)


def test_the_captioner_sees_what_is_trained(world: World) -> None:
    """A cropped picture gets the words of its crop: what is cut off is not named."""
    (image,) = uncaptioned(world, 1)
    part = world.store.open_image(image).crop((0, 0, 32, 64))
    alone = world.store.add_image(part, kind=Kind.SOURCE).id
    world.store.set_crop(image, (0, 0, 0.5, 1))
    world.finish(captions.submit_caption(world.desk, [image, alone]))
    assert world.store.images.get(image).caption == world.store.images.get(alone).caption != ""


def test_captions_by_people_stay_unless_told_otherwise(world: World) -> None:
    """Naming a picture isn't enough to lose what someone typed; saying so is."""
    with pytest.raises(BadInput, match="nothing to caption"):
        captions.submit_caption(world.desk, world.sources)
    job = captions.submit_caption(world.desk, world.sources, overwrite_human=True)
    world.finish(job)
    assert {world.store.images.get(image).caption_by for image in world.sources} == {"fake-edit"}


def test_pictures_that_are_named_twice_or_not_at_all(world: World) -> None:
    """Twice is once; an empty list is refused, for it does not mean all pictures."""
    (image,) = uncaptioned(world, 1)
    assert captions.submit_caption(world.desk, [image, image]).total == 1
    with pytest.raises(BadInput, match="no picture to caption"):
        captions.submit_caption(world.desk, [])


def test_known_tags_outlive_the_captioner(world: World) -> None:
    """Tags that are there win, new ones are added."""
    image = world.picture(Kind.SOURCE, 100, caption="", tags={"angle": "front", "outfit": "red shirt"})
    world.finish(captions.submit_caption(world.desk, [image]))
    tags = world.store.images.get(image).tags
    assert (tags["angle"], tags["outfit"]) == ("front", "red shirt")
    assert "expression" in tags


def test_a_caption_typed_while_the_job_waited_stays(world: World) -> None:
    """Who types last before the captioner comes is not overruled by it."""
    (image,) = uncaptioned(world, 1)
    job = captions.submit_caption(world.desk)
    captions.set_caption(world.desk, image, "ohwx person, mine")
    world.finish(job)
    assert world.store.images.get(image).caption == "ohwx person, mine"


def test_a_missing_model_is_refused_with_its_remedy(world: World) -> None:
    """Weights that are not there are told when captions are asked for, with the command that fetches them."""
    (image,) = uncaptioned(world, 1)
    with pytest.raises(ModelMissing, match=r"python launch\.py pull far-edit"):
        captions.submit_caption(world.desk, [image], model="far-edit")
    assert world.studio.jobs.list() == []


def test_a_key_makes_a_captioning_happen_once(world: World) -> None:
    """The same key again answers the first job, though nothing is left to caption by then."""
    world.store.update_image(world.sources[0], caption="", caption_by="")
    job = world.finish(captions.submit_caption(world.desk, key="k"))

    assert captions.submit_caption(world.desk, key="k") == job
