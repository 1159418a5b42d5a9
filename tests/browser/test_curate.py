"""Curate in a real browser: a character of one's own, many pictures at once, one picture and its crop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from studio.flywheel.enrich import edits as enrich
from studio.records.image import Kind
from tests.browser.conftest import draw_pictures, open_tab
from tests.browser.gate import Gated, gated

pytestmark = pytest.mark.browser


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gated]:
    """A studio with Anna's ten pictures, whose engines run freely."""
    with gated(tmp_path) as made:
        made.gate.open()
        yield made


def tiles(page: Page) -> Locator:
    """The pictures of the gallery."""
    return page.locator("#curate-gallery .fl-tile")


def opener(page: Page, at: int) -> Locator:
    """What opens a picture."""
    return tiles(page).nth(at).locator(".fl-open")


def caption(page: Page) -> Locator:
    """The open picture's caption."""
    return page.locator("#curate-caption textarea")


def captions(house: Gated) -> list[str]:
    """What Anna's pictures say, oldest first."""
    return [each.caption for each in house.store.select(Kind.SOURCE)]


def test_the_sample_is_named_and_ones_own_begins_with_one_zone(house: Gated, page: Page, tmp_path: Path) -> None:
    """One line names the sample; the dialog takes keys alone; the empty page is one zone; captions write themselves."""
    page.goto(f"{house.url}/?character=robin&tab=Curate")
    expect(page.locator("#curate-sample")).to_contain_text("Robin is a sample")
    page.get_by_role("button", name="Start your own").click()
    dialog = page.get_by_role("dialog", name="New character")
    expect(dialog).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".fl-say.bad")).to_contain_text("needs a name")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.click("#new-character")
    expect(page.locator("#new-name input, #new-name textarea")).to_be_focused()
    page.keyboard.type("Mira")
    page.keyboard.press("Enter")
    expect(page.locator(".fl-rail[data-character=mira]")).to_be_visible()

    zone = page.locator("#curate-files")
    expect(zone).to_be_visible()
    expect(page.locator("#curate-tools")).to_be_hidden()
    box = zone.bounding_box()
    assert box is not None and box["width"] > 600 and box["height"] > 250
    expect(page.locator(".fl-button.accent:visible, button.primary:visible")).to_have_count(0)  # the zone is the step

    pictures = [each for each in draw_pictures(tmp_path / "drops", 4) if each.suffix == ".png"]
    (tmp_path / "drops" / "broken.png").write_bytes(b"nonsense")
    page.set_input_files("#curate-files input[type=file]", [*pictures, tmp_path / "drops" / "broken.png"])
    expect(page.locator("#curate-report")).to_contain_text("4 pictures imported")
    expect(page.locator("#curate-report")).to_contain_text("broken.png")
    expect(tiles(page)).to_have_count(4)
    expect(page.locator("#curate-gallery")).not_to_contain_text("no caption")
    assert all(each.caption for each in house.studio.store("mira").select(Kind.SOURCE))

    open_tab(page, "Enrich")
    open_tab(page, "Curate")
    expect(page.locator("#curate-report")).not_to_contain_text("imported")  # a stale note goes with the tab


def test_typed_words_stay(house: Gated, page: Page) -> None:
    """Saved when the field is left, by whatever way; one undo; a reload in the middle loses no letter."""
    page.goto(f"{house.url}/?character=anna&tab=Curate")
    was = captions(house)
    opener(page, 1).click()
    expect(caption(page)).to_have_value(was[1])
    caption(page).fill("ohwx person, my own words")
    caption(page).blur()
    expect(page.locator("#curate-words")).to_contain_text("saved")
    page.locator("#curate-words [data-unword]").click()
    expect(caption(page)).to_have_value(was[1])
    caption(page).fill("ohwx person, on the way")
    opener(page, 2).click()
    expect(caption(page)).to_have_value(was[2])
    opener(page, 1).click()
    expect(caption(page)).to_have_value("ohwx person, on the way")
    caption(page).fill("ohwx person, half a sen")
    page.reload()
    opener(page, 1).click()
    expect(caption(page)).to_have_value("ohwx person, half a sen")
    page.keyboard.press("Tab")
    expect(page.locator("#curate-words")).not_to_contain_text("not")
    assert captions(house)[2] == was[2]


def test_many_pictures_by_keys_and_by_the_bar(house: Gated, page: Page) -> None:
    """Arrows, Space, Shift, Ctrl+A, Esc, Delete, Enter; the bar stays in sight, counts first, and undoes."""
    page.set_viewport_size({"width": 900, "height": 700})
    page.goto(f"{house.url}/?character=anna&tab=Curate")
    bar, count = page.locator(".fl-pickbar[data-picked-bar]"), page.locator("#curate-bulk [data-picked-count]")
    opener(page, 0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    expect(count).to_have_text("2 selected")
    page.keyboard.press("Control+a")
    expect(count).to_have_text("10 selected")
    page.keyboard.press("End")
    expect(opener(page, 9)).to_be_focused()
    expect(bar).to_be_in_viewport()

    page.get_by_text("Words of all selected").click()
    page.fill("[name=find]", "front view")
    expect(page.locator("#curate-told")).to_contain_text("10 captions will change")
    page.fill("[name=replacement]", "from the front")
    page.keyboard.press("Enter")
    expect(page.locator("#curate-told")).to_contain_text("10 pictures changed")
    assert all("from the front" in each for each in captions(house))
    page.locator("#curate-told").get_by_role("button", name="Undo").click()
    expect(page.locator("#curate-told")).to_contain_text("10 pictures as before")
    assert all("front view" in each for each in captions(house))
    page.fill("[name=before]", "photo")
    page.get_by_role("button", name="Add to the captions").click()
    expect(page.locator("#curate-told")).to_contain_text("10 pictures changed")
    page.get_by_text("Tags of all selected").click()
    page.select_option("[name=tag]", "angle=half-left")
    page.locator("#curate-bulk").get_by_role("button", name="Set").first.click()
    expect(tiles(page).last).to_contain_text("half-left")

    opener(page, 9).focus()
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()
    page.keyboard.press("Delete")
    expect(page.locator("#curate-told")).to_contain_text("1 picture put into the trash")
    expect(tiles(page)).to_have_count(9)
    expect(opener(page, 8)).to_be_focused()
    page.keyboard.press("Enter")
    expect(caption(page)).to_have_value(re.compile("number 8"))
    expect(page.locator("#curate-side")).to_be_in_viewport(ratio=0.9)
    page.keyboard.press("Escape")
    expect(caption(page)).to_be_hidden()
    page.locator("#undo-trash").click()
    expect(tiles(page)).to_have_count(10)


def test_the_gallery_is_ordered_and_filtered(house: Gated, page: Page) -> None:
    """Sort, words and the filter narrow together; nothing found says how to see all again."""
    page.goto(f"{house.url}/?character=anna&tab=Curate")
    page.locator("#curate-order input").click()
    page.get_by_role("option", name="newest first").click()
    expect(tiles(page).first).to_contain_text("9.png")
    page.get_by_label("Filter").click()
    page.get_by_role("option", name="caption: missing").click()
    expect(page.locator("#curate-gallery")).to_contain_text("Nothing matches")
    page.get_by_role("button", name="Show all of them").click()
    expect(tiles(page)).to_have_count(10)
    page.locator("#curate-find textarea, #curate-find input").fill("number 4")
    expect(tiles(page)).to_have_count(1)


def test_a_crop_is_dragged_and_moved_by_keys(house: Gated, page: Page) -> None:
    """A box of a chosen shape with a guide; arrows move it, Shift sizes it; it is kept, undone, and Esc closes."""
    page.goto(f"{house.url}/?character=anna&tab=Curate")
    image = house.store.select(Kind.SOURCE)[3].id
    opener(page, 3).click()
    page.locator("#curate-crop-fold .label-wrap").click()
    frame = page.locator("[data-crop]")
    expect(frame).to_be_in_viewport()
    page.click("[data-guide=bust]")
    expect(page.locator("[data-guide-of=bust]")).to_be_visible()
    page.click("[data-aspect='1']")
    area = frame.bounding_box()
    assert area is not None
    at = [(area["x"] + area["width"] * x, area["y"] + area["height"] * y) for x, y in ((0.2, 0.1), (0.8, 0.7))]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=5)
    page.mouse.up()
    left = page.get_by_label("Left %")
    expect(left).to_have_value(re.compile(r"^(19|20|21)"))
    before = float(left.input_value())
    page.locator("[data-crop] i").focus()
    page.keyboard.press("ArrowRight")
    expect(left).to_have_value(re.compile(rf"^{int(before + 1)}"))
    page.click("#curate-crop-save")
    expect(tiles(page).nth(3)).to_contain_text("crop")
    crop = house.store.images.get(image).crop
    assert len(crop) == 4 and abs((crop[2] - crop[0]) - (crop[3] - crop[1])) < 0.05
    page.click("#curate-crop-undo")
    expect(tiles(page).nth(3)).not_to_contain_text("crop")
    assert house.store.images.get(image).crop == ()


def test_the_title_tells_the_end_of_a_job(tmp_path: Path, page: Page) -> None:
    """While it runs the title says how far it is; when it has ended it says so, until the page is touched."""
    with gated(tmp_path) as house:
        page.goto(f"{house.url}/?character=anna&tab=Curate")
        desk = house.studio.desk(house.anna)
        enrich.submit(desk, enrich.plan(desk, limit=4, fill_gaps=False).rows)
        house.gate.let(2)
        expect(page).to_have_title(re.compile("edits"))
        house.gate.open()
        expect(page).to_have_title(re.compile("^✓ done"))
        page.keyboard.press("Tab")
        expect(page).to_have_title("FLENwheel")
