"""The bar for many pictures: what it changes, what it says, and the undo of each."""

from collections.abc import Callable

import pytest

from engines.api.errors import BadInput
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind
from studio.workplace.desk import Workplace
from tabs.common import picking


def test_selected_pictures_are_trashed_and_come_back(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Trash is undone with one click, beside the words or above the gallery."""
    desk, ids = studio.desk(anna.id), [add().id, add().id]
    told, _ = picking.act(desk, {"act": "trash", "picks": ids}, "")
    assert studio.store(anna.id).select(Kind.SOURCE) == []
    assert 'data-act="throw"' in told
    picking.tell(desk, {"act": "throw"})
    assert len(studio.store(anna.id).select(Kind.SOURCE)) == 2
    picking.act(desk, {"act": "trash", "picks": ids}, "")
    assert "2 pictures brought back" in picking.act(desk, {"act": "restore", "picks": ids}, "")[0]


def test_an_undo_skips_what_was_emptied_meanwhile(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Of two thrown pictures one was deleted for good: the undo and the bar bring back the other alone."""
    desk, store = studio.desk(anna.id), studio.store(anna.id)
    first, second, third = (add().id for _ in range(3))
    picking.act(desk, {"act": "trash", "picks": [first, second]}, "")
    store.discard([first])
    assert picking.undoable(desk) == ("throw", "Undo trash (1)")
    assert "1 picture brought back" in picking.tell(desk, {"act": "throw"})
    picking.act(desk, {"act": "trash", "picks": [second, third]}, "")
    store.discard([second])
    assert "1 picture brought back" in picking.act(desk, {"act": "restore", "picks": [second, third]}, "")[0]
    assert "Nothing to change" in picking.act(desk, {"act": "restore", "picks": [second]}, "")[0]
    store.trash([third])
    store.discard([third])
    assert picking.undoable(desk) == ("", "")


def test_words_are_counted_before_they_are_replaced_and_undone(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The count looks at the selected ones alone; the undo names what it undoes."""
    desk, ids = studio.desk(anna.id), [add().id, add().id, add().id]
    given = {"picks": ids[:2], "fields": {"find": "person", "replacement": "robot"}}
    told = picking.tell(desk, {"act": "count", **given})
    assert "2 captions will change" in told and "ohwx robot" in told
    assert picking.tell(desk, {"act": "count", "picks": ids, "fields": {"find": ""}}) == ""
    done, open_ = picking.act(desk, {"act": "replace", **given}, ids[0])
    assert "2 pictures changed" in done and open_ == ids[0]
    assert picking.undoable(desk)[1] == "Undo “person” → “robot” (2)"
    assert "2 pictures as before" in picking.tell(desk, {"act": "many"})
    assert picking.undoable(desk) == ("", "")


def test_tags_and_words_are_added_to_many(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """A fixed tag, a free one, words before; a button without a choice says what to choose."""
    desk, image = studio.desk(anna.id), add()
    picks = {"picks": [image.id]}
    picking.act(desk, {"act": "tag", "fields": {"tag": "angle=front"}, **picks}, "")
    picking.act(desk, {"act": "free", "fields": {"axis": "light", "value": " soft "}, **picks}, "")
    picking.act(desk, {"act": "surround", "fields": {"before": "photo", "after": ""}, **picks}, "")
    picking.act(desk, {"act": "star", **picks}, "")
    now = studio.store(anna.id).images.get(image.id)
    assert (now.tags["angle"], now.tags["light"], now.star) == ("front", "soft", True)
    assert now.caption == f"photo, {image.caption}"
    with pytest.raises(BadInput, match="No tag"):
        picking.act(desk, {"act": "tag", "fields": {"tag": ""}, **picks}, "")
    assert "Nothing to change" in picking.act(desk, {"act": "tag", "fields": {"tag": "angle=front"}, **picks}, "")[0]


def test_the_later_of_trash_and_change_is_undone_first(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """One button, the last thing first."""
    desk, first, second = studio.desk(anna.id), add(), add()
    picking.act(desk, {"act": "trash", "picks": [first.id]}, "")
    assert picking.undoable(desk) == ("throw", "Undo trash (1)")
    picking.act(desk, {"act": "star", "picks": [second.id]}, "")
    assert picking.undoable(desk)[0] in ("many", "throw")  # within one millisecond both may bear one time
    picking.tell(desk, {"act": "many"})
    assert picking.undoable(desk) == ("throw", "Undo trash (1)")
