"""What both trainings share: frozen entries as files, shares, the curve, checkpoints on the disk."""

import pytest

from engines.api import TrainItem
from engines.errors import BadInput
from studio.flywheel import run_folder, runs, train
from studio.nouns import Role


def _entry(image: str, caption: str = "ohwx person", **more: object) -> dict:
    return {"image": image, "caption": caption, "kind": "source", "references": [], **more}


def test_an_entry_that_counts_thrice_is_there_thrice(world) -> None:
    """Repeats become items, and references become files."""
    one, two = world.sources[:2]
    frozen = world.store.freeze(Role.CHARACTER, [_entry(one, repeats=3), _entry(two, references=[one])])

    items = run_folder.train_items(world.store, frozen)

    assert [item.image for item in items] == [world.store.path(one)] * 3 + [world.store.path(two)]
    assert items[-1].references == (world.store.path(one),)


def test_an_entry_without_words_is_refused(world) -> None:
    """The picture and the remedy are named."""
    frozen = world.store.freeze(Role.CHARACTER, [_entry(world.sources[0], caption=" ")])

    with pytest.raises(BadInput, match=world.sources[0]):
        run_folder.train_items(world.store, frozen)


def test_the_real_share_counts_repeats(world) -> None:
    """What a training sees counts, here and in the frozen dataset."""
    entries = [_entry("a", repeats=3), _entry("b") | {"kind": "synthetic"}]

    assert runs.frozen_share(entries) == world.store.freeze(Role.CHARACTER, entries).real_share == 0.75
    assert runs.frozen_share([]) == 0.0


def test_a_checkpoint_that_nobody_told_of_is_found(world) -> None:
    """A crash between a checkpoint and its record loses nothing; a draft is no checkpoint."""
    job = world.cancel_at(train.submit(world.studio, world.id), step=7)
    home = world.store.run_dir(job.id) / "checkpoints"
    for name in ("step-000009", ".step-000011.tmp"):
        (home / name).mkdir()
        (home / name / "adapter.safetensors").write_bytes(b"weights")

    kept = runs.keep(world.studio, job.id)

    assert kept is not None
    assert [checkpoint["step"] for checkpoint in kept.checkpoints] == [5, 6, 9]
    assert world.store.adapter_path(kept.id).read_bytes() == b"weights"


def test_keeping_a_running_training_stops_it_with_a_version(world) -> None:
    """Asked while it runs, the version is there when the job has ended; resumed, it goes on to its end."""
    job = train.submit(world.studio, world.id)
    world.watch(lambda step: step == 7 and runs.keep(world.studio, job.id))

    world.finish_cancelled(job)

    (kept,) = world.store.versions.all()
    assert kept.metrics["steps"] == 6
    world.finish(world.studio.jobs.resume(job.id))
    assert [version.metrics["steps"] for version in world.store.versions.all()] == [6, 20]


def test_another_size_has_a_peak_of_its_own(world) -> None:
    """Memory that was measured at one resolution says nothing of another."""
    small, large = world.train_params(resolution=64), world.train_params(resolution=128)

    assert runs.peak_key("m", small) != runs.peak_key("m", large)


def test_more_references_have_a_peak_of_their_own(world) -> None:
    """The item with the most decides; one reference is what there always was."""
    params, picture = world.train_params(), world.store.path(world.sources[0])
    none, one, two = (TrainItem(picture, "words", (picture,) * count) for count in (0, 1, 2))

    keys = [runs.peak_key("m", params, items) for items in ((), (none,), (one,), (none, one, two))]
    assert len(set(keys[:3])) == 1 and keys[3] != keys[0]
