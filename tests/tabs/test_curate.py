"""The Curate tab's handlers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engines.api.errors import UserError
from studio.flywheel.curate.coverage import ensure_sample
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind
from studio.workplace.desk import Workplace
from tabs import curate
from tabs.common import adding, picking, wording
from tests.tabs.colour_blocks import picture
from tests.tabs.conftest import character_on_fakes, studio_on_fakes


def test_an_import_reports_what_came_in_and_what_did_not(studio: Workplace, anna: Character, tmp_path: Path) -> None:
    """The good picture is there; the text in a picture's clothes is named, with what to do."""
    picture(1).save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("no picture at all")
    report, emptied = adding.import_files(studio.desk(anna.id), [str(tmp_path / "good.png"), str(tmp_path / "bad.jpg")])
    assert emptied is None
    assert "1 picture imported" in report
    assert "bad.jpg" in report
    assert len(studio.store(anna.id).select(Kind.SOURCE)) == 1


def test_an_import_reports_edits_for_the_editor(studio: Workplace, anna: Character, tmp_path: Path) -> None:
    """A result with its instruction and control picture is counted by itself, and no picture of the character."""
    for n, name in enumerate(("edit.png", "edit_control.png")):
        picture(n + 1).save(tmp_path / name)
    (tmp_path / "edit.txt").write_text("add a hat")
    report = adding.import_folder(studio.desk(anna.id), str(tmp_path))
    assert "1 edit for the editor" in report and "0 pictures imported" in report


def test_a_folder_that_is_not_there_is_refused(studio: Workplace, anna: Character) -> None:
    """The path is named."""
    with pytest.raises(UserError, match="/no/such"):
        adding.import_folder(studio.desk(anna.id), "/no/such")


def test_a_folder_is_found_as_people_give_it(studio: Workplace, anna: Character, tmp_path: Path) -> None:
    """In quotes and as an address; what was decided about a file's words is on the page."""
    (tmp_path / "a b").mkdir()
    picture(1).save(tmp_path / "a b" / "x.png")
    (tmp_path / "a b" / "x.txt").write_bytes("ohwx, café".encode("cp1252"))
    assert "1 picture imported" in adding.import_folder(studio.desk(anna.id), f'"{tmp_path}/a b"')
    shown = adding.import_folder(studio.desk(anna.id), f"file://{tmp_path}/a%20b")
    assert "It is here already as x.png" in shown and "not UTF-8" in shown


def typed(image: ImageRecord, words: str, **more: object) -> dict[str, object]:
    """What the page says when a caption was typed."""
    return {"act": "words", "of": "anna", "id": image.id, "caption": words, "n": 7, **more}


def test_words_belong_to_the_picture_they_were_typed_for(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Another picture is open by now: its form stays, the words are kept where they belong, and are a human's."""
    first, second = add(), add()
    shown = wording.values(second)
    told, filled, *_ = wording.act(studio.desk(anna.id), typed(first, "ohwx person, \n smiling "), second.id, shown)
    kept = studio.store(anna.id).images.get(first.id)
    assert (kept.caption, kept.caption_by) == ("ohwx person, smiling", "human")
    assert studio.store(anna.id).images.get(second.id) == second
    assert filled == shown
    assert 'data-sign="7"' in told and "saved" in told


def test_a_caption_left_as_it_was_keeps_its_author(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """It is a human's only when a human changed it; undo gives the old words back to who wrote them."""
    image = add(caption="ohwx person, sad", caption_by="mini-qwen-edit")
    images = studio.store(anna.id).images
    wording.keep(studio, typed(image, "ohwx person, sad"))
    assert images.get(image.id).caption_by == "mini-qwen-edit"
    wording.keep(studio, typed(image, "mine"))
    assert images.get(image.id).caption_by == "human"
    wording.keep(studio, typed(image, "ohwx person, sad", by="mini-qwen-edit"))
    assert (images.get(image.id).caption, images.get(image.id).caption_by) == ("ohwx person, sad", "mini-qwen-edit")


def test_words_without_a_picture_are_told_back(studio: Workplace, anna: Character) -> None:
    """A picture or character that is gone takes no words with it."""
    for gone in ({"id": "gone"}, {"id": "gone", "of": "nobody"}):
        told, record = wording.keep(studio, {"of": anna.id, "caption": "<b>mine</b>", "n": 1, **gone})
        assert record is None
        assert "&lt;b&gt;mine" in told


def test_a_tag_is_kept_taken_away_and_taken_back(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Each for the picture it was chosen for; an emptied one is gone."""
    image = add(tags={"angle": "front", "background": "forest"})
    images = studio.store(anna.id).images
    wording.tagging("angle")(studio.desk(anna.id), image.id, "half-left", ())
    assert images.get(image.id).tags == {"angle": "half-left", "background": "forest"}
    wording.tagging("angle")(studio.desk(anna.id), image.id, "", ())
    assert images.get(image.id).tags == {"background": "forest"}
    back = {"act": "untag", "id": image.id, "tag": "angle", "was": "front"}
    _, _, *tags = wording.act(studio.desk(anna.id), back, image.id, ())
    assert tags[0] == images.get(image.id).tags["angle"] == "front"


def test_the_captioners_words_reach_an_open_form(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The form is filled again when the store holds other words than it was filled with, and left alone otherwise."""
    image = add()
    filled = curate.fill_form(studio.desk(anna.id), image.id)[-1]
    assert "ohwx" not in str(curate.refill_form(studio.desk(anna.id), image.id, "My pictures", filled))
    studio.store(anna.id).update_image(image.id, caption="ohwx person, by the captioner")
    assert (
        curate.refill_form(studio.desk(anna.id), image.id, "My pictures", filled)[0] == "ohwx person, by the captioner"
    )


def test_the_drop_zone_fills_an_empty_page_and_folds_over_pictures(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """It moves when the character or its first picture comes, and stays as a hand has put it in between."""
    moved, place = curate.open_drop(studio.desk(anna.id), "")
    assert moved["open"] is True
    assert "open" not in curate.open_drop(studio.desk(anna.id), place)[0]
    add()
    moved, place = curate.open_drop(studio.desk(anna.id), place)
    assert moved["open"] is False
    assert curate.open_drop(studio.desk("robin"), place)[0].get("open") is False
    assert "data-first-pictures" not in curate.draw_gallery(studio.desk(anna.id), "My pictures", "", "", [], 120, "")[0]


def test_what_is_trashed_closes_and_undo_is_offered_while_there_is_something(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The open picture closes with its trash, here and in another window; the button goes when all is back."""
    image, other = add(), add()
    desk = studio.desk(anna.id)
    assert curate.offer(desk)[1]["visible"] is False
    note, chosen = picking.act(desk, {"act": "trash", "picks": [image.id, other.id]}, image.id)
    assert chosen == ""
    assert "2 pictures put into the trash" in note
    assert "Click a picture" in curate.draw_detail(desk, image.id, "My pictures")[0]
    assert "Click a picture" not in curate.draw_detail(desk, image.id, "Trash")[0]
    assert curate.offer(desk)[1]["visible"] is True
    studio.store(anna.id).restore([image.id])
    assert curate.offer(desk)[1]["value"] == "Undo trash (1)"
    assert "1 picture brought back" in curate.undo_last(desk)
    assert curate.offer(desk)[1]["visible"] is False


def test_a_family_is_counted_whole_and_shown_in_part(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Twenty-five edits of one picture are 25: 12 in sight, 13 behind a fold."""
    source = add()
    for _ in range(25):
        add(Kind.ENRICHED, parent=source.id)
    _, rest = curate.draw_detail(studio.desk(anna.id), source.id)
    assert "25 pictures made from this one" in rest and "… and 13 more" in rest
    assert rest.partition("<details")[0].count("fl-tile") == 12 and rest.count("fl-tile") == 25


def test_one_button_is_the_next_step(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """While captions are missing they are primary, and the gaps are not; then it is the other way round."""
    for _ in range(9):
        add(caption_by="human", tags={"angle": "front", "expression": "smiling"})
    silent = add(caption="", tags={"angle": "half-left"})
    desk = studio.desk(anna.id)
    captioned, _ = curate.offer(desk)
    assert (captioned["value"], captioned["variant"], captioned["visible"]) == ("Write 1 caption", "primary", True)
    assert "accent" not in curate.draw_cover(desk)
    studio.store(anna.id).update_image(silent.id, caption="ohwx person", caption_by="human")
    assert curate.offer(desk)[0]["visible"] is False
    assert "accent" in curate.draw_cover(desk)


def test_captions_write_themselves_after_an_import_unless_told_not_to(
    studio: Workplace, anna: Character, tmp_path: Path
) -> None:
    """Only pictures without words are captioned; what the box says is remembered by the studio."""
    desk = studio.desk(anna.id)
    for number in (1, 2, 3):
        picture(number).save(tmp_path / f"{number}.png")
    (tmp_path / "2.txt").write_text("ohwx person, sad")
    adding.import_files(desk, [str(tmp_path / name) for name in ("1.png", "2.png", "2.txt")])
    assert [job.total for job in studio.jobs.list() if job.kind == "caption"] == [1]
    adding.remember(desk, False)
    assert adding.writes(desk) is False
    adding.import_files(desk, [str(tmp_path / "3.png")])
    assert len([job for job in studio.jobs.list() if job.kind == "caption"]) == 1


def test_only_the_sample_is_called_a_sample(tmp_path: Path) -> None:
    """One line with the way to one's own character, until it is closed."""
    studio = studio_on_fakes(tmp_path)
    sample = ensure_sample(studio)
    own = character_on_fakes(studio, "Anna")
    assert sample is not None
    line = adding.draw_sample(studio.desk(sample.id))
    assert "is a sample" in line and "Start your own" in line
    assert adding.draw_sample(studio.desk(own.id)) == ""
    adding.close_sample(studio.desk(sample.id), {})
    assert adding.draw_sample(studio.desk(sample.id)) == ""
    studio.close()


def test_rules_for_captions_wait_for_a_caption(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Without one there is nothing that every caption does."""
    add(caption="")
    assert "every caption begins" not in curate.draw_cover(studio.desk(anna.id))
    add()
    assert "every caption begins with ohwx" in curate.draw_cover(studio.desk(anna.id))


def test_one_picture_shows_its_leak_its_advice_and_its_family(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A caption that names the eyes is warned of; children are shown."""
    source = add(caption="ohwx person, blue eyes", advice={"blurry": "the face is soft"})
    add(Kind.ENRICHED, parent=source.id)
    top, rest = curate.draw_detail(studio.desk(anna.id), source.id)
    assert "The caption names" in top
    assert "the face is soft" in rest
    assert "1 picture made from this one" in rest


def test_a_picture_that_is_gone_closes_its_panel(studio: Workplace, anna: Character) -> None:
    """A stale id is no error."""
    assert "Click a picture" in curate.draw_detail(studio.desk(anna.id), "gone")[0]
    assert set(curate.fill_form(studio.desk(anna.id), "gone")[:-2]) == {""}


def test_coverage_counts_the_grid_and_leads_to_enrich(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A filled cell is green; the gaps have a button."""
    add(tags={"angle": "front", "expression": "smiling"})
    shown = curate.draw_cover(studio.desk(anna.id))
    assert shown.count('class="has"') == 1
    assert "Fill 19 gaps" in shown
