"""The crops of pictures, which select the part that is trained; every change can be undone, and files do not change."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from engines.api.crops import Crop, checked
from engines.api.errors import NotFound
from studio.records.image import CUT, ImageRecord
from studio.records.review import Recrop
from studio.store.collection import Collection
from studio.store.tables import Database


class Crops:
    """Sets and undoes the crops of one character's pictures; every method is one transaction."""

    def __init__(self, database: Database, images: Collection[ImageRecord]) -> None:
        self._database = database
        self._images = images
        self._changes = Collection(database, "crops", Recrop)

    def set(self, image_id: str, crop: Sequence[float]) -> ImageRecord:
        """Sets the part of a picture that is trained, and returns the picture's record.

        `crop` is left, top, right and bottom as fractions, 0…1; empty for the whole picture. Raises: NotFound; BadInput
        for a crop that is not within the picture or is too small.
        """
        with self._database.transaction():
            image = self._images.get(image_id)
            kept = checked(crop, (image.width, image.height), image.name or f"the picture {image_id}")
            if kept == image.crop:
                return image
            advice = image.advice.get(CUT, "")
            self._changes.put(Recrop(id=uuid4().hex, image=image_id, before=image.crop, advice=advice))
            return self._images.put(_recropped(image, kept))

    def undo(self, image_id: str) -> ImageRecord:
        """Undoes the last change of a picture's crop and returns its record. Raises: NotFound without a change."""
        with self._database.transaction():
            image = self._images.get(image_id)
            last = self._changes.last(lambda change: change.image == image_id)
            if last is None:
                raise NotFound(f"The crop of {image.name or image_id} was not changed.", "Set one first.")
            self._changes.remove(last.id)
            return self._images.put(_recropped(image, last.before, last.advice))


def _recropped(image: ImageRecord, crop: Crop, advice: str = "") -> ImageRecord:
    """Returns a record with a new crop, and with the advice on its new shape in place of that on the former one."""
    others = {name: words for name, words in image.advice.items() if name != CUT}
    return image.replace(crop=crop, advice={**others, CUT: advice} if advice else others)
