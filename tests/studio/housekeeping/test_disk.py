"""Disk use by kind, and what can be freed without a loss."""

from __future__ import annotations

import pytest

from engines.api.errors import Busy, NotFound
from studio.flywheel.train import character as train
from studio.flywheel.train import checkpoints, runs
from studio.housekeeping import disk
from studio.housekeeping.models import folder_bytes
from studio.records.image import Kind
from tests.studio.conftest import World


def trained(world: World) -> str:
    """The id of a training with several checkpoints."""
    params = world.train_params(steps=6, save_every=1, sample_every=6)
    return world.finish(train.submit(world.desk, params, model="fake-flux")).id


def test_every_byte_is_of_one_kind(world: World) -> None:
    """The kinds add up to the folder, and the trash counts its pictures apart."""
    thrown = world.picture(Kind.SYNTHETIC, 3)
    before = disk.use(world.desk).kinds[disk.PICTURES]
    world.store.trash([thrown])
    found = disk.use(world.desk)
    size = world.store.path(thrown).stat().st_size
    assert found.total == folder_bytes(world.store.folder)
    assert (found.kinds[disk.TRASH], found.kinds[disk.PICTURES]) == (size, before - size)


def test_old_checkpoints_go_by_a_rule(world: World) -> None:
    """The last, the proposed and those made into versions stay; the run can still be trained longer."""
    job = trained(world)
    steps = [each.step for each in runs.ended_checkpoints(world.studio, world.studio.jobs.get(job))]
    assert len(steps) > 3
    checkpoints.keep_at(world.studio, job, steps[1])
    proposed = {each.step for each in checkpoints.choices(world.studio, job) if each.proposed}

    old = {each.step for each in disk.prunable(world.desk)}
    assert old == set(steps) - {steps[1], steps[-1]} - proposed
    told = disk.use(world.desk)
    assert disk.prune(world.desk) == told.prunable > 0

    left = [each.step for each in runs.ended_checkpoints(world.studio, world.studio.jobs.get(job))]
    assert set(left) == set(steps) - old
    assert {each.step for each in checkpoints.choices(world.studio, job)} == set(left)
    assert disk.prune(world.desk) == 0
    world.finish(runs.extend(world.studio, job, steps[-1] + 2))


def test_nothing_is_freed_while_a_job_of_the_character_waits(world: World) -> None:
    """Each kind of cleaning says what to wait for."""
    train.submit(world.desk, world.train_params(steps=2), model="fake-flux")
    for clean in (disk.prune, disk.clear_cache, disk.clear_exports, disk.empty_trash):
        with pytest.raises(Busy, match="is queued"):
            clean(world.desk)


def test_caches_and_exports_go_and_come_again(world: World) -> None:
    """A folder that is not there is no error."""
    (world.store.cache_dir() / "a.safetensors").write_bytes(b"x" * 10)
    (world.store.run_dir("exports") / "b.zip").write_bytes(b"x" * 20)
    assert (disk.clear_cache(world.desk), disk.clear_exports(world.desk)) == (10, 20)
    assert (disk.clear_cache(world.desk), disk.clear_exports(world.desk)) == (0, 0)
    assert world.store.cache_dir().is_dir()


def test_a_character_in_the_trash_is_measured_and_deleted_for_good(world: World) -> None:
    """Its bytes are told before it goes; the bytes freed are those."""
    gone = world.studio.library.create("Bea").id
    world.studio.store(gone)
    (world.studio.library.folder(gone) / "big.bin").write_bytes(bytes(5000))
    assert disk.thrown(world.studio) == []
    world.studio.library.trash(gone)
    ((who, size),) = disk.thrown(world.studio)
    assert (who.name, size >= 5000) == ("Bea", True)
    assert disk.discard(world.studio, gone) == size
    assert disk.thrown(world.studio) == []
    with pytest.raises(NotFound):
        disk.discard(world.studio, gone)
