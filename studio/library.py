"""The data folder: who there is, what is queued, what was set and measured. One process holds it."""

from __future__ import annotations

import re
import unicodedata
from contextlib import ExitStack
from pathlib import Path
from threading import RLock
from typing import Any, Self, TypeVar, cast

from engines.errors import BadInput, UserError
from studio.character_store import Store
from studio.collection import Collection, changed
from studio.durable import make_folder
from studio.lock import FolderLock
from studio.nouns import Character, Json, Record
from studio.tables import COMPACT_BYTES, Database, JournalTable

R = TypeVar("R", bound=Record)


class Library:
    """The data folder: characters, the job queue, settings and measured peaks; held by one process.

    Raises: Busy, BadInput, UserError for a folder that cannot be read or written to.
    """

    def __init__(self, root: Path, *, compact_bytes: int = COMPACT_BYTES) -> None:
        self.root = make_folder(root)
        self._compact_bytes = compact_bytes
        self._lock = FolderLock(root)
        with ExitStack() as on_failure:
            on_failure.callback(self._lock.release)
            try:
                self._database = Database(root, compact_bytes=compact_bytes)
            except OSError as error:
                raise UserError(
                    f"{root} could not be read: {error.strerror or error}.",
                    "Check that its files belong to you and that the disk is there, then start again.",
                ) from error
            on_failure.pop_all()
        self._characters = Collection(self._database, "characters", Character)
        self._collections: dict[type[Record], Collection[Any]] = {}
        self._stores: dict[str, Store] = {}
        self._opening = RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every store and let another process in."""
        with self._opening:
            for store in self._stores.values():
                store.close()
            self._database.close()
            self._lock.release()

    def characters(self) -> list[Character]:
        """Everyone, oldest first."""
        return self._characters.all()

    def create(self, name: str, trigger: str = "ohwx", subject: str = "person", **fields: Any) -> Character:
        """A new character; its id is its name made fit for a folder. Raises: BadInput."""
        if not name.strip():
            raise BadInput("A character needs a name.", "Type one.")
        with self._database.transaction():
            character = Character(id=self._free_id(name), name=name.strip(), trigger=trigger, subject=subject, **fields)
            return self._characters.put(character)

    def update(self, character_id: str, **changes: Any) -> Character:
        """Change what is known of a character. Raises: NotFound, BadInput."""
        with self._database.transaction():
            return self._characters.put(changed(self._characters.get(character_id), changes))

    def open(self, character_id: str) -> Store:
        """A character's store, the same object every time. Raises: NotFound, BadInput."""
        with self._opening:
            if character_id not in self._stores:
                self._characters.get(character_id)
                self._stores[character_id] = Store(
                    self.root / "characters" / character_id,
                    lambda: self._characters.get(character_id),
                    compact_bytes=self._compact_bytes,
                )
            return self._stores[character_id]

    def records(self, record_class: type[R]) -> Collection[R]:
        """The library's own records of one class, such as the jobs."""
        with self._opening:
            if record_class not in self._collections:
                name = f"{record_class.__name__.lower()}s"
                self._collections[record_class] = Collection(self._database, name, record_class)
            return self._collections[record_class]

    def peaks(self) -> dict[str, int]:
        """Measured peaks of the card, bytes by key."""
        return {key: int(value) for key, value in self._values("peaks").items()}

    def set_peak(self, key: str, peak: int) -> None:
        """Remember a measured peak in bytes."""
        self._set_value("peaks", key, peak)

    def settings(self) -> Json:
        """What the user has set."""
        return self._values("settings")

    def set_setting(self, key: str, value: Any) -> None:
        """Remember a setting; its value is anything that JSON can hold."""
        self._set_value("settings", key, value)

    def _values(self, table: str) -> Json:
        return {str(doc.doc_id): doc["value"] for doc in self._database.table(table).all()}

    def _set_value(self, table: str, key: str, value: Any) -> None:
        cast(JournalTable, self._database.table(table)).put(key, {"value": value})

    def _free_id(self, name: str) -> str:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or "character"
        taken = {character.id for character in self.characters()}
        numbered = (f"{stem}-{number}" for number in range(2, len(taken) + 3))
        return next(free for free in (stem, *numbered) if free not in taken)
