"""Crops: kept on the record, taken back one by one, the picture's file never touched."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from engines.api.errors import BadInput, NotFound
from studio.records.image import CUT, Kind
from studio.store import Store
from studio.store.library import Library

LEFT = (0.0, 0.0, 0.5, 1.0)


def jpeg(number: int) -> bytes:
    """A file of 16 × 16 pixels, brighter from top to bottom, each number another."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((16, 16)).point(lambda value: value // number).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_crop_is_kept_beside_its_picture(library: Library, store: Store) -> None:
    """It survives a restart, shows in the thumbnail of what counts, and leaves the picture's bytes alone."""
    picture = store.add_image(jpeg(1), kind=Kind.SOURCE)
    whole = store.open_image(picture.id)
    store.set_crop(picture.id, LEFT)
    assert store.path(picture.id).read_bytes() == jpeg(1)
    assert store.open_counted(picture.id).tobytes() == whole.crop((0, 0, 8, 16)).tobytes()
    with Image.open(store.counted_thumb(picture.id)) as shown:
        assert shown.size == (8, 16)
    folder, character = library.root, store.character.id
    library.close()
    again = Library(folder).open(character)  # as after a restart
    assert again.images.get(picture.id).crop == LEFT
    assert again.undo_crop(picture.id).crop == ()


def test_every_change_of_a_crop_is_taken_back(store: Store) -> None:
    """Set, changed and cleared come back in turn, each picture on its own; the same again is no change."""
    one, other = (store.add_image(jpeg(n), kind=Kind.SOURCE).id for n in (1, 2))
    top = (0.0, 0.0, 1.0, 0.5)
    store.set_crop(one, LEFT)
    store.set_crop(one, top)
    store.set_crop(one, top)
    store.set_crop(other, LEFT)
    store.set_crop(one, ())

    assert [store.undo_crop(one).crop for _ in range(3)] == [top, LEFT, ()]
    assert store.images.get(other).crop == LEFT
    with pytest.raises(NotFound, match="not changed"):
        store.undo_crop(one)


def test_a_crop_that_cannot_be_is_refused(store: Store) -> None:
    """The picture is named, and its crop stays."""
    picture = store.add_image(jpeg(1), kind=Kind.SOURCE, name="anna.jpg")
    store.set_crop(picture.id, LEFT)
    with pytest.raises(BadInput, match=r"anna\.jpg"):
        store.set_crop(picture.id, (0.9, 0, 0.1, 1))
    assert store.images.get(picture.id).crop == LEFT


def test_the_thumbnail_follows_crop_and_mask(store: Store) -> None:
    """Each pair of them has its own."""
    picture = store.add_image(jpeg(1), kind=Kind.SOURCE).id
    store.set_mask(picture, Image.linear_gradient("L").resize((16, 16)))
    seen = [store.counted_thumb(store.set_crop(picture, crop).id) for crop in (LEFT, (0.0, 0.0, 1.0, 0.5), ())]
    assert len(set(seen)) == 3


def test_a_crop_that_is_taken_back_has_its_advice_again(store: Store) -> None:
    """The advice on a shape goes with the shape and comes back with it; other advice stays."""
    cut = {CUT: "training cuts 40 % away", "blur": "not sharp"}
    picture = store.add_image(jpeg(1), kind=Kind.SOURCE, advice=cut)
    assert store.set_crop(picture.id, LEFT).advice == {"blur": "not sharp"}
    assert store.undo_crop(picture.id).advice == cut
