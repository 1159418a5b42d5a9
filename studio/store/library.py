"""The library: the data folder with its characters, jobs, settings and measured peaks. One process holds it."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import RLock
from typing import Any, Final, Self, TypeVar, cast

from engines.api.errors import BadInput, NotFound, UserError
from studio.records.base import Record, now
from studio.records.character import Character
from studio.records.job import Job
from studio.records.words import demand_text, mended
from studio.store.character_store import Store
from studio.store.collection import Collection, changed
from studio.store.durable import disk_error, make_folder, remove, sync_folder
from studio.store.journal import DATABASE_FILES
from studio.store.lock import FolderLock
from studio.store.tables import COMPACT_BYTES, Database, JournalTable

R = TypeVar("R", bound=Record)
V = TypeVar("V", str, bool, float, list)  # type: ignore[type-arg]  # a list of any JSON values
Setting = str | bool | float | None | list[str]
IMPORTING = ".importing"  # a file in the folder of a character whose record is not stored yet
DRAFT = ".import-"  # the start of the names of folders that are being imported
_GONE = ".gone-"  # the start of the names of folders that are being deleted for good
_STORES = "stores"  # the table of the characters whose store was opened before

_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
)  # Windows reserves these names for devices, so no folder can have them

_NEEDED: Final = {
    "name": ("a name", "Type one."),
    "trigger": ("a trigger word", "Type one; the usual one is ohwx."),
    "subject": ("a subject, the word for what it is", "Type one, such as person."),
}


class Library:
    """Holds the data folder: characters, the job queue, settings and measured GPU memory peaks.

    Only one process can open the folder. Raises: Busy when another process has it open, BadInput for a damaged
    database, UserError for a folder that cannot be read or written to.
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
            on_failure.callback(self._database.close)
            self._characters = Collection(self._database, "characters", Character)
            self._collections: dict[type[Record], Collection[Any]] = {}
            self._stores: dict[str, Store] = {}
            self._opening = RLock()
            for gone in self._thrown():  # a crash may have come between the record and the folder
                with suppress(UserError):
                    _move(self.folder(gone.id), self.trash_folder(gone.id))
            on_failure.pop_all()
        for left in self.root.glob(f"trash/{_GONE}*"):
            shutil.rmtree(left, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every store and releases the data folder."""
        with self._opening:
            for store in self._stores.values():
                store.close()
            self._database.close()
            self._lock.release()

    def characters(self) -> list[Character]:
        """Returns all characters that are not in the trash, oldest first."""
        return [each for each in self._characters.all() if not each.trashed]

    def trashed(self) -> list[Character]:
        """Returns the characters in the trash whose files are still there, the newest deletion first."""
        here = [each for each in self._thrown() if self.trash_folder(each.id).is_dir()]
        return sorted(here, key=lambda each: each.trashed, reverse=True)

    def trash(self, character_id: str) -> Character:
        """Moves a character's folder into the trash of the data folder and returns the character's new record.

        Nothing changes where the character is in the trash already. After a crash in the middle, the next start of the
        studio completes the move. Raises: NotFound, also when the character's files are on a disk that is not mounted;
        UserError when writing fails, and the character then stays where it was.
        """
        with self._opening:
            known = self._characters.get(character_id)
            if known.trashed:
                return known
            folder = self.folder(character_id)
            if character_id in self._values(_STORES) and not folder.is_dir():
                raise NotFound(
                    f"The files of {known.name} are not in {folder}, so they cannot be moved into the trash.",
                    "Mount the disk that holds them, then delete the character.",
                )
            make_folder(folder)  # of a character that was never opened
            if (opened := self._stores.pop(character_id, None)) is not None:
                opened.close()
            gone = self._characters.put(known.replace(trashed=now()))
            try:
                _move(folder, self.trash_folder(character_id))
            except UserError:
                self._characters.put(known)
                raise
            return gone

    def restore(self, character_id: str) -> Character:
        """Takes a character out of the trash and returns its record; does nothing where it is not in the trash.

        After a crash in the middle, the next start of the studio puts the character back into the trash. Raises:
        NotFound for an unknown character and for one whose files are gone; UserError when writing fails.
        """
        with self._opening:
            known = self._characters.get(character_id)
            if not known.trashed:
                return known
            if not self.trash_folder(character_id).is_dir():
                raise NotFound(
                    f"The files of {known.name} are no longer in {self.trash_folder(character_id)}.",
                    "The trash was emptied. Put the folder back from a backup, then restore the character.",
                )
            _move(self.trash_folder(character_id), self.folder(character_id))
            return self._characters.put(known.replace(trashed=""))

    def discard(self, character_id: str) -> None:
        """Deletes all files of a character in the trash for good; its record stays, so that its id is not reused.

        The folder is first renamed, so that after a crash it is in the trash completely or not at all; the next start
        of the studio deletes the renamed folder. Raises: NotFound for a character that is not in the trash, UserError
        when deleting fails.
        """
        with self._opening:
            known, folder = self._characters.get(character_id), self.trash_folder(character_id)
            if not known.trashed or not folder.is_dir():
                raise NotFound(f"{known.name} is not in the trash.", "Reload the page to see what is in it.")
            gone = folder.with_name(f"{_GONE}{character_id}")
            shutil.rmtree(gone, ignore_errors=True)
            _move(folder, gone)
        try:
            shutil.rmtree(gone)
        except OSError as error:
            raise disk_error(gone, error) from error

    def _thrown(self) -> list[Character]:
        return [each for each in self._characters.all() if each.trashed]

    def trash_folder(self, character_id: str) -> Path:
        """Returns the path of the folder that holds a character's files while it is in the trash; creates nothing."""
        return self.root / "trash" / character_id

    def create(self, name: str, trigger: str = "ohwx", subject: str = "person", **fields: Any) -> Character:
        """Creates a character and returns its record, with an id that is made from the name and is a valid folder name.

        `trigger` is the word that stands for the character in prompts, `subject` the plain word for what it is.
        `fields` are other fields of Character. Raises: BadInput without a name or a trigger word.
        """
        who: dict[str, Any] = {**named({"name": name, "trigger": trigger, "subject": subject})}
        plain = unicodedata.normalize("NFKD", who["name"]).encode("ascii", "ignore").decode().lower()
        stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or "character"
        with self._database.transaction():
            return self._characters.put(Character(id=self._free_id(stem), **who, **fields))

    def take_in(self, character: Character, folder: Path, jobs: Sequence[Job] = ()) -> Character:
        """Moves a folder with a character's complete files into the library, and returns the new character's record.

        `jobs` are stored as jobs of the new character. Where the id or the name of `character` is taken, a number is
        added to it. A crash leaves a marked folder, which `sweep_imports` deletes. Raises: UserError when writing
        fails.
        """
        place = folder
        try:
            with self._opening, self._database.transaction():
                (folder / IMPORTING).touch()
                sync_folder(folder)
                free = self._free_id(character.id)
                place = folder.rename(self.folder(free))
                sync_folder(place.parent)
                names = {each.name for each in self.characters()}
                numbered = (f"{character.name} {number}" for number in range(2, len(names) + 3))
                name = next(each for each in (character.name, *numbered) if each not in names)
                self.records(Job).put_many(job.replace(character=free) for job in jobs)
                made = self._characters.put(character.replace(id=free, name=name))
        except (OSError, UserError) as error:
            if place != folder:
                place.rename(folder)
            raise (disk_error(folder, error) if isinstance(error, OSError) else error) from error
        with suppress(UserError):  # the character is there; the mark says nothing of one that is recorded
            remove(place / IMPORTING)
        return made

    def sweep_imports(self) -> None:
        """Deletes what crashed imports of characters have left: draft folders, and folders without a stored record."""
        known = {character.id for character in self._characters.all()}
        for folder in (self.root / "characters").glob("*"):
            if folder.name.startswith(DRAFT) or ((folder / IMPORTING).exists() and folder.name not in known):
                shutil.rmtree(folder, ignore_errors=True)

    def _free_id(self, stem: str) -> str:
        """Returns the id, or the id with a number, that no character and no folder has."""
        folders = {each.name for each in (self.root / "characters").glob("*")}
        taken = {character.id for character in self._characters.all()} | folders | _DEVICES
        numbered = (f"{stem}-{number}" for number in range(2, len(taken) + 3))
        return next(each for each in (stem, *numbered) if each not in taken)

    def update(self, character_id: str, **changes: Any) -> Character:
        """Changes fields of the record of a character that is not in the trash, and returns the new record.

        Raises: NotFound for an unknown character and for one in the trash; BadInput for an unknown field or bad value.
        """
        with self._database.transaction():
            return self._characters.put(changed(self._here(character_id), {**changes, **named(changes)}))

    def _here(self, character_id: str) -> Character:
        """Returns a character that is not in the trash. Raises: NotFound."""
        found = self._characters.get(character_id)
        if found.trashed:
            raise NotFound(f"The character {found.name} is in the trash.", "Restore it first.")
        return found

    def folder(self, character_id: str) -> Path:
        """Returns the path of a character's folder, whether or not it exists."""
        return self.root / "characters" / character_id

    def open(self, character_id: str) -> Store:
        """Returns the store of a character, which is opened at the first call; later calls return the same object.

        Raises: BadInput for a damaged store; NotFound for an unknown character, for one in the trash, and for one whose
        files have vanished, for example because their disk is not mounted.
        """
        with self._opening:
            if character_id not in self._stores:
                character = self._here(character_id)
                folder, known = self.folder(character_id), self._values(_STORES)
                if character_id in known and not any((folder / name).exists() for name in DATABASE_FILES):
                    raise NotFound(
                        f"The files of {character.name} are not in {folder}, though they were before.",
                        "Mount the disk that holds them, or put the folder back from a backup. Nothing was written.",
                    )
                self._stores[character_id] = Store(
                    folder, lambda: self._characters.get(character_id), compact_bytes=self._compact_bytes
                )
                if character_id not in known:
                    with suppress(UserError):  # on a full disk; it is recorded at the next start
                        self._set_value(_STORES, character_id, True)
            return self._stores[character_id]

    def trouble(self, character_id: str) -> UserError | None:
        """Returns the error that opening a character's store raises; None when the store can be opened."""
        try:
            self.open(character_id)
        except UserError as error:
            return error
        return None

    def sound(self) -> list[Character]:
        """Returns the characters whose store can be opened, oldest first."""
        return [character for character in self.characters() if self.trouble(character.id) is None]

    def records(self, record_class: type[R]) -> Collection[R]:
        """Returns the collection of the library's own records of one class, such as all jobs of all characters."""
        with self._opening:
            if record_class not in self._collections:
                name = f"{record_class.__name__.lower()}s"
                self._collections[record_class] = Collection(self._database, name, record_class)
            return self._collections[record_class]

    def peaks(self) -> dict[str, int]:
        """Returns the measured peaks of GPU memory in bytes, by the keys under which `set_peak` stored them."""
        return {key: int(value) for key, value in self._values("peaks").items()}

    def set_peak(self, key: str, peak: int) -> None:
        """Stores a measured peak of GPU memory in bytes; `key` names the stage of work that was measured."""
        self._set_value("peaks", key, peak)

    def setting(self, key: str, kind: type[V]) -> V | None:
        """Returns the setting stored under a key; None where there is none, or its value is not of the type `kind`.

        A whole number counts as a float.
        """
        value = self._values("settings").get(key)
        if kind is float and type(value) is int:
            value = float(value)
        return value if isinstance(value, kind) else None

    def set_setting(self, key: str, value: Setting) -> None:
        """Stores a setting under a key; storing None has the effect of removing the setting."""
        self._set_value("settings", key, value)

    def _values(self, table: str) -> Mapping[str, Any]:
        return {str(doc.doc_id): mended(doc["value"]) for doc in self._database.table(table).all()}

    def _set_value(self, table: str, key: str, value: Any) -> None:
        demand_text(f"The value of {key}", [key, value])
        cast(JournalTable, self._database.table(table)).put(key, {"value": value})


def _move(source: Path, target: Path) -> None:
    """Moves a folder durably; does nothing where it is not there. Raises: UserError where writing fails."""
    if source.is_dir():
        make_folder(target.parent)
        try:
            source.rename(target)
            for folder in (target.parent, source.parent):
                sync_folder(folder)
        except OSError as error:
            raise disk_error(source, error) from error


def named(given: Mapping[str, Any]) -> dict[str, str]:
    """Returns the fields `name`, `trigger` and `subject` of a character from `given`, checked and stripped.

    A field that `given` lacks is left out; an empty subject becomes `person`. Raises: BadInput for an empty name or
    trigger word, text of several lines, and control characters.
    """
    values = {field: str(given[field]).strip() for field in _NEEDED if field in given}
    if values.get("subject") == "":
        values["subject"] = "person"
    for field, value in values.items():
        demand_text(f"The {field}", value)
        if not any(unicodedata.category(letter)[0] not in "ZC" for letter in value):
            what, hint = _NEEDED[field]
            raise BadInput(f"A character needs {what}.", hint)
        if len(value.splitlines()) > 1:
            raise BadInput(f"The {field} has more than one line.", "Type it on one line.")
    return values
