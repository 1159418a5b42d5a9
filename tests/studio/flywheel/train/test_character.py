"""Training: what goes in, what a run leaves behind, how it stops and goes on."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from engines.api.errors import BadInput
from engines.training import runfile
from studio.flywheel.train import character as train
from studio.flywheel.train import runs
from studio.records.dataset import Role
from studio.records.image import Kind, Verdict
from studio.records.job import JobState
from studio.records.version import VersionState
from tests.studio.conftest import World, present


def test_originals_are_always_in_and_only_approved_pictures_join(world: World) -> None:
    """A dataset is every usable source plus the drawn pictures that a human approved."""
    good = world.picture(Kind.ENRICHED, 1, state=Verdict.GOOD)
    synthetic = world.picture(Kind.SYNTHETIC, 2, state=Verdict.GOOD)
    world.picture(Kind.ENRICHED, 3)
    world.picture(Kind.SYNTHETIC, 4, state=Verdict.REJECT)
    world.picture(Kind.CARD, 5, state=Verdict.GOOD)
    rejected = world.sources[0]
    world.store.update_image(rejected, state=Verdict.REJECT)

    images = [entry.image for entry in train.dataset(world.desk)]

    assert images == [*world.sources[1:], good, synthetic]


def test_a_phase_learns_from_its_framing_and_keeps_its_anchors(world: World) -> None:
    """The head's phase leaves bodies out; the body's has every original, and of the drawn only bodies."""
    head, body, *_ = world.sources
    for image, framing in zip(world.sources, ("head", "full body", "bust", "full body"), strict=True):
        world.store.update_image(image, tags={"framing": framing})
    drawn = {
        framing: world.picture(Kind.SYNTHETIC, n, state=Verdict.GOOD, tags={"framing": framing})
        for n, framing in enumerate(("head", "full body"))
    }

    first, second = ({entry.image for entry in train.dataset(world.desk, phase)} for phase in ("head", "body"))

    assert head in first and body not in first
    assert first & set(drawn.values()) == {drawn["head"]}
    assert second == {*world.sources, drawn["full body"]}
    with pytest.raises(BadInput, match="no phase"):
        train.dataset(world.desk, "feet")


def test_no_more_scenes_teach_than_there_are_originals(world: World) -> None:
    """The starred first, then the likest, what was never scored last; all or none only where a human asks for it."""
    likeness = [0.2, 0.9, None, 0.5, 0.8, 0.7]
    drawn = [
        world.picture(Kind.SYNTHETIC, n, state=Verdict.GOOD, star=n == 0, scores={"old": 1.0 - n / 10, "new": value})
        for n, value in enumerate(likeness)
    ]
    edit = world.picture(Kind.ENRICHED, 1, state=Verdict.GOOD)
    taught = {scenes: [entry.image for entry in train.dataset(world.desk, scenes=scenes)] for scenes in train.SCENES}

    assert taught["best"] == [*world.sources, edit, drawn[0], drawn[1], drawn[4], drawn[5]]
    assert taught["all"] == [*world.sources, edit, *drawn]
    assert taught["none"] == [*world.sources, edit]
    with pytest.raises(BadInput, match="no choice of scenes worst"):
        train.dataset(world.desk, scenes="worst")


def test_what_is_left_out_is_told_before_the_card_is_taken(world: World) -> None:
    """The pre-flight says how many of the approved scenes teach; where all do, nothing needs to be said."""
    for n in range(6):
        world.picture(Kind.SYNTHETIC, n, state=Verdict.GOOD)

    best, every = (train.preflight(world.desk, scenes=scenes) for scenes in ("best", "all"))

    assert ("the best 4 of 6 approved scenes teach", True) in [(check.label, check.ok) for check in best.checks]
    assert not any("scenes teach" in check.label for check in every.checks)
    assert (len(best.entries), len(every.entries)) == (8, 10)


def test_a_scene_without_its_file_counts_as_missing_only_where_it_would_teach(world: World) -> None:
    """It is not one of the scenes that are spared, and where no scene is to teach it is not said to be left out."""
    drawn = [world.picture(Kind.SYNTHETIC, n, state=Verdict.GOOD) for n in range(6)]
    world.store.path(drawn[0]).unlink()
    told = {
        scenes: {check.label: check.hint for check in train.preflight(world.desk, scenes=scenes).checks}
        for scenes in train.SCENES
    }
    missing = "every picture's file can be read"

    assert "the best 4 of 5 approved scenes teach" in told["best"] and missing in told["best"]
    assert not any("scenes teach" in label for label in told["all"]) and missing in told["all"]
    assert "none of 5 approved scenes teach" in told["none"] and missing not in told["none"]


def test_a_training_goes_on_from_a_version(world: World) -> None:
    """What that version has learned is there from the first step; a version of another model is refused."""
    world.finish(train.submit(world.desk))
    (first,) = world.store.versions.all()

    job = world.finish(train.submit(world.desk, world.train_params(seed=2), start=first.id))

    checkpoints = present(job.artifacts.checkpoints)
    learned = [load_file(world.store.folder / each.adapter)["fake.mean"] for each in checkpoints]
    assert job.title.endswith(", from v1")
    assert np.array_equal(learned[0], load_file(world.store.adapter_path(first.id))["fake.mean"])
    world.store.versions.put(first.replace(model="another"))
    with pytest.raises(BadInput, match="no character LoRA of fake-flux"):
        train.submit(world.desk, start=first.id)


def test_originals_repeat_until_they_are_thirty_percent(world: World) -> None:
    """However many pictures are approved, three of ten that a training sees are the user's own."""
    for index in range(30):
        world.picture(Kind.ENRICHED, index, state=Verdict.GOOD)

    entries = train.dataset(world.desk)
    checked = train.preflight(world.desk, entries=entries)

    assert {entry.repeats for entry in entries if entry.kind == "source"} == {4}
    assert 0.3 <= checked.real_share < 0.4
    assert len(entries) == 34


def test_a_missing_caption_is_named_before_the_card_is_taken(world: World) -> None:
    """Preflight names it with its remedy, and submit refuses."""
    world.store.update_image(world.sources[0], caption="")

    checked = train.preflight(world.desk)

    assert not checked.ok
    assert [(check.ok, "Curate" in check.hint) for check in checked.checks if "has a caption" in check.label] == [
        (False, True)
    ]
    with pytest.raises(BadInput, match="1 of 4 pictures have no caption"):
        train.submit(world.desk)


def test_preflight_tells_memory_and_time(world: World) -> None:
    """A run that fits says so with its numbers; its time is known once a run was measured."""
    before = train.preflight(world.desk)
    world.finish(train.submit(world.desk))
    after = train.preflight(world.desk)

    assert (before.ok, before.fit.ok, before.seconds) == (True, True, 0)
    assert after.seconds >= 0


def test_a_model_that_is_not_here_fails_the_preflight_with_its_remedy(world: World) -> None:
    """Missing weights are a check that fails, not an error in the page."""
    checked = train.preflight(world.desk, model="far-away")

    assert not checked.ok
    assert "not on this machine" in checked.fit.words


def test_a_run_becomes_the_first_version(world: World) -> None:
    """The first version is v1, adopted, with its dataset, checkpoints and figures."""
    job = world.finish(train.submit(world.desk))

    (version,) = world.store.versions.all()
    assert job.state is JobState.DONE
    assert job.artifacts.version == version.id
    assert (version.name, version.role, version.state) == ("v1", Role.CHARACTER, VersionState.ADOPTED)
    assert world.store.adapter_path(version.id).is_file()
    assert [checkpoint.step for checkpoint in version.checkpoints] == [5, 10, 15, 20]
    assert version.metrics.steps == 20
    assert version.metrics.real_share == 1.0
    assert len(world.store.datasets.get(version.dataset).entries) == 4


def test_the_same_key_leaves_the_first_training_as_it_is(world: World) -> None:
    """Submitted again with other parameters, it is answered as it was: nothing is stored, nothing is checked."""
    job = world.finish(train.submit(world.desk, world.train_params(steps=3), key="k"))
    file = world.store.run_dir(job.id) / runfile.RUN
    file.unlink()
    frozen = len(world.store.datasets)
    world.picture(Kind.SOURCE, 9, caption="")

    assert train.submit(world.desk, world.train_params(steps=4, seed=2), key="k") == job

    assert (file.exists(), len(world.store.datasets)) == (False, frozen)


def test_later_versions_are_candidates_of_the_adopted_one(world: World) -> None:
    """v2 waits for the user to adopt it, and knows its parent."""
    world.finish(train.submit(world.desk))
    world.finish(train.submit(world.desk, world.train_params(seed=1)))

    first, second = world.store.versions.all()

    assert (second.name, second.state, second.parent) == ("v2", VersionState.CANDIDATE, first.id)


def test_progress_reads_the_curve_and_the_samples(world: World) -> None:
    """Each step is in the curve once, smoothed, and each preview is a picture in the store."""
    job = world.finish(train.submit(world.desk))

    seen = runs.progress(world.studio, job.id)

    assert [point.step for point in seen.points] == list(range(1, 21))
    assert seen.points[0].smooth == pytest.approx(seen.points[0].loss)
    assert seen.points[-1].smooth < seen.points[0].smooth
    assert {sample.step for sample in seen.samples} == {10, 20}
    assert all(world.store.images.get(sample.image).kind is Kind.PREVIEW for sample in seen.samples)
    assert runs.losses(world.studio, job.id)[-1] == (20, seen.points[-1].smooth)


def test_a_cancel_keeps_the_checkpoint_and_resume_goes_on(world: World) -> None:
    """A stopped run makes no version; resumed, it ends with each step done once and one version."""
    job = world.cancel_at(train.submit(world.desk), step=7)
    assert job.state is JobState.CANCELLED
    assert world.store.versions.all() == []

    done = world.finish(world.studio.jobs.resume(job.id))

    assert done.state is JobState.DONE
    assert [version.name for version in world.store.versions.all()] == ["v1"]
    assert len(runs.progress(world.studio, job.id).points) == 20


def test_stop_and_keep_makes_a_version_of_the_last_checkpoint(world: World) -> None:
    """What a cancelled run has learned can be kept, once."""
    job = world.cancel_at(train.submit(world.desk), step=7)

    kept = runs.keep(world.studio, job.id)

    assert kept is not None
    assert kept.metrics.steps == kept.checkpoints[-1].step == 6
    assert runs.keep(world.studio, job.id) == world.store.versions.get(kept.id)


def test_nothing_learned_is_nothing_to_keep(world: World) -> None:
    """Keeping a run without a checkpoint says what to do."""
    job = world.cancel_at(train.submit(world.desk), step=1)

    with pytest.raises(BadInput, match="no checkpoint"):
        runs.keep(world.studio, job.id)


def test_a_version_is_exported_under_its_name(world: World) -> None:
    """Our own form is a copy of the adapter, named after character and version."""
    world.finish(train.submit(world.desk))
    (version,) = world.store.versions.all()

    path = runs.export(world.desk, version.id)

    assert path.name == "ohwx-character-v1-diffusers.safetensors"
    assert path.read_bytes() == world.store.adapter_path(version.id).read_bytes()


def test_a_character_without_pictures_cannot_be_trained(world: World) -> None:
    """The refusal says where pictures come from."""
    empty = world.studio.library.create("Nobody", generator="fake-flux", editor="fake-edit", scorer="fake-identity")

    with pytest.raises(BadInput, match="no pictures") as error:
        train.submit(world.studio.desk(empty.id))
    assert "Curate" in error.value.hint


def test_without_intervals_only_the_end_is_kept_and_shown(world: World) -> None:
    """0 for both: one checkpoint and one row of samples, at the last step."""
    job = world.finish(train.submit(world.desk, world.train_params(save_every=0, sample_every=0)))

    seen = runs.progress(world.studio, job.id)
    assert [each.step for each in seen.checkpoints] == [20]
    assert {sample.step for sample in seen.samples} == {20}
