"""The trash: nothing is deleted, and each throw can be taken back."""

from __future__ import annotations

import pytest
from PIL import Image

from engines.api.errors import NotFound
from studio.records.image import Kind, Verdict
from studio.store import Store


def add(store: Store, shade: int, kind: Kind = Kind.SOURCE, parent: str = "") -> str:
    """A small picture."""
    return store.add_image(Image.new("RGB", (8, 8), (shade, 0, 0)), kind=kind, parent=parent).id


def thrown(store: Store) -> list[str]:
    """What is in the trash."""
    return [image.id for image in store.select(trashed=True)]


def test_thrown_pictures_keep_their_files(store: Store) -> None:
    """A throw is one commit; the files stay, and a restore brings the records back."""
    ids = [add(store, n) for n in range(3)]
    revision = store.revision
    store.trash(ids[:2])
    assert store.revision == revision + 1
    assert thrown(store) == ids[:2]
    assert all(store.path(image_id).is_file() for image_id in ids)
    store.restore(ids[:1])
    assert thrown(store) == ids[1:2]


def test_undo_goes_throw_by_throw(store: Store) -> None:
    """Each undo takes back the last throw of which something is still in the trash."""
    ids = [add(store, n) for n in range(5)]
    store.trash(ids[:2])
    store.trash([*ids[1:3], ids[2]])
    store.trash(ids[3:])
    store.restore(ids[3:])
    assert store.undo_trash() == ids[2:3]
    assert store.undo_trash() == ids[:2]
    assert store.undo_trash() == []
    assert thrown(store) == []


def test_unknown_picture_throws_nothing(store: Store) -> None:
    """One wrong id among many leaves all where they are."""
    image = add(store, 1)
    with pytest.raises(NotFound):
        store.trash([image, "missing"])
    assert thrown(store) == []


def test_triplet_goes_and_comes_with_its_result(store: Store) -> None:
    """A trashed result teaches nothing; restored, it teaches the same as before, mended words and all."""
    source = add(store, 1)
    result = add(store, 2, Kind.ENRICHED, parent=source)
    store.decide(result, Verdict.GOOD)
    mended = store.triplets.put(store.triplets.get(result).replace(task="pose"))
    store.trash([result])
    assert store.triplets.all() == []
    store.restore([result])
    assert store.triplets.all() == [mended]


def test_throwing_twice_is_harmless(store: Store) -> None:
    """What is in the trash already stays as it is, and makes no second throw."""
    image = add(store, 1)
    store.trash([image])
    revision = store.revision
    store.trash([image])
    store.trash([])
    assert store.revision == revision
    assert store.undo_trash() == [image]
