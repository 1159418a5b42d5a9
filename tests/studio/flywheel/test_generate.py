"""Generation: new scenes, the identity filter, and going on where a stop left off."""

from __future__ import annotations

import pytest

from engines.api.errors import BadInput
from studio.flywheel import generate
from studio.flywheel.train import character as train
from studio.judging.gallery import gallery
from studio.judging.judge import Judge
from studio.records.image import Kind, Verdict
from studio.records.job import JobState
from tests.studio.conftest import World, present


def test_every_item_becomes_a_scored_picture(world: World) -> None:
    """Pictures keep their words, seed, asked tags and score, and wait for a verdict."""
    items = generate.scene_items(world.desk, 6, seed=3)

    job = world.finish(generate.submit(world.desk, items))

    images = [world.store.images.get(image) for image in present(job.artifacts.images)]
    assert [image.params["seed"] for image in images] == [item.seed for item in items]
    assert {image.kind for image in images} == {Kind.SYNTHETIC}
    assert all(image.asked and set(image.scores) == {"fake-identity-1"} for image in images)


def test_an_approved_picture_can_be_learned_from_at_once(world: World) -> None:
    """The words that drew a picture are its caption, so that nothing has to be captioned before the next training."""
    items = generate.scene_items(world.desk, 2)
    job = world.finish(generate.submit(world.desk, items))
    for image in present(job.artifacts.images):
        world.store.decide(image, Verdict.GOOD)

    learned = {entry.image: entry.caption for entry in train.dataset(world.desk)}

    assert [learned[image] for image in present(job.artifacts.images)] == [item.prompt for item in items]
    assert train.preflight(world.desk).ok


def test_a_preflight_of_nothing_takes_no_time(world: World) -> None:
    """Without items it says what the model alone needs; the submit then says that there is nothing to draw."""
    fit, seconds = generate.preflight(world.desk, [])

    assert fit.ok and seconds is None


def test_strangers_are_set_aside_and_never_deleted(world: World) -> None:
    """Below the threshold a picture is flagged, stays in the store, and leaves the review queue."""
    generate.set_threshold(world.desk, 0.999)
    items = generate.scene_items(world.desk, 5)

    job = world.finish(generate.submit(world.desk, items))

    images = [world.store.images.get(image) for image in present(job.artifacts.images)]
    assert [image.filtered for image in images] == [True] * 5
    assert job.artifacts.filtered == 5
    assert world.store.pending() == []


def test_moving_the_threshold_moves_undecided_pictures(world: World) -> None:
    """A lower threshold brings pictures back; without one the originals set their own floor."""
    generate.set_threshold(world.desk, 0.999)
    items = generate.scene_items(world.desk, 4)
    world.finish(generate.submit(world.desk, items))

    aside = generate.set_threshold(world.desk, -1.0)

    assert aside == []
    assert len(world.store.pending()) == 4
    generate.set_threshold(world.desk, None)
    assert generate.threshold(world.desk) == gallery(world.desk).floor


def test_a_whole_number_is_a_threshold(world: World) -> None:
    """Given as 1 or 0, as a script may, it holds like 1.0 and 0.0."""
    for value in (1, 0):
        generate.set_threshold(world.desk, value)
        assert generate.chosen_threshold(world.desk) == value
        assert isinstance(generate.chosen_threshold(world.desk), float)


def test_a_picture_in_the_trash_follows_the_threshold(world: World) -> None:
    """Restored, it is where the threshold of now puts it; in the trash it is not told among those set aside."""
    job = world.finish(generate.submit(world.desk, generate.scene_items(world.desk, 2)))
    thrown, other = present(job.artifacts.images)
    world.store.trash([thrown])

    assert generate.set_threshold(world.desk, 0.999) == [other]
    world.store.restore([thrown])
    assert world.store.images.get(thrown).filtered
    world.store.trash([thrown])
    assert generate.set_threshold(world.desk, -1.0) == []
    world.store.restore([thrown])
    assert not world.store.images.get(thrown).filtered


def test_a_version_draws_with_its_adapter_and_is_remembered(world: World) -> None:
    """With a version the picture is not the base's, and its record names the version, not a file."""
    world.finish(train.submit(world.desk))
    (version,) = world.store.versions.all()
    items = generate.scene_items(world.desk, 1, version.id)

    base = world.finish(generate.submit(world.desk, items))
    ours = world.finish(generate.submit(world.desk, items, version=version.id))

    drawn = world.store.images.get(present(ours.artifacts.images)[0])
    assert present(base.artifacts.images) != present(ours.artifacts.images)
    assert (drawn.version, drawn.params["loras"]) == (version.id, [])


def test_a_picture_that_copies_an_original_is_named(world: World) -> None:
    """Above the originals' own likeness a picture carries the advice near_copy."""
    job = world.finish(generate.submit(world.desk, generate.scene_items(world.desk, 1)))
    judge = Judge(world.context(job))

    assert "near_copy" in judge.advice({"fake-identity-1": judge.gallery.ceiling + 0.001})
    assert judge.advice({"fake-identity-1": judge.gallery.floor}) == {}
    assert "no_face" in judge.advice({"fake-identity-1": None})
    assert not judge.below({"fake-identity-1": None}, 0.9)


def test_a_stopped_job_goes_on_with_what_is_not_drawn(world: World) -> None:
    """Resuming draws the rest: all pictures, each once, the same as in one go."""
    items = generate.scene_items(world.desk, 4)
    whole = present(world.finish(generate.submit(world.desk, items)).artifacts.images)
    stopped = world.cancel_at(generate.submit(world.desk, items), step=5)
    assert stopped.state is JobState.CANCELLED
    assert stopped.artifacts.images == whole[:2]

    done = world.finish(world.studio.jobs.resume(stopped.id))

    assert done.artifacts.images == whole


def test_nothing_to_draw_is_refused(world: World) -> None:
    """An empty list is an error that says so."""
    with pytest.raises(BadInput, match="nothing to draw"):
        generate.submit(world.desk, [])


def test_without_the_scorer_a_human_sees_all(world: World) -> None:
    """Missing weights of the scorer are told in the job's events; nothing is set aside."""
    world.studio.library.update(world.id, scorer="far-away")

    job = world.finish(generate.submit(world.desk, generate.scene_items(world.desk, 2)))

    assert any("not scored" in words for words in world.warnings(job.id))
    assert len(world.store.pending()) == 2
    assert not any(world.store.images.get(image).filtered for image in present(job.artifacts.images))
    assert generate.threshold(world.desk) == -1.0
