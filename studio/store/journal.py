"""The journal, which makes a commit durable by appending one line.

A database is two files. `flenwheel.json` is a snapshot, a plain TinyDB file with a table `_meta` that
holds its schema and the number of its last commit. `flenwheel.journal` holds the later commits,
one line each:

    crc32 of what follows, 8 hex digits · space · [sequence, [[table, id, document or null], …]] · newline

A replay skips the commits that the snapshot holds, so a crash between any two steps of a compaction neither
loses a commit nor applies one twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
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
    """Reports that a line of a database's journal does not match its checksum, so that the journal file is damaged.

    An incomplete last line is no damage: a crash during a write leaves one. Incomplete is a line without its newline,
    and one with zero bytes in it, which is how blocks read that never reached the disk.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"line {number} does not match its checksum")


def encode(sequence: int, ops: Sequence[Op]) -> bytes:
    """Returns a commit as the bytes of one journal line, with its newline.

    `sequence` is the commit's number; an operation is (table, record id, document), with None for a removed document.
    """
    body = json.dumps([sequence, ops], separators=(",", ":")).encode("ascii")
    return b"%08x %b\n" % (crc32(body), body)


def decode(line: bytes) -> tuple[int, list[Op]] | None:
    """Returns the number and the operations of the commit in a journal line; None where the checksum differs.

    `line` has no newline. An operation is (table, record id, document), with None for a removed document.
    """
    head, _, body = line.partition(b" ")
    if head != b"%08x" % crc32(body):
        return None
    sequence, ops = json.loads(body)
    return sequence, [(table, key, doc) for table, key, doc in ops]


def read_lines(data: bytes) -> tuple[list[tuple[int, list[Op]]], int]:
    """Returns the commits in a journal's bytes, each as (number, operations), and the number of bytes they take up.

    An incomplete last line is left out: a crash during a write leaves one. Raises: CorruptLine where any other line
    does not match its checksum.
    """
    *whole, rest = data.split(b"\n")
    commits: list[tuple[int, list[Op]]] = []
    sound = 0
    for number, line in enumerate(whole, start=1):
        commit = decode(line)
        if commit is None:
            if number == len(whole) and not rest and b"\0" in line:
                break
            raise CorruptLine(number)
        commits.append(commit)
        sound += len(line) + 1
    return commits, sound


def apply(tables: Tables, ops: Sequence[Op]) -> None:
    """Applies the operations of a commit to the tables in memory, which it changes in place."""
    for table, key, doc in ops:
        if doc is None:
            tables.get(table, {}).pop(key, None)
        else:
            tables.setdefault(table, {})[key] = doc


class Journal:
    """Reads and writes the two files of a database: a snapshot of all tables, and a journal of later commits.

    Both are read once; then commits are only appended to the journal, until `compact` writes a new snapshot. Not
    thread-safe: its owner holds a lock.
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
        """Reads the files; returns the tables after the last commit, and their schema's version (0: new database).

        Nothing is written before all data has been read and found valid. Raises: BadInput for a damaged file and for
        one that a newer version of the program wrote, UserError where the disk fails.
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
        """Appends a commit to the journal, syncs it, and returns a copy of the operations, read from the new line.

        Raises: UserError when writing fails or the database is closed; the commit is then not part of the database.
        """
        line = encode(self.sequence + 1, ops)
        file = self._writable()
        try:
            if self._unsound:
                self._disk.truncate(file, self.size)
            self._unsound = True
            file.seek(self.size)
            left = memoryview(line)
            while left:
                left = left[file.write(left) :]
            self._disk.sync(file.fileno())
        except OSError as error:
            with suppress(OSError):  # where this fails too, the next commit cuts the line off
                self._disk.truncate(file, self.size)
            raise disk_error(self.path, error, len(line)) from error
        self._unsound = False
        self.sequence += 1
        self.size += len(line)
        commit = decode(line[:-1])
        assert commit is not None
        return commit[1]

    @property
    def due(self) -> bool:
        """Returns whether to compact the journal: it is larger than both the compaction limit and the snapshot."""
        return self.size > max(self._compact_bytes, self._snapshot_bytes)

    def compact(self, tables: Tables) -> None:
        """Writes a snapshot of all tables, then empties the journal. Raises: UserError when writing fails."""
        file = self._writable()
        data = self.packed(tables)
        write_file(self.snapshot_path, data, self._disk)
        self._snapshot_bytes = len(data)
        try:
            self._disk.truncate(file, 0)
            self._disk.sync(file.fileno())
        except OSError as error:
            raise disk_error(self.path, error) from error
        self.size = 0

    def packed(self, tables: Tables) -> bytes:
        """Returns all tables as the bytes of a snapshot file; writes nothing."""
        meta = {"1": {"schema": self._schema, "sequence": self.sequence}}
        return json.dumps({_META: meta, **tables}, separators=(",", ":")).encode("ascii")

    def postpone(self) -> None:
        """Doubles the size at which the next compaction is due, after a compaction that failed."""
        self._compact_bytes = 2 * max(self._compact_bytes, self.size)

    def close(self) -> None:
        """Closes the journal's file; later writes raise UserError."""
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
        """Cuts off an incomplete last line and keeps its bytes in a `.torn` file."""
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
