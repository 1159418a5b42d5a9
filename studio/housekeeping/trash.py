"""Empties the trash: finds which pictures can be deleted, which must stay, and why (docs/decisions/0017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from studio.records.image import ImageRecord
from studio.store import Store

TRAINED, LESSON, CELL, MADE_FROM = (
    "a training learned from it",
    "it is part of an example for the editor",
    "it is part of a model card or a comparison",
    "a picture that stays was made from it",
)


@dataclass(frozen=True)
class Emptying:
    """Holds what emptying a character's trash would do.

    `ids` are the ids of the pictures to delete, which frees `nbytes`. `stay` are the pictures in the trash that must be
    kept, as (id, reason). `shown` are the ids of pictures, deleted now or before, whose thumbnails are kept for the
    page: a picture that remains was made from them, or is most similar to them.
    """

    ids: tuple[str, ...]
    nbytes: int
    stay: tuple[tuple[str, str], ...]
    shown: tuple[str, ...]


def look(store: Store) -> Emptying:
    """Returns what emptying a character's trash would do; it deletes nothing."""
    thrown = store.select(trashed=True)
    needed = dict(_needed(store))
    going = [image for image in thrown if image.id not in needed]
    gone = {image.id for image in going} | {image.id for image in store.images.all() if image.emptied}
    ancestors = {
        ancestor for image in store.images.all() if image.id not in gone for ancestor in _ancestors(store, image)
    }
    return Emptying(
        ids=tuple(image.id for image in going),
        nbytes=sum(size(store.folder / image.file) for image in going),
        stay=tuple((image.id, needed[image.id]) for image in thrown if image.id in needed),
        shown=tuple(sorted(ancestors & gone)),
    )


def empty(store: Store) -> int:
    """Deletes the pictures in a character's trash that nothing else needs, and returns the bytes freed.

    Raises: UserError when deleting fails; calling it again deletes the rest.
    """
    found = look(store)
    return store.discard(found.ids, found.shown)


def _needed(store: Store) -> Iterator[tuple[str, str]]:
    """Yields the pictures whose whole file must stay, each with the reason; the last reason of a picture counts."""
    for image in store.images.all():
        if not image.trashed and image.parent:
            yield image.parent, MADE_FROM
    for card in store.cards.all():
        yield from ((cell.image, CELL) for cell in card.cells)
    for version in store.versions.all():
        for pair in version.metrics.edits.pairs if version.metrics.edits else ():
            yield from ((each, CELL) for each in (pair.before, pair.after))
    for triplet in store.triplets.all():
        yield from ((each, LESSON) for each in (triplet.source, triplet.result, triplet.wrong) if each)
    for dataset in store.datasets.all():
        for entry in dataset.entries:
            yield from ((each, TRAINED) for each in (entry.image, *entry.references))


def _ancestors(store: Store, image: ImageRecord) -> Iterator[str]:
    """Yields the pictures that a picture was made from, and the original that it is most like."""
    if image.nearest:
        yield image.nearest
    seen = {image.id}
    while image.parent and image.parent not in seen:
        yield image.parent
        seen.add(image.parent)
        parent = store.images.peek(image.parent)
        if parent is None:
            return
        image = parent


def size(path: Path) -> int:
    """Returns the size of a file in bytes; 0 where it is missing."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
