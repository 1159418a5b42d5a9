"""The gallery's search: kinds, words, filters, orders."""

from collections.abc import Callable

from studio.records.character import Character
from studio.records.image import ImageRecord, Kind, Verdict
from studio.workplace.desk import Workplace
from tabs import curate
from tabs.common import finding
from tabs.common.finding import find


def test_pictures_are_found_by_words_and_kind(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """All words must be found, in caption, tags, name or advice."""
    add(tags={"angle": "front"})
    add(tags={"angle": "half-left"})
    add(Kind.ENRICHED)
    store = studio.store(anna.id)
    assert len(find(store, "My pictures", "")) == 2
    assert len(find(store, "My pictures", "ohwx half-left")) == 1
    assert len(find(store, "All pictures", "")) == 3


def test_filters_of_one_group_widen_and_of_two_narrow(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Front or half-left, and starred, and with advice."""
    front = add(tags={"angle": "front"}, star=True)
    left = add(tags={"angle": "half-left"}, star=True, advice={"blurred": "soft"})
    add(tags={"angle": "front"})
    good = add(Kind.ENRICHED, state=Verdict.GOOD)
    store = studio.store(anna.id)

    def ids(*only: str) -> set[str]:
        return {each.id for each in find(store, "All pictures", "", "", only)}

    assert ids("angle: front", "angle: half-left", "★ starred") == {front.id, left.id}
    assert ids("angle: front", "angle: half-left", "★ starred", "advice: blurred") == {left.id}
    assert ids("verdict: good") == {good.id}
    assert ids("caption: missing") == {good.id}


def test_every_order_keeps_every_picture(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """By number within names; without a score or a measure a picture comes last of the best."""
    ten = add(name="a_10.png", scores={"s": 0.9}, measures={"sharpness": 5.0})
    two = add(name="a_2.png", scores={"s": None})
    new = add(name="", scores={"s": 0.5}, measures={"sharpness": 50.0})
    store = studio.store(anna.id)
    found = {order: [each.id for each in find(store, "My pictures", "", order)] for order in finding.SORTS}
    assert all(set(ids) == {ten.id, two.id, new.id} for ids in found.values())
    assert found["newest first"] == [new.id, two.id, ten.id]
    assert found["name"] == [two.id, ten.id, new.id]
    assert found["most like"] == [ten.id, new.id, two.id]
    assert found["sharpest first"] == [new.id, ten.id, two.id]


def test_nothing_found_has_a_way_back(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """The count tells the part and the whole; where nothing matches a button clears the search."""
    add(tags={"angle": "front"})
    add()
    desk = studio.desk(anna.id)
    assert "1 of 2 pictures" in curate.draw_gallery(desk, "My pictures", "", "name", ["angle: front"], 120, "")[0]
    assert "Show all of them" in curate.draw_gallery(desk, "My pictures", "zzz", "name", [], 120, "")[0]
    assert curate.gallery_act(desk, {"act": "clear"}, "", 240)[1:] == [120, "", []]
