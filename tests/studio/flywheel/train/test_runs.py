"""What both trainings share: frozen entries as files, shares, the curve, checkpoints on the disk."""

from __future__ import annotations

from typing import Any

import pytest

from engines.api.errors import BadInput, Busy, UserError
from engines.api.params import TrainParams
from engines.api.protocols import EditItem, TrainItem
from engines.training import runfile
from studio.flywheel.curate import captions
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.flywheel.train import checkpoints as choosing
from studio.flywheel.train import run_folder, runs
from studio.records.dataset import Entry, Role, real_share
from studio.records.image import Kind
from studio.records.job import Job, JobState
from studio.records.version import VersionState
from studio.workplace.context import Context
from tests.studio.conftest import World, present


def _entry(image: str, caption: str = "ohwx person", kind: Kind = Kind.SOURCE, **more: Any) -> Entry:
    return Entry(image=image, caption=caption, kind=kind, **more)


def test_an_entry_that_counts_thrice_is_there_thrice(world: World) -> None:
    """Repeats become items, and references become files."""
    one, two = world.sources[:2]
    frozen = world.store.freeze(Role.CHARACTER, [_entry(one, repeats=3), _entry(two, references=(one,))])

    items = run_folder.train_items(world.store, frozen, TrainParams())

    assert [item.image for item in items] == [world.store.path(one)] * 3 + [world.store.path(two)]
    assert items[-1].references == (world.store.path(one),)


def test_an_entry_without_words_is_refused(world: World) -> None:
    """The picture and the remedy are named."""
    frozen = world.store.freeze(Role.CHARACTER, [_entry(world.sources[0], caption=" ")])

    with pytest.raises(BadInput, match=world.sources[0]):
        run_folder.train_items(world.store, frozen, TrainParams())


def test_the_real_share_counts_repeats(world: World) -> None:
    """What a training sees counts, here and in the frozen dataset."""
    entries = [_entry("a", repeats=3), _entry("b", kind=Kind.SYNTHETIC)]

    assert real_share(entries) == world.store.freeze(Role.CHARACTER, entries).real_share == 0.75
    assert real_share([]) == 0.0


def test_a_checkpoint_that_nobody_told_of_is_found(world: World) -> None:
    """A crash between a checkpoint and its record loses nothing; a draft is no checkpoint."""
    job = world.cancel_at(train.submit(world.desk), step=7)
    home = world.store.run_dir(job.id) / "checkpoints"
    for name in ("step-000009", ".step-000011.tmp"):
        (home / name).mkdir()
        (home / name / "adapter.safetensors").write_bytes(b"weights")

    kept = runs.keep(world.studio, job.id)

    assert kept is not None
    assert [checkpoint.step for checkpoint in kept.checkpoints] == [5, 6, 9]
    assert world.store.adapter_path(kept.id).read_bytes() == b"weights"


def test_keeping_a_running_training_stops_it_with_a_version(world: World) -> None:
    """Asked while it runs, the version is there when the job has ended; resumed, it goes on to its end."""
    job = train.submit(world.desk)
    world.watch(lambda step: step == 7 and runs.keep(world.studio, job.id))

    world.finish_cancelled(job)

    (kept,) = world.store.versions.all()
    assert kept.metrics.steps == 6
    world.finish(world.studio.jobs.resume(job.id))
    assert [version.metrics.steps for version in world.store.versions.all()] == [6, 20]


def test_keeping_counts_from_the_first_moment_of_a_run(world: World) -> None:
    """Pressed before a resumed training has prepared anything, it makes the version; an earlier run's wish does not."""
    job = world.cancel_at(train.submit(world.desk), step=7)

    def keeps(ctx: Context) -> None:
        runs.keep(world.studio, ctx.job.id)
        train.run(ctx)

    world.reopen(train=keeps)
    world.finish(world.studio.jobs.resume(job.id), JobState.CANCELLED)
    assert [version.metrics.steps for version in world.store.versions.all()] == [6]

    world.reopen()
    world.studio.jobs.resume(job.id)
    world.cancel_at(job, step=9)
    assert [version.metrics.steps for version in world.store.versions.all()] == [6]


def test_a_stopped_training_says_where_it_goes_on(world: World) -> None:
    """The cancelled job's last words are the step it reached and the button that resumes it."""
    job = world.cancel_at(train.submit(world.desk), step=7)

    assert job.message == "stopped at step 6 of 20; “Resume from step 6” takes it up there"


def test_another_size_has_a_peak_of_its_own(world: World) -> None:
    """Memory that was measured at one resolution says nothing of another."""
    small, large = world.train_params(resolution=64), world.train_params(resolution=128)

    assert runs.peak_key("m", small) != runs.peak_key("m", large)


def test_more_references_have_a_peak_of_their_own(world: World) -> None:
    """The item with the most decides; one reference is what there always was."""
    params, picture = world.train_params(), world.store.path(world.sources[0])
    none, one, two = (TrainItem(picture, "words", (picture,) * count) for count in (0, 1, 2))

    keys = [runs.peak_key("m", params, items) for items in ((), (none,), (one,), (none, one, two))]
    assert len(set(keys[:3])) == 1 and keys[3] != keys[0]


def test_a_finished_training_is_extended(world: World) -> None:
    """It goes on from its last checkpoint, no step twice, and what it learned becomes a version beside the first."""
    job = world.finish(train.submit(world.desk))
    done: list[int] = []
    world.watch(done.append)

    queued = runs.extend(world.studio, job.id, 30)
    ended = world.finish(queued)

    first, second = world.store.versions.all()
    assert (done[0], done[-1]) == (21, 30)
    assert (ended.step, ended.total, present(ended.artifacts.version)) == (30, 30, second.id)
    assert (second.name, second.state, second.parent) == ("v2", VersionState.CANDIDATE, first.id)
    assert (second.metrics.steps, second.params["steps"], second.job) == (30, 30, job.id)
    assert [point.step for point in runs.progress(world.studio, job.id).points] == list(range(1, 31))
    assert [choice.step for choice in choosing.choices(world.studio, job.id)] == [5, 10, 15, 20, 25, 30]


def test_a_stopped_training_may_end_sooner_or_later(world: World) -> None:
    """What was asked for changes, not what was done: six steps of twenty become eight, and then no fewer than that."""
    job = world.cancel_at(train.submit(world.desk), step=7)

    world.finish(runs.extend(world.studio, job.id, 8))

    assert [version.metrics.steps for version in world.store.versions.all()] == [8]
    with pytest.raises(BadInput, match="8 steps are done"):
        runs.extend(world.studio, job.id, 8)


def test_what_cannot_be_extended_says_why(world: World) -> None:
    """One that has not ended, one that has learned nothing, one that is no training; none of them is changed."""
    waiting = train.submit(world.desk)
    with pytest.raises(Busy, match="has not ended"):
        runs.extend(world.studio, waiting.id, 40)
    bare = world.cancel_at(waiting, step=1)
    with pytest.raises(BadInput, match="no checkpoint"):
        runs.extend(world.studio, bare.id, 40)
    other = world.finish(captions.submit_caption(world.desk, world.sources[:1], overwrite_human=True))
    with pytest.raises(BadInput, match="no training"):
        runs.extend(world.studio, other.id, 40)

    assert {job.state for job in world.studio.jobs.list()} == {JobState.CANCELLED, JobState.DONE}
    assert world.studio.jobs.get(bare.id).payload["params"]["steps"] == 20


def test_what_is_gone_is_told_before_a_training_is_extended(world: World) -> None:
    """Without one of its pictures it is not the same training: it stays as it ended."""
    job = world.finish(train.submit(world.desk))
    world.store.path(world.sources[0]).unlink()

    with pytest.raises(UserError):
        runs.extend(world.studio, job.id, 30)

    assert world.studio.jobs.get(job.id) == job


def test_the_row_of_an_extended_training_is_whole_at_once(world: World) -> None:
    """A crash after the first write costs nothing: state, steps and total are one row, and the rest follows from it."""
    job = world.finish(train.submit(world.desk))
    file = world.store.run_dir(job.id) / runfile.RUN
    before = file.read_bytes()
    world.studio.jobs.close()
    runs.extend(world.studio, job.id, 30)
    stored = world.studio.library.records(Job).get(job.id)
    assert (stored.state, stored.total, stored.payload["params"]["steps"]) == (JobState.QUEUED, 30, 30)
    assert runfile.read(file.parent).run.params.steps == 30

    file.write_bytes(before)  # as if the studio had been killed before it wrote this
    world.reopen()
    world.finish(world.studio.jobs.get(job.id))

    assert runfile.read(file.parent).run.params.steps == 30
    assert [version.metrics.steps for version in world.store.versions.all()] == [20, 30]


def test_an_extended_training_can_be_repeated_by_its_command(world: World) -> None:
    """Its folder asks for the new steps at once, with the previews it had; a folder from before is written at start."""
    world.review(approved=12)
    job = world.finish(refine.submit(world.desk))
    folder = world.store.run_dir(job.id)
    asked = runfile.read(folder).run.previews
    world.studio.jobs.close()

    runs.extend(world.studio, job.id, 30)

    now = runfile.read(folder).run
    before, after = ([each.params for each in found if isinstance(each, EditItem)] for found in (asked, now.previews))
    assert now.params.steps == 30
    assert after == before != [] and len(after) == len(now.previews)
    (folder / runfile.RUN).unlink()
    run_folder.ask_for(folder, now.params)
    assert not (folder / runfile.RUN).exists()


def test_an_extended_editor_is_measured_anew(world: World) -> None:
    """Its held-out edits are made again with what it has learned since; those of the base are as they were."""
    world.review(approved=40)
    job = world.finish(refine.submit(world.desk))
    before, after = present(job.artifacts.before), present(job.artifacts.after)

    ended = world.finish(runs.extend(world.studio, job.id, 30))

    first, second = world.store.versions.all()
    assert ended.artifacts.before == before and ended.artifacts.after != after
    drawn = {each.id: tuple(pair.after for pair in present(each.metrics.edits).pairs) for each in (first, second)}
    assert drawn == {first.id: after, second.id: ended.artifacts.after}
    assert {world.store.images.get(image).version for image in drawn[second.id]} == {second.id}
