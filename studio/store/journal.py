"""The journal: what makes a commit durable at the cost of one appended line.

A database is two files. `flenwheel.json` is a snapshot, a plain TinyDB file with a table `_meta` that
says which schema it has and up to which commit it reaches. `flenwheel.journal` holds the commits since,
one line each:

    crc32 of what follows, 8 hex digits · space · [sequence, [[table, id, document or null], …]] · newline

Replay skips what the snapshot already holds, so a crash between any two steps of a compaction neither loses
a commit nor applies one twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Any
from zlib import crc32

from engines.api.errors import BadInput, UserError
from studio.store.durable import DISK, Disk, disk_error, make_folder, sync_folder, write_file

Doc = dict[str, Any]
Tables = dict[str, dict[str, Doc]]
Op = tuple[str, str, Doc | None]

DATABASE_FILES = ("flenwheel.json", "flenwheel.journal")
_META = "_meta"


class CorruptLine(ValueError):
    """A line that is not the last one does not match its checksum: not a torn write, but a damaged file."""

    def __init__(self, number: int) -> None:
        super().__init__(f"line {number} does not match its checksum")


def encode(sequence: int, ops: Sequence[Op]) -> bytes:
    """A commit as one line."""
    body = json.dumps([sequence, ops], separators=(",", ":")).encode("ascii")
    return b"%08x %b\n" % (crc32(body), body)


def decode(line: bytes) -> tuple[int, list[Op]] | None:
    """A line (without its newline) as a commit; None when it is not whole."""
    head, _, body = line.partition(b" ")
    if head != b"%08x" % crc32(body):
        return None
    sequence, ops = json.loads(body)
    return sequence, [(table, key, doc) for table, key, doc in ops]


def read_lines(data: bytes) -> tuple[list[tuple[int, list[Op]]], int]:
    """The commits in a journal, and how many of its bytes are sound.

    A last line that is not whole was never acknowledged and is left out. Raises: CorruptLine.
    """
    *whole, rest = data.split(b"\n")
    commits: list[tuple[int, list[Op]]] = []
    sound = 0
    for number, line in enumerate(whole, start=1):
        commit = decode(line)
        if commit is None:
            if number == len(whole) and not rest:
                break
            raise CorruptLine(number)
        commits.append(commit)
        sound += len(line) + 1
    return commits, sound


def apply(tables: Tables, ops: Sequence[Op]) -> None:
    """Do to the tables what a commit says."""
    for table, key, doc in ops:
        if doc is None:
            tables.get(table, {}).pop(key, None)
        else:
            tables.setdefault(table, {})[key] = doc


class Journal:
    """The two files of one database: read once, then only appended to, until a compaction.

    Not thread-safe; its owner holds a lock.
    """

    def __init__(self, folder: Path, *, schema: int, compact_bytes: int, disk: Disk = DISK) -> None:
        self._disk = disk
        self.snapshot_path, self.path = (folder / name for name in DATABASE_FILES)
        self.sequence = 0
        self.size = 0
        self._schema = schema
        self._compact_bytes = compact_bytes
        self._snapshot_bytes = 0
        self._unsound = False
        self._file: FileIO | None = None

    def load(self) -> tuple[Tables, int]:
        """The tables as the last commit left them, and the schema that they have.

        Nothing is written before everything has been read and found sound.
        Raises: BadInput for a damaged file or one of a newer FLENwheel, UserError where the disk refuses.
        """
        make_folder(self.path.parent, self._disk)
        try:
            return self._load()
        except OSError as error:
            self.close()
            raise disk_error(self.path, error) from error

    def _load(self) -> tuple[Tables, int]:
        tables, schema, reached = self._read_snapshot()
        data = self.path.read_bytes() if self.path.exists() else b""
        try:
            commits, sound = read_lines(data)
        except CorruptLine as error:
            raise self._damaged(self.path, str(error)) from error
        for sequence, ops in commits:
            if sequence <= reached:
                continue
            if sequence != reached + 1:
                raise self._damaged(self.path, f"commit {reached + 1} is missing before commit {sequence}")
            apply(tables, ops)
            reached = sequence
        self.sequence, self.size = reached, sound
        self._file = FileIO(self.path, "r+" if self.path.exists() else "w+")
        sync_folder(self.path.parent, self._disk)
        if len(data) > sound:
            self._drop_torn(data[sound:])
        return tables, schema

    def append(self, ops: Sequence[Op]) -> list[Op]:
        """Make a commit durable; answers the operations as a replay would read them.

        Raises: UserError when the disk refuses or the database is closed; the commit then has not happened.
        """
        line = encode(self.sequence + 1, ops)
        file = self._writable()
        try:
            if self._unsound:
                file.truncate(self.size)
            self._unsound = True
            file.seek(self.size)
            left = memoryview(line)
            while left:
                left = left[file.write(left) :]
            self._disk.sync(file.fileno())
        except OSError as error:
            raise disk_error(self.path, error, len(line)) from error
        self._unsound = False
        self.sequence += 1
        self.size += len(line)
        commit = decode(line[:-1])
        assert commit is not None
        return commit[1]

    @property
    def due(self) -> bool:
        """Whether so much was appended that a compaction costs little beside it."""
        return self.size > max(self._compact_bytes, self._snapshot_bytes)

    def compact(self, tables: Tables) -> None:
        """Write a snapshot that holds everything, then start an empty journal. Raises: UserError."""
        file = self._writable()
        meta = {"1": {"schema": self._schema, "sequence": self.sequence}}
        data = json.dumps({_META: meta, **tables}, separators=(",", ":")).encode("ascii")
        write_file(self.snapshot_path, data, self._disk)
        self._snapshot_bytes = len(data)
        try:
            self._disk.truncate(file, 0)
            self._disk.sync(file.fileno())
        except OSError as error:
            raise disk_error(self.path, error) from error
        self.size = 0

    def postpone(self) -> None:
        """Let the journal grow to twice its size before the next compaction: the last one failed."""
        self._compact_bytes = 2 * max(self._compact_bytes, self.size)

    def close(self) -> None:
        """Let go of the file; later writes are refused."""
        if self._file is not None:
            self._file.close()

    def _writable(self) -> FileIO:
        if self._file is None or self._file.closed:
            raise UserError(f"{self.path.parent} is closed.", "Start FLENwheel again.")
        return self._file

    def _read_snapshot(self) -> tuple[Tables, int, int]:
        if not self.snapshot_path.exists():
            return {}, 0, 0
        data = self.snapshot_path.read_bytes()
        self._snapshot_bytes = len(data)
        try:
            tables = json.loads(data)
            meta = tables.pop(_META)["1"]
            schema, sequence = int(meta["schema"]), int(meta["sequence"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(self.snapshot_path, f"not a FLENwheel database ({error})") from error
        if schema > self._schema:
            raise BadInput(
                f"{self.snapshot_path} was written by a newer FLENwheel "
                f"(schema {schema}; this one knows {self._schema}).",
                "Update FLENwheel; the file was not touched.",
            )
        return tables, schema, sequence

    def _drop_torn(self, torn: bytes) -> None:
        """Cut off a line that a crash tore; its bytes are set aside, never destroyed."""
        write_file(self.path.with_suffix(".torn"), torn, self._disk)
        file = self._writable()
        self._disk.truncate(file, self.size)
        self._disk.sync(file.fileno())

    @staticmethod
    def _damaged(path: Path, cause: str) -> BadInput:
        return BadInput(
            f"{path} is damaged: {cause}.",
            "Put back a copy of its folder from a backup; nothing was overwritten.",
        )
