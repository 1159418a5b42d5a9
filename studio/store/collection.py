"""Typed collections of records over the tables of a database."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar, cast

from engines.api.errors import BadInput, NotFound
from studio.records.base import Record
from studio.records.words import demand_text, mended
from studio.store.journal import Doc
from studio.store.tables import Database, JournalTable

R = TypeVar("R", bound=Record)


def changed(record: R, changes: Mapping[str, Any]) -> R:
    """Returns a copy of a record with the fields in `changes` replaced; stores nothing.

    Raises: BadInput for an unknown field, and for `id`, which cannot change.
    """
    known = {field.name for field in dataclasses.fields(record)} - {"id"}
    unknown = sorted(changes.keys() - known)
    if unknown:
        raise BadInput(
            f"{', '.join(unknown)} of a {type(record).__name__} cannot be set.",
            f"Choose from: {', '.join(sorted(known))}.",
        )
    return record.replace(**changes)


class Collection(Generic[R]):
    """Stores the records of one class, in the order in which they were first stored.

    Returned records are shared among callers, so their contents must not be changed.
    """

    def __init__(self, database: Database, name: str, record_class: type[R]) -> None:
        self._table = cast(JournalTable, database.table(name))
        self._journal = database.journal
        self._name = name
        self._class = record_class
        self._revived: dict[str, tuple[Doc, R]] = {}

    def __len__(self) -> int:
        with self._journal.lock:
            return len(self._journal.documents(self._name))

    def __contains__(self, record_id: str) -> bool:
        return self._table.read(record_id) is not None

    def all(self) -> list[R]:
        """Returns all records, in the order in which they were first stored."""
        with self._journal.lock:
            return [self._revive(key, doc) for key, doc in self._journal.documents(self._name).items()]

    def get(self, record_id: str) -> R:
        """Returns a record by its id. Raises: NotFound."""
        found = self.peek(record_id)
        if found is None:
            raise NotFound(f"There is no {self._class.__name__} {record_id!r}.", "It may have been removed; reload.")
        return found

    def peek(self, record_id: str) -> R | None:
        """Returns a record by its id; None where there is none."""
        with self._journal.lock:
            doc = self._table.read(record_id)
            return None if doc is None else self._revive(record_id, doc)

    def find(self, **equal: Any) -> list[R]:
        """Returns the records whose fields equal the given values, such as `find(job="train-1")`."""
        return [r for r in self.all() if all(getattr(r, name) == value for name, value in equal.items())]

    def last(self, where: Callable[[R], bool]) -> R | None:
        """Returns the newest record for which `where` is true; None where there is none.

        The newest is the record that was added last; later changes of a record do not count.
        """
        with self._journal.lock:
            for key, doc in reversed(self._journal.documents(self._name).items()):
                record = self._revive(key, doc)
                if where(record):
                    return record
        return None

    def put(self, record: R) -> R:
        """Stores a record, replacing the one with the same id, and returns it.

        Raises: BadInput for control characters or lone surrogates in its texts; UserError when writing fails.
        """
        doc = record.to_json()
        for name, value in doc.items():
            demand_text(f"The {name} of a {self._class.__name__}", value)
        self._table.put(record.id, doc)
        return record

    def put_many(self, records: Iterable[R]) -> None:
        """Stores several records in one transaction: all of them or, after an error, none."""
        with self._journal.transaction():
            for record in records:
                self.put(record)

    def remove(self, record_id: str) -> None:
        """Removes a record by its id; does nothing when there is none."""
        self._table.drop(record_id)
        self._revived.pop(record_id, None)

    def _revive(self, key: str, doc: Doc) -> R:
        known = self._revived.get(key)
        if known is not None and known[0] is doc:
            return known[1]
        try:
            record = self._class.from_json(mended(doc))  # a copy; older homes may hold text that no page can show
        except (TypeError, KeyError, ValueError) as error:
            raise BadInput(
                f"The {self._class.__name__} {key!r} cannot be read: {error}.",
                "It was written by another FLENwheel; update this one.",
            ) from error
        self._revived[key] = (doc, record)
        return record
