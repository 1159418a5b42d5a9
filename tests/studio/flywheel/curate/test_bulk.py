"""Changes of many pictures at once: words, tags, stars and the trash, each with one undo."""

from __future__ import annotations

import pytest

from engines.api.errors import BadInput, NotFound
from studio.flywheel.curate import bulk, captions
from studio.flywheel.curate.bulk import Find
from studio.records.image import Kind
from tests.studio.conftest import World


def worded(world: World, *words: str) -> list[str]:
    """The first sources, captioned with these words."""
    images = world.store.select(Kind.SOURCE)[: len(words)]
    return [
        world.store.update_image(image.id, caption=text, caption_by="sidecar").id
        for image, text in zip(images, words, strict=True)
    ]


def said(world: World, ids: list[str]) -> list[str]:
    """Their captions."""
    return [world.store.images.get(image).caption for image in ids]


def test_words_are_replaced_in_many_captions_and_come_back_at_once(world: World) -> None:
    """The count is told before, captions are a person's then, and one undo restores the words and who wrote them."""
    ids = worded(world, "ohwx person, smile, smiled", "ohwx person, sad", "ohwx person, SMILE")
    find = Find("smile", "grin")
    assert set(bulk.replaced(world.desk, find, ids)) == {ids[0], ids[2]}
    assert said(world, ids)[0] == "ohwx person, smile, smiled"
    assert len(bulk.replace(world.desk, find, ids)) == 2
    assert said(world, ids) == ["ohwx person, grin, grind", "ohwx person, sad", "ohwx person, grin"]
    assert world.store.images.get(ids[0]).caption_by == captions.HUMAN
    assert bulk.undo(world.desk) == ("“smile” → “grin”", 2)
    assert said(world, ids) == ["ohwx person, smile, smiled", "ohwx person, sad", "ohwx person, SMILE"]
    assert world.store.images.get(ids[0]).caption_by == "sidecar"
    with pytest.raises(NotFound):
        bulk.undo(world.desk)


def test_whole_words_case_and_what_is_left_when_words_go(world: World) -> None:
    """No half words, no other case where asked; a removed part leaves no double comma."""
    ids = worded(world, "ohwx person, cat, cats, Cat")
    assert bulk.replaced(world.desk, Find("cat", "dog", True, True), ids)[ids[0]] == "ohwx person, dog, cats, Cat"
    assert bulk.replaced(world.desk, Find("cats"), ids)[ids[0]] == "ohwx person, cat, Cat"
    assert bulk.replaced(world.desk, Find("person"), ids)[ids[0]] == "ohwx, cat, cats, Cat"
    with pytest.raises(BadInput, match="No caption holds"):
        bulk.replace(world.desk, Find("horse", "pony"), ids)
    with pytest.raises(BadInput, match="nothing to find"):
        bulk.replace(world.desk, Find("  "), ids)


def test_words_are_put_before_and_after_once(world: World) -> None:
    """Set apart by a comma; a caption that has them keeps its own."""
    ids = worded(world, "smiling", "ohwx person, sad", "")
    assert len(bulk.surround(world.desk, ids, "ohwx person", "flat colours")) == 3
    assert said(world, ids) == [
        "ohwx person, smiling, flat colours", "ohwx person, sad, flat colours", "ohwx person, flat colours",
    ]  # fmt: skip
    assert bulk.surround(world.desk, ids, "ohwx person", "flat colours") == []
    with pytest.raises(BadInput, match="no words"):
        bulk.surround(world.desk, ids)


def test_a_change_since_then_outlives_the_undo(world: World) -> None:
    """What a person typed after the change of many stays; the others go back."""
    ids = worded(world, "a", "b")
    bulk.surround(world.desk, ids, after="c")
    captions.set_caption(world.desk, ids[0], "mine")
    assert bulk.undo(world.desk)[1] == 1
    assert said(world, ids) == ["mine", "b"]


def test_tags_and_stars_of_many(world: World) -> None:
    """Set, taken away and undone; all starred ones lose their stars."""
    ids = worded(world, "a", "b")
    before = [dict(world.store.images.get(image).tags) for image in ids]
    bulk.tag(world.desk, ids, {"angle": "profile-left"})
    assert {world.store.images.get(image).tags["angle"] for image in ids} == {"profile-left"}
    bulk.tag(world.desk, ids, {"angle": ""})
    assert all("angle" not in world.store.images.get(image).tags for image in ids)
    bulk.undo(world.desk)
    bulk.undo(world.desk)
    assert [dict(world.store.images.get(image).tags) for image in ids] == before
    with pytest.raises(BadInput, match="no angle"):
        bulk.tag(world.desk, ids, {"angle": "sideways"})
    world.store.update_image(ids[0], star=True)
    bulk.star(world.desk, ids)
    assert all(world.store.images.get(image).star for image in ids)
    bulk.star(world.desk, ids)
    assert not any(world.store.images.get(image).star for image in ids)


def test_nothing_selected_is_said(world: World) -> None:
    """No silent click."""
    for change in (lambda: bulk.star(world.desk, []), lambda: bulk.surround(world.desk, [], "a")):
        with pytest.raises(BadInput, match="selected"):
            change()


def test_words_that_another_word_begins_with_are_put_before_it(world: World) -> None:
    """“photo” is not there in “photography”, nor “art” in “start”."""
    ids = worded(world, "photography of ohwx, a start", "photo, art")
    bulk.surround(world.desk, ids, "photo", "art")
    assert said(world, ids) == ["photo, photography of ohwx, a start, art", "photo, art"]
