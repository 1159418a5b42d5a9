"""Emptying the trash: what goes, what stays, and what is left after a crash."""

from __future__ import annotations

import pytest
from PIL import Image

from engines.api.errors import UserError
from studio.housekeeping import disk, trash
from studio.records.dataset import Entry, Role
from studio.records.image import Kind
from tests.studio.conftest import World


def lonely(world: World, n: int = 50) -> str:
    """A picture in the trash that nothing needs."""
    made = world.picture(Kind.SYNTHETIC, n)
    world.store.trash([made])
    return made


def test_what_nothing_needs_goes_for_good(world: World) -> None:
    """File and thumbnail are gone, the record stays, and it can be neither seen in the trash nor restored."""
    made = lonely(world)
    file, thumb = world.store.path(made), world.store.thumb(made)
    assert trash.look(world.store).ids == (made,)

    freed = disk.empty_trash(world.desk)

    assert freed >= trash.size(file) and not file.exists() and not thumb.exists()
    assert world.store.images.get(made).emptied
    assert world.store.select(trashed=True) == []
    world.store.restore([made])
    assert world.store.undo_trash() == []
    assert world.store.images.get(made).trashed


def test_what_something_needs_stays_in_the_trash(world: World) -> None:
    """The source of a picture that stays, what a training learned from, and the examples of the editor."""
    (edit,) = world.review(approved=1)
    learned = world.sources[2]
    world.store.freeze(Role.CHARACTER, [Entry(image=learned, caption="x", kind=Kind.SOURCE)])
    world.store.trash([world.sources[0], learned])

    found = trash.look(world.store)

    assert dict(found.stay) == {world.sources[0]: trash.LESSON, learned: trash.TRAINED}
    assert disk.empty_trash(world.desk) == 0
    assert all(world.store.trouble(image) is None for image in (world.sources[0], learned, edit))
    world.store.restore([learned])
    assert not world.store.images.get(learned).trashed


def test_an_ancestor_keeps_its_thumbnail(world: World) -> None:
    """The file goes, and its thumbnail still shows where the pictures that stay come from."""
    middle = world.picture(Kind.ENRICHED, 7, parent=world.sources[0])
    last = world.picture(Kind.ENRICHED, 8, parent=middle)
    world.store.trash([world.sources[0], middle])

    found = trash.look(world.store)
    assert dict(found.stay) == {middle: trash.MADE_FROM}
    assert found.ids == found.shown == (world.sources[0],)
    disk.empty_trash(world.desk)

    assert world.store.images.get(last).parent == middle
    assert world.store.thumb(world.sources[0]).is_file()
    assert world.store.trouble(world.sources[0]) is not None


def test_a_crash_leaves_files_that_the_next_call_deletes(world: World) -> None:
    """The record is marked first: a file that is left after that is no picture any more."""
    made = lonely(world)
    file = world.store.path(made)
    world.store._trash.empty([made])  # and the power fails
    world.reopen()
    assert file.exists() and world.store.select(trashed=True) == []
    assert disk.empty_trash(world.desk) > 0
    assert not file.exists()


def test_a_picture_that_comes_again_is_new(world: World) -> None:
    """The same bytes, imported after the trash was emptied of them, are a picture with its file."""
    made = lonely(world)
    data = world.store.path(made).read_bytes()
    disk.empty_trash(world.desk)

    again = world.store.add_image(data, kind=Kind.SOURCE)

    assert again.id == made and not again.trashed and not again.emptied
    assert world.store.open_image(made).size == (64, 64)


def test_masks_that_others_use_stay(world: World) -> None:
    """A mask goes with the last picture that has it."""
    other, made = world.sources[1], world.picture(Kind.SYNTHETIC, 60)
    mask = Image.new("L", (64, 64), 200)
    file = world.store.set_mask(made, mask).mask
    world.store.set_mask(other, mask)
    world.store.trash([made])
    disk.empty_trash(world.desk)
    assert world.store.file(file).is_file()
    world.store.trash([other])
    disk.empty_trash(world.desk)
    with pytest.raises(UserError):
        world.store.file(file)
