"""TinyDB on the journal: its own operations work, and each writes only what it changes."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinydb import TinyDB, where

from engines.api.errors import BadInput
from studio.store.journal import Tables
from studio.store.tables import Database, JournalTable, Migration


def table_of(database: Database, name: str = "things") -> JournalTable:
    """A table by its own type."""
    table = database.table(name)
    assert isinstance(table, JournalTable)
    return table


def content(database: Database) -> Tables:
    """All documents."""
    return database.journal.read()


def test_tinydb_operations_are_durable(tmp_path: Path) -> None:
    """What TinyDB's own calls insert, update, upsert and remove is there after a reopening."""
    with Database(tmp_path) as database:
        things = table_of(database)
        first = things.insert({"n": 1})
        things.insert_multiple([{"n": 2}, {"n": 3}, {"n": 4}])
        things.update({"even": True}, where("n") == 2)
        things.upsert({"n": 5, "more": [1]}, where("n") == 3)
        things.remove(where("n") == 4)
        assert things.contains(doc_id=first)
        seen = content(database)
    with Database(tmp_path) as again:
        assert content(again) == seen
        assert [doc["n"] for doc in table_of(again)] == [1, 2, 5]
        assert table_of(again).search(where("even").exists()) == [{"n": 2, "even": True}]


def test_drops_and_truncation(tmp_path: Path) -> None:
    """Tables can be emptied and dropped like any of TinyDB's."""
    with Database(tmp_path) as database:
        for name in ("things", "others", "rest"):
            table_of(database, name).insert({"n": 1})
        table_of(database).truncate()
        database.drop_table("others")
    with Database(tmp_path) as again:
        assert {name: len(docs) for name, docs in content(again).items() if docs} == {"rest": 1}
        again.drop_tables()
        assert not any(content(again).values())


def test_snapshot_opens_in_plain_tinydb(tmp_path: Path) -> None:
    """After a compaction `flenwheel.json` is a file that TinyDB itself can open."""
    with Database(tmp_path, compact_bytes=1) as database:
        for number in range(40):
            table_of(database).put(str(number), {"n": number})
    with TinyDB(tmp_path / "flenwheel.json") as plain:
        assert plain.table("things").get(where("n") == 3) == {"n": 3}


def test_update_writes_only_what_changed(tmp_path: Path) -> None:
    """Updating one of many documents appends one small line."""
    with Database(tmp_path) as database:
        things = table_of(database)
        things.insert_multiple([{"n": number, "text": "x" * 500} for number in range(50)])
        size = (tmp_path / "flenwheel.journal").stat().st_size
        things.update({"n": -1}, where("n") == 7)
        assert (tmp_path / "flenwheel.journal").stat().st_size - size < 700


def test_unchanged_put_writes_nothing(tmp_path: Path) -> None:
    """Putting what is there already costs no byte and no revision."""
    with Database(tmp_path) as database:
        table_of(database).put("a", {"n": 1})
        revision, size = database.journal.revision, (tmp_path / "flenwheel.journal").stat().st_size
        table_of(database).put("a", {"n": 1})
        assert database.journal.revision == revision
        assert (tmp_path / "flenwheel.journal").stat().st_size == size


def test_transaction_is_one_line(tmp_path: Path) -> None:
    """Writes to several tables in a transaction are one line, so that they happen together."""
    with Database(tmp_path) as database:
        with database.transaction():
            table_of(database).put("a", {"n": 1})
            table_of(database, "others").put("b", {"n": 2})
            table_of(database).put("a", {"n": 3})
        assert (tmp_path / "flenwheel.journal").read_bytes().count(b"\n") == 1
        assert content(database) == {"things": {"a": {"n": 3}}, "others": {"b": {"n": 2}}}


_steps = st.lists(
    st.tuples(st.sampled_from("abcd"), st.none() | st.fixed_dictionaries({"n": st.integers(0, 3)})), max_size=8
)


@pytest.mark.slow
@given(_steps, _steps, _steps)
def test_rollback_is_exact(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[str, dict[str, int] | None]],
    inner: list[tuple[str, dict[str, int] | None]],
    outer: list[tuple[str, dict[str, int] | None]],
) -> None:
    """A body that raises leaves documents and their order as they were; memory always equals a replay."""
    folder = tmp_path_factory.mktemp("rollback")
    with Database(folder) as database:
        things = table_of(database)

        def run(steps: list[tuple[str, dict[str, int] | None]]) -> None:
            for key, doc in steps:
                things.drop(key) if doc is None else things.put(key, doc)

        run(before)
        state = list(content(database).get("things", {}).items())
        with pytest.raises(ZeroDivisionError), database.transaction():
            run(inner)
            raise ZeroDivisionError
        assert list(content(database).get("things", {}).items()) == state
        with database.transaction():
            run(outer)
            staged = list(content(database).get("things", {}).items())
            with pytest.raises(ZeroDivisionError), database.transaction():
                run(inner)
                raise ZeroDivisionError
            assert list(content(database).get("things", {}).items()) == staged
        final = list(content(database).get("things", {}).items())
        assert final == staged
    with Database(folder) as again:
        assert list(content(again).get("things", {}).items()) == final


def test_unserialisable_document_changes_nothing(tmp_path: Path) -> None:
    """A document that JSON cannot hold is refused before anything changes."""
    with Database(tmp_path) as database:
        with pytest.raises(TypeError):
            table_of(database).put("a", {"n": object()})
        assert table_of(database).read("a") is None
        table_of(database).put("a", {"n": (1, 2)})
        assert table_of(database).read("a") == {"n": [1, 2]}


def test_compaction_runs_by_itself(tmp_path: Path) -> None:
    """A journal that outgrows its bound and the snapshot is folded into the snapshot."""
    with Database(tmp_path, compact_bytes=1000) as database:
        for number in range(200):
            table_of(database).put(str(number % 10), {"n": number})
            assert (tmp_path / "flenwheel.journal").stat().st_size <= 1100
        seen = content(database)
    with Database(tmp_path) as again:
        assert content(again) == seen
        assert again.journal.revision == 200


def test_failed_compaction_keeps_the_commit(tmp_path: Path) -> None:
    """When no snapshot can be written the commit still stands, and the journal just grows."""
    with Database(tmp_path, compact_bytes=1000) as database:
        (tmp_path / "flenwheel.json").unlink()
        (tmp_path / "flenwheel.json").mkdir()
        for number in range(60):
            table_of(database).put(str(number), {"n": number})
    (tmp_path / "flenwheel.json").rmdir()
    with Database(tmp_path) as again:
        assert len(table_of(again)) == 60


def _add_colour(tables: Tables) -> None:
    for doc in tables["things"].values():
        doc["colour"] = "red"


def _rename(tables: Tables) -> None:
    tables["items"] = tables.pop("things")


def test_migrations_run_once_in_order(tmp_path: Path) -> None:
    """A database is taken through each migration that it has not seen, from snapshot and journal alike."""
    one: tuple[Migration, ...] = (_add_colour,)
    with Database(tmp_path) as database:
        table_of(database).put("a", {"n": 1})
    with Database(tmp_path, migrations=one) as database:
        assert content(database) == {"things": {"a": {"n": 1, "colour": "red"}}}
        table_of(database).put("b", {"n": 2})
    with Database(tmp_path, migrations=(*one, _rename)) as database:
        assert content(database) == {"items": {"a": {"n": 1, "colour": "red"}, "b": {"n": 2}}}
    with pytest.raises(BadInput, match="newer FLENwheel"):
        Database(tmp_path, migrations=one)


def test_failed_migration_leaves_the_files(tmp_path: Path) -> None:
    """A migration that raises has changed nothing on the disk."""
    with Database(tmp_path) as database:
        table_of(database).put("a", {"n": 1})
    with pytest.raises(KeyError):
        Database(tmp_path, migrations=(lambda tables: tables.pop("missing") and None,))
    with Database(tmp_path) as database:
        assert content(database) == {"things": {"a": {"n": 1}}}


def test_threads_lose_nothing(tmp_path: Path) -> None:
    """Several threads that write and read at once all find their documents again."""
    with Database(tmp_path, compact_bytes=2000) as database:

        def work(name: str) -> None:
            for number in range(25):
                with database.transaction():
                    table_of(database).put(f"{name}{number}", {"n": number})
                    table_of(database, "others").put(name, {"last": number})
                assert len(table_of(database).all()) > number

        threads = [Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Database(tmp_path) as again:
        assert len(table_of(again)) == 100
        assert {doc["last"] for doc in table_of(again, "others")} == {24}
