"""Collections: typed records over tables of documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.api.errors import BadInput, NotFound
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.review import Decision
from studio.store.collection import Collection, changed
from studio.store.tables import Database


def image(record_id: str, **fields: object) -> ImageRecord:
    """A record of a picture that is nowhere."""
    return ImageRecord(id=record_id, kind=Kind.SOURCE, file="", width=1, height=1).replace(**fields)


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Collection[ImageRecord]]:
    """An empty collection."""
    with Database(tmp_path) as database:
        yield Collection(database, "images", ImageRecord)


def test_records_come_back_equal(tmp_path: Path) -> None:
    """Enums, tuples and nested values survive a reopening."""
    record = image("a", tags={"angle": "front"}, reasons=("blur",), state=Verdict.GOOD, scores={"s": None})
    with Database(tmp_path) as database:
        assert Collection(database, "images", ImageRecord).put(record) == record
    with Database(tmp_path) as database:
        again = Collection(database, "images", ImageRecord).get("a")
        assert again == record
        assert isinstance(again.state, Verdict)


def test_order_is_that_of_insertion(images: Collection[ImageRecord]) -> None:
    """Replacing a record leaves it where it was first put."""
    images.put_many([image("b"), image("a"), image("c")])
    images.put(image("a", name="new"))
    assert [record.id for record in images.all()] == ["b", "a", "c"]
    assert images.get("a").name == "new"


def test_find_and_last(images: Collection[ImageRecord]) -> None:
    """Records are found by their fields' values, and the newest of a sort from the end."""
    images.put_many([image("a", star=True), image("b"), image("c", star=True)])
    assert [record.id for record in images.find(star=True, kind=Kind.SOURCE)] == ["a", "c"]
    newest = images.last(lambda record: not record.star)
    assert newest is not None and newest.id == "b"
    assert images.last(lambda record: record.name == "x") is None


def test_missing_and_removed(images: Collection[ImageRecord]) -> None:
    """An unknown id is an error that names it; a removal is forgiving."""
    images.put(image("a"))
    images.remove("a")
    images.remove("a")
    assert "a" not in images
    assert len(images) == 0
    assert images.peek("a") is None
    with pytest.raises(NotFound, match="no ImageRecord 'a'"):
        images.get("a")


def test_records_are_shared_until_they_change(images: Collection[ImageRecord]) -> None:
    """Reading twice hands out the same object; only a change makes a new one."""
    images.put_many([image("a"), image("b")])
    first = images.all()
    images.put(image("b", name="new"))
    second = images.all()
    assert first[0] is second[0]
    assert first[1] is not second[1]


def test_handed_out_values_do_not_reach_the_database(images: Collection[ImageRecord]) -> None:
    """A record's dict that was changed against the rules does not get into the stored document."""
    images.put(image("a", tags={"angle": "front"}))
    images.get("a").tags["angle"] = "back"  # type: ignore[index]  # against the rules
    images.put(image("b"))
    assert images._table.read("a")["tags"] == {"angle": "front"}  # type: ignore[index]


def test_rollback_reaches_the_records(images: Collection[ImageRecord]) -> None:
    """After a rolled back transaction the old records are handed out again."""
    images.put(image("a", name="old"))
    with pytest.raises(ZeroDivisionError), images._journal.transaction():
        images.put(image("a", name="new"))
        images.put(image("b"))
        assert images.get("a").name == "new"
        raise ZeroDivisionError
    assert [record.name for record in images.all()] == ["old"]


def test_unreadable_record_is_told(tmp_path: Path) -> None:
    """A document with fields that this program does not know is an error in words."""
    with Database(tmp_path) as database:
        database.table("decisions").insert({"id": "a", "future": 1})
        with pytest.raises(BadInput, match="update this one"):
            Collection(database, "decisions", Decision).all()


@pytest.mark.parametrize("field", ["id", "nonsense"])
def test_only_real_fields_change(field: str) -> None:
    """An unknown field is refused, and so is a new id."""
    with pytest.raises(BadInput, match=f"{field} of a ImageRecord cannot be set"):
        changed(image("a"), {field: "x"})
    assert changed(image("a"), {"name": "x"}).name == "x"
