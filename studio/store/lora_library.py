"""The LoRAs of the editors' library: their records, and a folder for each in the data folder."""

from __future__ import annotations

import hashlib
import re
import shutil
import unicodedata
from collections.abc import Collection
from pathlib import Path

from engines.api.errors import NotFound
from engines.catalogue.editor_loras import EDITOR_LORAS
from engines.catalogue.embedded_loras import EMBEDDED_LORAS
from engines.catalogue.lora_bases import EditorLora, LoraFacts
from studio.records.lora import NOTHING, LibraryLora
from studio.store.durable import disk_error
from studio.store.library import Library

OWN = "own-"  # the beginning of the ids of files of one's own
_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")


class LoraLibrary:
    """Gives access to the LoRAs of a data folder, and to the rows of the catalogue."""

    def __init__(self, library: Library, rows: Collection[EditorLora] = (*EDITOR_LORAS, *EMBEDDED_LORAS)) -> None:
        self._library = library
        self._records = library.records(LibraryLora)
        self.rows = {row.name: row for row in rows}

    def folder(self, lora: str) -> Path:
        """Returns the path of a LoRA's folder, whether it exists or not. Raises: NotFound for an impossible id."""
        if not _ID.fullmatch(lora):
            raise NotFound(f"There is no LoRA {lora!r:.80} in the library.", "Choose one of lora_library.")
        return self._library.root / "loras" / lora

    def all(self) -> list[LibraryLora]:
        """Returns the records of all LoRAs that were added, noted on or starred, in that order."""
        return self._records.all()

    def get(self, lora: str) -> LibraryLora:
        """Returns a LoRA's record; for a row of the catalogue without one, a new record that is not stored yet.

        What is said of a file that ships with the program comes from its row, whatever was stored. Raises: NotFound for
        an id that neither the library nor the catalogue has.
        """
        found, row = self._records.peek(lora), self.rows.get(lora)
        if found is None:
            if row is None:
                raise NotFound(
                    f"There is no LoRA {lora!r:.80} in the library.", "Choose one of lora_library, or add it."
                )
            found = LibraryLora(
                id=row.name,
                name=row.name,
                repo=row.repo,
                task=row.task,
                words=row.words,
                strength=row.strength,
                licence=row.licence,
            )
        if row is None or row.shipped is None:
            return found
        return found.replace(file=row.shipped.file.name, sha256=row.shipped.sha256, facts=row.shipped.facts)

    def put(self, record: LibraryLora) -> LibraryLora:
        """Stores a LoRA's record and returns it. Raises: UserError when writing fails."""
        return self._records.put(record)

    def path(self, lora: str) -> Path:
        """Returns the path of a LoRA's file. Raises: NotFound where it is not on this machine."""
        record = self.get(lora)
        if not self.is_here(record):
            raise NotFound(
                f"The LoRA {record.name} is not on this machine.", "Download or add it, or take it out of the plan."
            )
        return self._file(record)

    def is_here(self, record: LibraryLora) -> bool:
        """Returns whether a LoRA's file is on this machine."""
        return bool(record.file) and self._file(record).is_file()

    def _file(self, record: LibraryLora) -> Path:
        """Returns the path of a record's file, which ships with the program or lies in the LoRA's own folder."""
        row = self.rows.get(record.id)
        return row.shipped.file if row is not None and row.shipped else self.folder(record.id) / record.file

    def keep(self, record: LibraryLora, path: Path, facts: LoraFacts) -> LibraryLora:
        """Stores a LoRA's record with the name and the hash of its file, and with what the file says of itself."""
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        return self.put(record.replace(file=path.name, sha256=sha256, facts=facts))

    def same(self, sha256: str) -> LibraryLora | None:
        """Returns the LoRA on this machine whose file has the given hash; None without one."""
        return next((each for each in self.all() if each.sha256 == sha256 and self.is_here(each)), None)

    def free_id(self, name: str, taken: Collection[str] = ()) -> str:
        """Returns an id for a file of one's own, made from its name, that no record and no folder has.

        `taken` are further ids that may not be used, such as those of LoRAs that are on their way.
        """
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        stem = OWN + (re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60] or "lora")
        known = {*taken, *(each.id for each in self.all()), *(each.name for each in self.folder(stem).parent.glob("*"))}
        numbered = (f"{stem}-{number}" for number in range(2, len(known) + 3))
        return next(each for each in (stem, *numbered) if each not in known)

    def remove(self, lora: str) -> None:
        """Deletes a LoRA's file for good; notes and a star on a row of the catalogue stay.

        After a crash in the middle, the record no longer names a file. Raises: UserError when deleting fails.
        """
        record, folder = self._records.peek(lora), self.folder(lora)
        if record is not None and lora in self.rows and (record.notes or record.star):
            self._records.put(record.replace(**NOTHING))
        else:
            self._records.remove(lora)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise disk_error(folder, error) from error
