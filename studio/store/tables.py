"""TinyDB on a journal: tables of documents in memory, with transactions and migrations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Final, cast
from uuid import uuid4

from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Table

from engines.api.errors import UserError
from studio.store.journal import Doc, Journal, Op, Tables

Migration = Callable[[Tables], None]

MIGRATIONS: Final[tuple[Migration, ...]] = ()
"""The append-only migrations: entry n converts tables from schema n + 1 to n + 2; none is changed or removed."""

COMPACT_BYTES: Final = 4 << 20

_ABSENT: Final[Any] = object()


class JournalStorage(Storage):
    """Holds the tables of a database in memory, and stores each change in the journal before the call returns.

    Inside a transaction a removed document leaves None in its place, so that a rollback keeps the order of the
    documents.
    """

    def __init__(
        self,
        folder: Path,
        *,
        migrations: tuple[Migration, ...] = MIGRATIONS,
        compact_bytes: int = COMPACT_BYTES,
    ) -> None:
        self.lock = RLock()
        known = 1 + len(migrations)
        self._journal = Journal(folder, schema=known, compact_bytes=compact_bytes)
        self._tables, schema = self._journal.load()
        self._open: list[dict[tuple[str, str], Any]] = []
        for migrate in migrations[schema - 1 :] if schema else ():
            migrate(self._tables)
        if schema < known:
            self._journal.compact(self._tables)
        elif self._journal.due:
            self._compact()

    @property
    def revision(self) -> int:
        """Returns the number of commits since the database was created."""
        return self._journal.sequence

    def read(self) -> Tables:
        """Returns a shallow copy of all tables for TinyDB: the documents in it are the stored objects themselves."""
        with self.lock:
            return {name: dict(self.documents(name)) for name in self._tables}

    def write(self, data: Tables) -> None:
        """Replaces all tables by `data`, as TinyDB's interface requires; only the differences go to the journal."""
        with self.transaction():
            for name, docs in self.read().items():
                for key in docs.keys() - data.get(name, {}).keys():
                    self.stage(name, key, None)
            for name, docs in data.items():
                for key, doc in docs.items():
                    self.stage(name, key, doc)

    def packed(self) -> bytes:
        """Returns all tables after the last commit as the bytes of a snapshot file, which opens as a database."""
        with self.lock:
            return self._journal.packed(self._tables)

    def close(self) -> None:
        """Closes the journal's file; later changes raise UserError."""
        with self.lock:
            self._journal.close()

    def document(self, table: str, key: str) -> Doc | None:
        """Returns the document of a table that has the id `key`; None where there is none.

        It is the stored object, not a copy, so the caller must not change it. Takes constant time.
        """
        return self._tables.get(table, {}).get(key)

    def documents(self, table: str) -> dict[str, Doc]:
        """Returns the stored documents of a table by id, in the order in which they were first written.

        They are not copied, so the caller must not change them, and has to hold the storage's `lock` while reading.
        """
        docs = self._tables.get(table, {})
        touched = (key for level in self._open for name, key in level if name == table)
        if any(docs.get(key, _ABSENT) is None for key in touched):
            return {key: doc for key, doc in docs.items() if doc is not None}
        return docs

    def stage(self, table: str, key: str, doc: Doc | None) -> None:
        """Sets the document with the id `key` as part of the open transaction; `doc` None removes the document."""
        docs = cast("dict[str, Any]", self._tables.setdefault(table, {}))
        before = docs.get(key, _ABSENT)
        if doc is None and before is _ABSENT:
            return
        self._open[-1].setdefault((table, key), before)
        docs[key] = doc

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Groups the changes of a `with` block into one commit; when the block raises, none of them happens.

        An inner transaction that raises undoes only its own changes. Raises: UserError when writing fails.
        """
        with self.lock:
            touched: dict[tuple[str, str], Any] = {}
            self._open.append(touched)
            kept = False
            try:
                yield
                if len(self._open) == 1:
                    self._commit(touched)
                else:
                    outer = self._open[-2]
                    for place, before in touched.items():
                        outer.setdefault(place, before)
                kept = True
            finally:
                self._open.pop()
                for (table, key), before in () if kept else touched.items():
                    if before is _ABSENT:
                        self._tables[table].pop(key, None)
                    else:
                        self._tables[table][key] = before
            if kept and not self._open and self._journal.due:
                self._compact()

    def _compact(self) -> None:
        """Replaces the journal by a snapshot; where the disk is full, all data stay in the journal until later."""
        try:
            self._journal.compact(self._tables)
        except UserError:
            self._journal.postpone()

    def _commit(self, touched: dict[tuple[str, str], Any]) -> None:
        staged: list[Op] = []
        for (table, key), before in touched.items():
            doc: Doc | None = self._tables[table][key]
            if doc != (None if before is _ABSENT else before):
                staged.append((table, key, doc))
        written = self._journal.append(staged) if staged else []
        for table, key, doc in written:
            if doc is not None:
                self._tables[table][key] = doc
        for table, key in touched:
            if self._tables[table][key] is None:
                del self._tables[table][key]


class _Changes(MutableMapping[str, Doc]):
    """A table as a mapping for TinyDB's own operations: the documents that they touch are staged in the transaction."""

    def __init__(self, storage: JournalStorage, name: str) -> None:
        self._storage = storage
        self._name = name

    def __getitem__(self, key: str) -> Doc:
        doc = self._storage.document(self._name, key)
        if doc is None:
            raise KeyError(key)
        own = copy.deepcopy(doc)
        self._storage.stage(self._name, key, own)
        return own

    def __setitem__(self, key: str, doc: Doc) -> None:
        self._storage.stage(self._name, key, doc)

    def __delitem__(self, key: str) -> None:
        self._storage.stage(self._name, key, None)

    def __contains__(self, key: object) -> bool:
        return self._storage.document(self._name, str(key)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._storage.documents(self._name)))

    def __len__(self) -> int:
        return len(self._storage.documents(self._name))

    def clear(self) -> None:
        """Removes every document."""
        for key in self:
            del self[key]


class JournalTable(Table):
    """Holds one table of a database, as a TinyDB table whose document ids are the records' ids.

    A write stores only the documents that have changed.
    """

    document_id_class = str  # type: ignore[assignment]  # TinyDB's ids are numbers, the studio's are text
    default_query_cache_capacity = 0  # after a rollback a cached result would be stale

    @property
    def journal(self) -> JournalStorage:
        """Returns the table's storage, which holds all tables of the database."""
        return cast(JournalStorage, self._storage)

    def put(self, key: str, doc: Doc) -> None:
        """Stores a document under the id `key`, replacing the one that has it; takes constant time."""
        with self.journal.transaction():
            self.journal.stage(self.name, key, doc)

    def drop(self, key: str) -> None:
        """Removes the document with the id `key` in constant time; does nothing when there is none."""
        with self.journal.transaction():
            self.journal.stage(self.name, key, None)

    def read(self, key: str) -> Doc | None:
        """Returns the document with the id `key` in constant time; None when there is none.

        It is the stored object, not a copy, so the caller must not change it.
        """
        with self.journal.lock:
            return self.journal.document(self.name, key)

    def _get_next_id(self) -> str:  # type: ignore[no-untyped-def, unused-ignore]  # TinyDB returns a number
        return uuid4().hex

    def _read_table(self) -> dict[str, Mapping[Any, Any]]:
        with self.journal.lock:
            return dict(self.journal.documents(self.name))

    def _update_table(self, updater: Callable[[Any], None]) -> None:
        with self.journal.transaction():
            updater(_Changes(self.journal, self.name))


class Database(TinyDB):
    """Opens the TinyDB database in a folder; every change is on the disk when its call returns."""

    table_class = JournalTable
    default_storage_class = JournalStorage  # type: ignore[assignment]  # TinyDB names its own class

    @property
    def journal(self) -> JournalStorage:
        """Returns the database's storage, which holds its tables in memory and writes its journal."""
        return cast(JournalStorage, self.storage)

    def transaction(self) -> AbstractContextManager[None]:
        """Returns a context manager that groups changes into one commit; when its body raises, none of them happens."""
        return self.journal.transaction()
