"""Words that are typed in Curate, and pictures that are picked there, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Served, draw_pictures, new_character, open_tab, serve_here
from tests.tabs.conftest import studio_on_fakes

pytestmark = pytest.mark.browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """On fakes."""
    with serve_here(studio_on_fakes(tmp_path)) as studio:
        yield studio


def open_picture(page: Page, at: int) -> Locator:
    """Click a picture; answers the field with its caption, once it is filled."""
    page.locator("#curate-gallery .fl-open").nth(at).click()
    field = page.locator("#curate-caption textarea")
    expect(page.locator(f"#curate-gallery .fl-tile:nth-child({at + 1}).chosen")).to_be_visible()
    return field


def test_typed_words_stay_with_their_picture(served: Served, page: Page, tmp_path: Path) -> None:
    """Another picture, another tab, a reload: what was typed is there again, said to be saved, and can be undone."""
    new_character(page, served.url, draw_pictures(tmp_path / "pictures", 3))
    expect(page.locator("#curate-gallery .fl-tile")).to_have_count(3)
    field = open_picture(page, 0)
    field.fill("ohwx person, words of the first")
    field = open_picture(page, 1)
    expect(field).to_have_value("ohwx person, smiling, front view, head shot, number 1")
    field.fill("ohwx person, words of the second")
    open_tab(page, "Review")
    open_tab(page, "Curate")
    expect(field).to_have_value("ohwx person, words of the second")
    expect(page.locator("#curate-words")).to_contain_text("saved")
    page.get_by_role("button", name="undo").click()
    expect(field).to_have_value("ohwx person, smiling, front view, head shot, number 1")
    expect(page.locator("#curate-words")).to_contain_text("as before")
    field.press_sequentially(" typed")
    field.press("Escape")
    expect(field).to_have_value("ohwx person, smiling, front view, head shot, number 1")

    field.fill("ohwx person, on its way")
    page.reload()
    expect(open_picture(page, 1)).to_have_value("ohwx person, on its way")
    expect(open_picture(page, 0)).to_have_value("ohwx person, words of the first")


def test_what_is_picked_is_told_where_it_can_be_seen(served: Served, page: Page, tmp_path: Path) -> None:
    """The bar stays in sight below a long gallery; all, none, Delete and its undo work from the keyboard."""
    page.goto(served.url)
    new_character(page, served.url, draw_pictures(tmp_path / "pictures", 20))
    tiles = page.locator("#curate-gallery .fl-tile")
    expect(tiles).to_have_count(20)
    page.set_viewport_size({"width": 900, "height": 700})
    last = page.locator("#curate-gallery .fl-pick").last
    last.scroll_into_view_if_needed()
    last.click()
    bar = page.locator("[data-picked-bar]")
    expect(bar).to_be_in_viewport(ratio=1)
    expect(bar).to_contain_text("1 selected")
    page.keyboard.press("Control+a")
    expect(bar).to_contain_text("20 selected")
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()
    last.click()
    page.keyboard.press("Delete")
    expect(tiles).to_have_count(19)
    page.locator("#curate-told").get_by_role("button", name="Undo").click()
    expect(tiles).to_have_count(20)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator("#curate-gallery .fl-open").last.click()
    expect(page.locator("#curate-hero .fl-hero")).to_be_in_viewport()
    page.get_by_role("button", name="Back to the pictures").click()
    expect(page.locator("#curate-hero .fl-hero")).to_be_hidden()


def test_a_new_character_shows_where_to_drop(served: Served, page: Page, tmp_path: Path) -> None:
    """The zone stands large in the middle as soon as the character is there, and folds over its first pictures."""
    new_character(page, served.url, [])
    zone = page.locator("#curate-files")
    expect(zone).to_be_visible()
    expect(zone).to_contain_text("Drop 10 to 20 pictures of one character here")
    box = zone.bounding_box()
    assert box and box["height"] > 300 and box["width"] > 500
    page.set_input_files("#curate-files input[type=file]", draw_pictures(tmp_path / "pictures", 2))
    expect(page.locator("#curate-gallery .fl-tile")).to_have_count(2)
    expect(zone).to_be_hidden()
