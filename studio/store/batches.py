"""Changes of the captions, tags and stars of many pictures: each is one change, and the last ones can be undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final
from uuid import uuid4

from engines.api.errors import NotFound
from studio.records.image import ImageRecord
from studio.records.review import Batch, Noted, Notes
from studio.store.collection import Collection, changed
from studio.store.tables import Database

KEPT: Final = 20  # the changes that can be undone, the newest first
_NAMES: Final = tuple(each.name for each in fields(Notes))
_TOGETHER: Final = (("caption", "caption_by"), ("tags",), ("star",))  # fields that an undo restores or leaves together


class Batches:
    """Changes captions, tags and stars of many pictures of a character at once, and undoes such changes.

    Every method is one transaction.
    """

    def __init__(self, database: Database, images: Collection[ImageRecord]) -> None:
        self._database = database
        self._images = images
        self._batches = Collection(database, "batches", Batch)

    def change(self, words: str, changes: Mapping[str, Mapping[str, Any]]) -> list[ImageRecord]:
        """Changes captions, tags or stars of pictures, and returns the new records of the pictures that really changed.

        `changes` maps a picture's id to its new values by field name. `words` describes the change to the user who may
        undo it. Raises: NotFound for an unknown picture, BadInput for an unknown field or for control characters.
        """
        with self._database.transaction():
            before = {image: self._images.get(image) for image in changes}
            after = {image: changed(before[image], values) for image, values in changes.items()}
            differ = [image for image in changes if _notes(before[image]) != _notes(after[image])]
            if not differ:
                return []
            noted = tuple(Noted(image=i, before=_notes(before[i]), after=_notes(after[i])) for i in differ)
            self._batches.put(Batch(id=uuid4().hex, words=words, pictures=noted))
            for old in self._batches.all()[:-KEPT]:
                self._batches.remove(old.id)
            return [self._images.put(after[image]) for image in differ]

    def last(self) -> Batch | None:
        """Returns the change that `undo` would undo; None where there is no change to undo."""
        return self._batches.last(lambda batch: True)

    def undo(self) -> tuple[Batch, list[str]]:
        """Undoes the last change of many pictures; returns that change, and the ids of the restored pictures.

        What was changed again later stays: caption, tags and star of a picture are each restored only where they still
        have the value that this change set. Raises: NotFound where there is no change to undo.
        """
        with self._database.transaction():
            last = self.last()
            if last is None:
                raise NotFound("There is no change of many pictures to undo.", "Change some first.")
            self._batches.remove(last.id)
            restored = []
            for each in last.pictures:
                image = self._images.peek(each.image)
                if image is None:
                    continue
                former = image
                for names in _TOGETHER:
                    if all(getattr(image, name) == getattr(each.after, name) for name in names):
                        former = former.replace(**{name: getattr(each.before, name) for name in names})
                if former != image:
                    restored.append(self._images.put(former).id)
            return last, restored


def _notes(image: ImageRecord) -> Notes:
    return Notes(**{name: getattr(image, name) for name in _NAMES})
