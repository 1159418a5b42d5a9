"""Choosing a checkpoint: what each is worth, which is proposed, and a version of any of them."""

import pytest

from engines.api.errors import BadInput, Busy
from studio.flywheel.train import character as train
from studio.flywheel.train import checkpoints as choosing
from studio.judging.gallery import gallery
from studio.records.job import JobState
from tests.studio.conftest import World, present


def test_each_checkpoint_is_judged_by_its_own_previews(world: World) -> None:
    """Identity and what was obeyed come from the previews of that step; a step without previews has no figures."""
    job = world.finish(train.submit(world.desk))

    found = choosing.choices(world.studio, job.id)

    assert [choice.step for choice in found] == [5, 10, 15, 20]
    assert [bool(choice.samples) for choice in found] == [False, True, False, True]
    assert [choice.identity is not None for choice in found] == [False, True, False, True]
    assert all(0 <= present(choice.obeyed) <= 1 for choice in found if choice.samples)
    assert found[-1].version == world.store.versions.all()[-1].id


def test_the_earliest_that_is_as_good_as_any_is_proposed(world: World) -> None:
    """Later training that adds no likeness is not worth its risk; one that does is."""
    job = world.finish(train.submit(world.desk))
    early, late = [c for c in choosing.choices(world.studio, job.id) if c.samples]

    def proposed(first: float, second: float) -> int:
        for choice, score in ((early, first), (late, second)):
            for image in choice.samples:
                world.store.update_image(image, scores={"fake-identity-1": score})
        (found,) = [choice.step for choice in choosing.choices(world.studio, job.id) if choice.proposed]
        return found

    assert proposed(0.70, 0.72) == early.step
    assert proposed(0.50, 0.72) == late.step


def test_a_near_copy_holds_no_more_identity_than_the_originals_do(world: World) -> None:
    """A later checkpoint that has learned an original by heart looks most like her, and is not proposed for it."""
    job = world.finish(train.submit(world.desk))
    early, late = [c for c in choosing.choices(world.studio, job.id) if c.samples]
    ceiling = gallery(world.desk).ceiling

    for choice, score in ((early, ceiling - choosing.SLACK / 2), (late, ceiling + 2 * choosing.SLACK)):
        for image in choice.samples:
            world.store.update_image(image, scores={"fake-identity-1": score})
    first, last = [c for c in choosing.choices(world.studio, job.id) if c.samples]

    assert (first.copies, first.proposed) == (0, True)
    assert (last.copies, last.proposed) == (1, False)


def test_a_version_is_made_of_any_checkpoint_once(world: World) -> None:
    """It holds that step's adapter and figures, waits to be adopted, and asking twice makes no second one."""
    job = world.finish(train.submit(world.desk))

    version = choosing.keep_at(world.studio, job.id, 10)

    assert version.metrics.steps == 10
    assert [each.step for each in version.checkpoints] == [5, 10]
    kept = world.store.run_dir(job.id) / "checkpoints" / "000010" / "adapter.safetensors"
    assert world.store.adapter_path(version.id).read_bytes() == kept.read_bytes()
    assert choosing.keep_at(world.studio, job.id, 10) == version
    assert len(world.store.versions.all()) == 2


def test_a_step_without_a_checkpoint_names_those_there_are(world: World) -> None:
    """A wrong step is answered with the right ones, and a run that waits is not chosen from."""
    job = world.finish(train.submit(world.desk))
    with pytest.raises(BadInput, match="no checkpoint at step 7"):
        choosing.keep_at(world.studio, job.id, 7)
    waiting = train.submit(world.desk, world.train_params(seed=9))
    assert waiting.state is JobState.QUEUED
    with pytest.raises(Busy):
        choosing.keep_at(world.studio, waiting.id, 10)


def test_without_the_scorer_checkpoints_have_no_identity_and_none_is_proposed(world: World) -> None:
    """Missing weights cost the figures, not the choice."""
    world.studio.library.update(world.id, scorer="far-away")
    job = world.finish(train.submit(world.desk))

    found = choosing.choices(world.studio, job.id)

    assert [choice.identity for choice in found] == [None] * 4
    assert not any(choice.proposed for choice in found)
    assert choosing.keep_at(world.studio, job.id, 5).metrics.steps == 5


@pytest.mark.parametrize("originals", [1, 2])
def test_with_too_few_originals_no_checkpoint_is_more_like_her_than_another(world: World, originals: int) -> None:
    """The one most like a single picture has learned that picture: identity is unknown, and none is proposed."""
    world.store.trash(world.sources[originals:])
    job = world.finish(train.submit(world.desk))

    shown = [choice for choice in choosing.choices(world.studio, job.id) if choice.samples]

    assert [(choice.identity, choice.copies, choice.proposed) for choice in shown] == [(None, None, False)] * 2
    assert all(choice.unseen == len(choice.samples) for choice in shown)


def test_previews_without_a_face_or_an_answer_are_counted_beside(world: World) -> None:
    """Figures are of the previews that could be judged, and how many could not is said."""
    job = world.finish(train.submit(world.desk))
    samples = next(choice.samples for choice in choosing.choices(world.studio, job.id) if choice.samples)
    for image in samples:
        world.store.update_image(image, asked={"angle": "front", "pose": "T-pose"}, tags={"angle": "front"})
    world.store.update_image(samples[0], scores={"fake-identity-1": None})
    for image in samples[1:]:
        world.store.update_image(image, scores={"fake-identity-1": 0.7})

    choice = next(choice for choice in choosing.choices(world.studio, job.id) if choice.samples)

    assert (choice.identity, choice.unseen) == (0.7 if samples[1:] else None, 1)
    assert (choice.obeyed, choice.unread) == (1.0, len(samples))
