"""The second picture of a row is filled in by the kind that its LoRA asks for."""

from __future__ import annotations

import pytest

from engines.api.errors import BadInput
from engines.api.params import EditParams
from engines.api.views import View
from engines.catalogue.editor_loras import EDITOR_LORAS
from engines.wording.cameras import CAMERAS
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import guides, own_words
from studio.records.image import Kind, Verdict
from studio.records.plan import OwnEdit
from tests.studio.conftest import World, present
from tests.studio.flywheel.enrich.test_own_words import kept_lora, rows, spec


def test_a_grey_figure_is_drawn_once_and_seen_after_the_source(world: World) -> None:
    """For every source the same picture; it is kept as what the editor saw, and is no picture of the character."""
    view = View("back", "high", "head")
    (edit,) = own_words.of_views(world.desk, [view], "", ["a"], world.sources[:2], figure=True)
    planned = rows(world, edit)
    (guide,) = world.store.select(Kind.GUIDE)
    assert guide.name == f"grey figure: {view}"
    assert (
        [row.references for row in planned]
        == [(guide.id,), (guide.id,)]
        == [row.references for row in rows(world, edit)]
    )
    assert EditParams.kept(planned[0].params).headline() == CAMERAS["plain"].says(view, with_figure=True)
    assert "grey figure in picture 2" in EditParams.kept(planned[0].params).headline()
    job = world.finish(enrich.submit(world.desk, planned[:1]))
    assert world.store.images.get(present(job.artifacts.images)[0]).references == (guide.id,)
    assert guide.id not in {image.id for image in world.store.pending()}


def test_the_light_comes_from_where_the_words_say(world: World) -> None:
    """As the LoRA's own words name it; a map is drawn at the source's angle."""
    kept_lora(world, "dx8152-light-direction")
    world.store.update_image(world.sources[0], tags={"angle": "half-left"})
    edit = own_words.of_lora(world.desk, "dx8152-light-direction", "a", world.sources[:1])
    found = {}
    for word, light in (("前方", "front"), ("左后方", "back-left")):
        (row,) = rows(world, edit.replace(fills={"direction": word}))
        found[light] = row.references[0]
        assert world.store.images.get(found[light]).name == f"light: {light}, half-left"
    assert found["front"] != found["back-left"]
    assert not any("second picture" in hint for hint in own_words.hints(world.desk, edit, spec(world)))


def test_another_picture_of_the_character_is_found(world: World) -> None:
    """Never the source itself: starred before frontal ones, nobody from behind, no rejected one."""
    first, second, third, fourth = world.sources
    world.store.decide(second, Verdict.REJECT)
    world.store.update_image(third, tags={"angle": "back"})
    world.store.update_image(fourth, tags={"angle": "profile-left"})
    edit = OwnEdit(key="a", words="wave", guide="character", sources=(first, fourth))
    assert [row.references for row in rows(world, edit)] == [(fourth,), (first,)]


@pytest.mark.parametrize(("kind", "axis"), [("style", "style"), ("lit", "light")])
def test_a_picture_with_a_style_or_a_light_is_found(world: World, kind: str, axis: str) -> None:
    """By its tag; where there is none the row says what is missing, and what a person chooses comes first."""
    first, second, *_ = world.sources
    edit = OwnEdit.from_json({"key": "a", "words": "wave", "guide": kind, "sources": [first]})
    with pytest.raises(BadInput, match="second picture is missing"):
        rows(world, edit)
    assert rows(world, edit.replace(second=second))[0].references == (second,)
    styled = world.picture(Kind.ENRICHED, 7, tags={axis: "warm"}, parent=first)
    assert rows(world, edit)[0].references == (styled,)


def test_rows_of_before_are_filled_in_with_nothing(world: World) -> None:
    """A stored row without the new field draws what it drew, and is stored as it was."""
    told = {"key": "a", "words": "wave", "sources": [world.sources[0]]}
    edit = OwnEdit.from_json(told)
    assert guides.second_of(world.desk, edit, world.store.images.get(world.sources[0])) == ()
    assert {"guide", "view"}.isdisjoint(edit.to_json())


def test_every_row_that_wants_a_second_picture_names_its_kind() -> None:
    """And no other does."""
    assert {row.name for row in EDITOR_LORAS if row.second} == {row.name for row in EDITOR_LORAS if row.guide}
