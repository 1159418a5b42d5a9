"""The trash: each move into it can be undone, until it is emptied; records stay even then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import uuid4

from studio.records.base import now
from studio.records.image import ImageRecord
from studio.records.review import Throw, Triplet
from studio.store.collection import Collection
from studio.store.tables import Database
from studio.store.verdicts import Verdicts


class Trash:
    """Moves one character's pictures into and out of the trash; every method is one transaction."""

    def __init__(
        self,
        database: Database,
        images: Collection[ImageRecord],
        triplets: Collection[Triplet],
        verdicts: Verdicts,
    ) -> None:
        self._database = database
        self._images = images
        self._triplets = triplets
        self._verdicts = verdicts
        self._throws = Collection(database, "throws", Throw)

    def throw(self, ids: Iterable[str]) -> None:
        """Moves the pictures with these ids into the trash; one call of `undo` takes them all out again.

        Pictures that are already in the trash are not part of the move. Raises: NotFound for an unknown id.
        """
        with self._database.transaction():
            images = [image for image in map(self._images.get, dict.fromkeys(ids)) if not image.trashed]
            if not images:
                return
            triplets = [t for t in (self._triplets.peek(image.id) for image in images) if t is not None]
            throw = Throw(
                id=uuid4().hex,
                images=tuple(image.id for image in images),
                triplets=tuple(triplets),
            )
            self._throws.put(throw)
            for image in images:
                self._verdicts.follow(self._images.put(image.replace(trashed=throw.created)))

    def restore(self, ids: Iterable[str]) -> list[str]:
        """Takes pictures out of the trash and returns the ids of those taken out.

        Their training examples (triplets) are restored too. Pictures whose file has been deleted stay in the trash.
        Raises: NotFound.
        """
        with self._database.transaction():
            found = map(self._images.get, dict.fromkeys(ids))
            images = [image for image in found if image.trashed and not image.emptied]
            triplets = {each.id: each for throw in self._throws.all() for each in throw.triplets}
            for image in images:
                self._verdicts.follow(self._images.put(image.replace(trashed="")))
                if image.id in triplets and image.id in self._triplets:
                    self._triplets.put(triplets[image.id])
            return [image.id for image in images]

    def empty(self, ids: Iterable[str]) -> None:
        """Marks the records of pictures in the trash as emptied, so that they cannot be restored; deletes no file.

        Pictures outside the trash are not marked. Raises: NotFound.
        """
        with self._database.transaction():
            for image in map(self._images.get, dict.fromkeys(ids)):
                if image.trashed and not image.emptied:
                    self._images.put(image.replace(emptied=now()))

    def last(self) -> tuple[str, list[str]]:
        """Returns the last move into the trash: its time as ISO 8601, and the ids of its pictures still in the trash.

        It is the move that `undo` undoes. Returns ("", []) where there is none.
        """
        for throw in reversed(self._throws.all()):
            known = [self._images.peek(image) for image in throw.images]
            if still := [image.id for image in known if image is not None and image.trashed and not image.emptied]:
                return throw.created, still
        return "", []

    def undo(self) -> Sequence[str]:
        """Undoes the last move that still has pictures in the trash, and returns the ids of the restored pictures.

        Returns an empty list where there is no such move.
        """
        with self._database.transaction():
            while (last := self._throws.last(lambda throw: True)) is not None:
                self._throws.remove(last.id)
                known = [image_id for image_id in last.images if image_id in self._images]
                restored = self.restore(known)
                if restored:
                    return restored
            return []
