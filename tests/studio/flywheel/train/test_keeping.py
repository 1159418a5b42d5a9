"""What a person does with versions after their training: notes, the trash, and back."""

from __future__ import annotations

import pytest

from engines.api.errors import BadInput, Busy, NotFound
from engines.api.params import GenerateParams
from studio.flywheel import generate
from studio.flywheel.next_step import TRAIN, next_step
from studio.flywheel.train import character as train
from studio.flywheel.train import checkpoints, keeping
from studio.records.dataset import Role
from studio.records.version import Version
from tests.studio.conftest import World, present


def two_versions(world: World) -> list[Version]:
    """Returns a version in use and a later candidate."""
    for seed in (0, 1):
        world.finish(train.submit(world.desk, world.train_params(steps=4, seed=seed)))
    return world.store.kept_versions(Role.CHARACTER)


def test_notes_are_kept_with_the_version(world: World) -> None:
    """Stripped, replaced as a whole, and written only where they differ."""
    one, _ = two_versions(world)
    assert keeping.note(world.desk, one.id, "  hair is right \n").notes == "hair is right"
    revision = world.store.revision
    keeping.note(world.desk, one.id, "hair is right")
    assert world.store.revision == revision
    assert keeping.note(world.desk, one.id, "").notes == ""
    with pytest.raises(BadInput, match="notes holds a character"):
        keeping.note(world.desk, one.id, "a\0b")
    with pytest.raises(BadInput, match="text"):
        keeping.note(world.desk, one.id, "a" * 10_001)
    with pytest.raises(NotFound):
        keeping.note(world.desk, "nobody", "x")


def test_what_is_in_the_trash_is_neither_offered_nor_used(world: World) -> None:
    """The rail does not ask about it, nothing is drawn or trained from it, and restored it is all back."""
    one, two = two_versions(world)
    assert not next_step(world.desk).stops[TRAIN.at].done
    keeping.trash(world.desk, two.id)
    assert next_step(world.desk).stops[TRAIN.at].done
    items = [GenerateParams(prompt="ohwx person")]
    with pytest.raises(BadInput, match="v2 is in the trash"):
        generate.submit(world.desk, items, two.id)
    with pytest.raises(BadInput, match="v2 is in the trash"):
        train.submit(world.desk, world.train_params(steps=4), start=two.id)
    keeping.restore(world.desk, two.id)
    assert generate.submit(world.desk, items, two.id)
    assert one.id == present(world.store.adopted(Role.CHARACTER)).id


def test_a_version_that_a_job_needs_is_not_thrown_away(world: World) -> None:
    """While it runs the job is named; when it has ended the version may go."""
    _, two = two_versions(world)
    refused: list[str] = []

    def throw(_: int) -> None:
        with pytest.raises(Busy) as error:
            keeping.trash(world.desk, two.id)
        refused.append(str(error.value))

    world.watch(throw)
    world.finish(generate.submit(world.desk, [GenerateParams(prompt="ohwx person")], two.id))
    assert "needed by a job: Draw 1 picture with" in refused[0]
    assert keeping.trash(world.desk, two.id).trashed


def test_choosing_its_checkpoint_again_brings_a_version_back(world: World) -> None:
    """The same checkpoint makes no second version of what lies in the trash."""
    _, two = two_versions(world)
    keeping.trash(world.desk, two.id)
    assert checkpoints.choices(world.studio, two.job)[-1].version == ""
    again = checkpoints.keep_at(world.studio, two.job, two.checkpoints[-1].step)
    assert (again.id, again.trashed) == (two.id, "")
