"""A job's run as a folder: there from the start, and taken back when it was trained elsewhere."""

from __future__ import annotations

import shlex
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from PIL import Image

from engines.api.errors import UserError
from engines.api.protocols import EditItem, SampleDrawn, StepDone
from engines.fake import FakeTrainer
from engines.training import runfile
from engines.training.runfile import RUN, RunFile
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.flywheel.train import run_folder, runs
from studio.records.image import Kind, Verdict
from studio.records.job import Job, JobState
from tests.studio.conftest import World, present


class _Lease:
    """Nothing is needed of a card by a fake."""

    device = "cpu"

    def stage(self, name: str) -> AbstractContextManager[dict[str, object]]:
        return nullcontext({})


def _train_elsewhere(world: World, job: Job) -> RunFile:
    """What `engines.training.run` does, with the fake's loop."""
    file = runfile.read(world.store.run_dir(job.id))
    trainer = FakeTrainer(world.studio.registry.spec(file.model), Path())
    for event in trainer.train(file.run, _Lease(), lambda *_: None):
        if isinstance(event, StepDone | SampleDrawn):
            runfile.append_event(file.run.folder, event)
    return file


def test_a_queued_training_has_its_folder(world: World) -> None:
    """Before anything runs, all that it needs is in there, the model's place too."""
    job = train.submit(world.desk, world.train_params(seed=7))

    file = runfile.read(world.store.run_dir(job.id))

    assert (file.model, file.run.params.seed, file.run.trigger) == ("fake-flux", 7, "ohwx")
    assert [item.image for item in file.run.items] == [world.store.path(image) for image in world.sources]
    assert file.weights == world.studio.registry.folder(world.studio.registry.spec("fake-flux"))
    assert len(file.run.previews) == 4


def test_an_editors_previews_are_in_its_folder(world: World) -> None:
    """The pictures that held-out edits start from are kept to the pixel."""
    world.review(approved=12)
    job = refine.submit(world.desk)

    previews = runfile.read(world.store.run_dir(job.id)).run.previews

    assert len(previews) == min(2, len(job.payload["held_out"])) > 0
    source = world.store.open_image(job.payload["held_out"][0]["source"]).convert("RGB")
    assert isinstance(previews[0], EditItem) and previews[0].source.tobytes() == source.tobytes()


def test_trained_elsewhere_is_a_version_here(world: World) -> None:
    """A cancelled job whose folder was trained by command: a resume makes its version, curve and samples, no step."""
    job = world.studio.jobs.cancel(train.submit(world.desk).id)
    _train_elsewhere(world, job)
    world.watch(lambda step: pytest.fail("it was trained again"))

    done = world.finish(world.studio.jobs.resume(job.id))

    (version,) = world.store.versions.all()
    seen = runs.progress(world.studio, job.id)
    assert (done.step, present(done.artifacts.version), version.metrics.steps) == (20, version.id, 20)
    assert [point.step for point in seen.points] == list(range(1, 21))
    assert {sample.step for sample in seen.samples} == {10, 20}
    assert all(world.store.images.get(sample.image).kind is Kind.PREVIEW for sample in seen.samples)
    assert version.metrics.loss == pytest.approx(seen.points[-1].smooth, abs=1e-4)


def test_last_previews_that_a_kill_cut_short_are_drawn_yet(world: World) -> None:
    """All steps are done and one of four pictures is drawn: a resume trains nothing, and the version has all four."""
    job = world.studio.jobs.cancel(train.submit(world.desk).id)
    file = runfile.read(world.store.run_dir(job.id))
    trainer = FakeTrainer(world.studio.registry.spec(file.model), Path())
    for event in trainer.train(file.run, _Lease(), lambda *_: None):
        if isinstance(event, StepDone | SampleDrawn):
            runfile.append_event(file.run.folder, event)
        if isinstance(event, SampleDrawn) and event.step == 20:
            break
    world.watch(lambda step: pytest.fail("it was trained again"))

    world.finish(world.studio.jobs.resume(job.id))

    samples = runs.progress(world.studio, job.id).samples
    assert sorted(sample.index for sample in samples if sample.step == 20) == [0, 1, 2, 3]
    assert [version.metrics.steps for version in world.store.versions.all()] == [20]


def test_begun_here_and_ended_elsewhere_counts_each_step_once(world: World) -> None:
    """Steps 1 to 6 here, the rest by command; one curve, one version."""
    job = world.cancel_at(train.submit(world.desk), step=7)
    _train_elsewhere(world, job)

    world.finish(world.studio.jobs.resume(job.id))

    assert [point.step for point in runs.progress(world.studio, job.id).points] == list(range(1, 21))
    assert [version.metrics.steps for version in world.store.versions.all()] == [20]


def test_the_command_names_the_folder(world: World) -> None:
    """One line for one process, one for all cards; none for a job whose folder was never written."""
    job = train.submit(world.desk)

    alone, together = run_folder.commands(world.studio, job)

    folder = str(world.store.run_dir(job.id))
    assert shlex.split(alone)[-4:] == [sys.executable, "-m", "engines.training.run", folder]
    assert shlex.split(together)[-5:] == ["-m", "accelerate.commands.launch", "-m", "engines.training.run", folder]
    (world.store.run_dir(job.id) / RUN).unlink()
    assert run_folder.commands(world.studio, job) == ()


def test_a_picture_that_is_gone_is_told_at_once(world: World) -> None:
    """What could only fail later is refused before a job is queued."""
    entries = train.dataset(world.desk)

    with pytest.raises(UserError, match="nowhere"):
        train.submit(world.desk, entries=[*entries, entries[0].replace(image="nowhere")])

    assert [job for job in world.studio.jobs.list() if job.state is JobState.QUEUED] == []


def test_runs_of_a_character_share_what_they_encoded(world: World) -> None:
    """Both name the same cache, which lies beside their folders."""
    world.picture(Kind.ENRICHED, 1, state=Verdict.GOOD)
    jobs = [train.submit(world.desk, world.train_params(seed=seed)) for seed in (1, 2)]

    caches = {runfile.read(world.store.run_dir(job.id)).run.cache for job in jobs}

    assert caches == {world.store.cache_dir()}


def test_a_masked_picture_is_trained_with_its_mask(world: World) -> None:
    """The dataset names the mask as it was, the run's folder has it; where outside counts as much as inside, not."""
    one = world.sources[0]
    mask = world.store.set_mask(one, Image.linear_gradient("L").resize((64, 64))).mask

    used, plain = (
        runfile.read(world.store.run_dir(train.submit(world.desk, world.train_params(**knobs)).id)).run
        for knobs in ({}, {"mask_outside": 1.0})
    )

    masks = {item.image: item.mask for item in used.items}
    assert masks.pop(world.store.path(one)) == world.store.file(mask).resolve()
    assert set(masks.values()) == {None}
    assert {item.mask for item in plain.items} == {None}


def test_a_cropped_picture_is_trained_cropped(world: World) -> None:
    """The dataset names the crop as it was and the run's folder has it; another crop is another dataset."""
    one = world.sources[0]
    plain = train.submit(world.desk).payload["dataset"]
    world.store.set_crop(one, (0.25, 0, 1, 0.5))
    job = train.submit(world.desk)
    world.store.set_crop(one, (0, 0, 1, 0.5))

    crops = {item.image: item.crop for item in runfile.read(world.store.run_dir(job.id)).run.items}

    assert crops.pop(world.store.path(one)) == (0.25, 0, 1, 0.5)
    assert set(crops.values()) == {()}
    assert len({plain, job.payload["dataset"], train.submit(world.desk).payload["dataset"]}) == 3
    world.finish(job)


def test_a_mask_that_is_gone_is_told_at_once(world: World) -> None:
    """The file is named before a job is queued."""
    record = world.store.set_mask(world.sources[0], Image.new("L", (64, 64), 255))
    world.store.file(record.mask).unlink()

    with pytest.raises(UserError, match="masks"):
        train.submit(world.desk)


def test_an_editor_learns_what_counts_of_a_result(world: World) -> None:
    """The mask and the crop of an approved edit go with it; its source's own crop says nothing of the edit."""
    world.review(approved=12)
    learned = refine.lessons(world.desk).learned[0].result
    mask = world.store.set_mask(learned, Image.new("L", (64, 64), 255)).mask
    world.store.set_crop(learned, (0, 0, 1, 0.5))
    world.store.set_crop(world.sources[0], (0, 0, 0.5, 1))

    dataset = refine.dataset(world.desk)
    shown = {entry.image: (entry.mask, entry.crop) for entry in dataset}

    assert shown.pop(learned) == (mask, (0, 0, 1, 0.5))
    assert set(shown.values()) == {("", ())}
