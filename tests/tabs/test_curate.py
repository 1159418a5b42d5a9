"""The Curate tab's handlers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engines.errors import UserError
from studio.nouns import Character, ImageRecord, Kind
from studio.studio import Studio
from tabs import curate
from tests.tabs.colour_blocks import picture


def test_an_import_reports_what_came_in_and_what_did_not(studio: Studio, anna: Character, tmp_path: Path) -> None:
    """The good picture is there; the text in a picture's clothes is named, with what to do."""
    picture(1).save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("no picture at all")
    report, emptied = curate.import_files(studio, anna.id, [str(tmp_path / "good.png"), str(tmp_path / "bad.jpg")])
    assert emptied is None
    assert "1 picture imported" in report
    assert "bad.jpg" in report
    assert len(studio.store(anna.id).select(Kind.SOURCE)) == 1


def test_a_folder_that_is_not_there_is_refused(studio: Studio, anna: Character) -> None:
    """The path is named."""
    with pytest.raises(UserError, match="/no/such"):
        curate.import_folder(studio, anna.id, "/no/such")


def test_a_folder_is_found_as_people_give_it(studio: Studio, anna: Character, tmp_path: Path) -> None:
    """In quotes and as an address; what was decided about a file's words is on the page."""
    (tmp_path / "a b").mkdir()
    picture(1).save(tmp_path / "a b" / "x.png")
    (tmp_path / "a b" / "x.txt").write_bytes("ohwx, café".encode("cp1252"))
    assert "1 picture imported" in curate.import_folder(studio, anna.id, f'"{tmp_path}/a b"')
    shown = curate.import_folder(studio, anna.id, f"file://{tmp_path}/a%20b")
    assert "It is here already as x.png" in shown and "not UTF-8" in shown


def test_the_gallery_filters_by_words_and_kind(
    studio: Studio, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """All words must be found, in caption, tags, name or advice."""
    add(tags={"angle": "front"})
    add(tags={"angle": "half-left"})
    add(Kind.ENRICHED)
    store = studio.store(anna.id)
    assert len(curate.find(store, "My pictures", "")) == 2
    assert len(curate.find(store, "My pictures", "ohwx half-left")) == 1
    assert len(curate.find(store, "All pictures", "")) == 3


def test_selected_pictures_are_trashed_and_come_back(
    studio: Studio, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Trash is undone with one click."""
    ids = [add().id, add().id]
    curate.gallery_act(studio, anna.id, {"act": "trash", "picks": ids}, "", 120)
    assert studio.store(anna.id).select(Kind.SOURCE) == []
    curate.undo_trash(studio, anna.id)
    assert len(studio.store(anna.id).select(Kind.SOURCE)) == 2


def test_words_that_a_user_saves_are_theirs(studio: Studio, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """Caption and tags are kept, and the caption is a human's."""
    image = add().id
    curate.save_words(studio, anna.id, image, "ohwx person, smiling", "front", "smiling", "", "")
    kept = studio.store(anna.id).images.get(image)
    assert (kept.caption, kept.caption_by) == ("ohwx person, smiling", "human")
    assert kept.tags["angle"] == "front"


def test_one_picture_shows_its_leak_its_advice_and_its_family(
    studio: Studio, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A caption that names the eyes is warned of; children are shown."""
    source = add(caption="ohwx person, blue eyes", advice={"blurry": "the face is soft"})
    add(Kind.ENRICHED, parent=source.id)
    top, rest = curate.draw_detail(studio, anna.id, source.id)
    assert "The caption names" in top
    assert "the face is soft" in rest
    assert "1 picture made from this one" in rest


def test_a_picture_that_is_gone_closes_its_panel(studio: Studio, anna: Character) -> None:
    """A stale id is no error."""
    assert "Click a picture" in curate.draw_detail(studio, anna.id, "gone")[0]
    assert curate.fill_form(studio, anna.id, "gone")[1] == ""


def test_coverage_counts_the_grid_and_leads_to_enrich(
    studio: Studio, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A filled cell is green; the gaps have a button."""
    add(tags={"angle": "front", "expression": "smiling"})
    shown = curate.draw_cover(studio, anna.id)
    assert shown.count('class="has"') == 1
    assert "Fill 19 gaps" in shown
