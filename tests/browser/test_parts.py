"""What of a picture counts, cut out, uploaded and painted by hand, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, draw_pictures, new_character, number, open_tab, serve_here
from tests.tabs.conftest import studio_on_fakes

pytestmark = pytest.mark.browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """On fakes."""
    with serve_here(studio_on_fakes(tmp_path)) as studio:
        yield studio


def edge(page: Page, name: str, percent: int) -> None:
    """Type where an edge of the crop lies."""
    field = page.get_by_label(f"{name} %")
    field.fill(str(percent))
    field.press("Tab")


def test_a_part_is_cut_out_masked_and_painted(served: Served, page: Page, tmp_path: Path) -> None:
    """Each edge moves the preview before anything is kept; what is kept shows on the picture, and goes again."""
    new_character(page, served.url, draw_pictures(tmp_path / "pictures", 2))
    page.locator("#curate-gallery .fl-open").first.click()
    expect(page.locator("#curate-caption textarea")).to_have_value(re.compile("ohwx person"))
    tile, hero = page.locator("#curate-gallery .fl-tile").first, page.locator("#curate-hero")

    page.get_by_text("Crop: the part that is trained").click()
    preview = page.locator("#curate-crop")
    expect(preview).to_contain_text("64 × 64 of 64 × 64")
    shown = preview.locator("img").bounding_box()
    assert shown and shown["width"] > 200  # a small picture is shown large
    edge(page, "Left", 90)
    edge(page, "Right", 50)
    expect(preview).to_contain_text("is not a part of bea_0.png")
    edge(page, "Left", 25)
    expect(preview).to_contain_text("16 × 64 of 64 × 64")
    page.click("#curate-crop-save")
    expect(tile).to_contain_text("crop")
    expect(hero).to_contain_text("what counts in training")
    page.click("#curate-crop-undo")
    expect(tile).not_to_contain_text("crop")
    expect(preview).to_contain_text("64 × 64 of 64 × 64")
    page.get_by_text("Crop: the part that is trained").click()

    Image.linear_gradient("L").resize((64, 64)).save(tmp_path / "mask.png")
    page.get_by_text("Mask: what counts in training").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a mask").click()
    chooser.value.set_files(tmp_path / "mask.png")
    expect(tile).to_contain_text("mask")
    page.click("#curate-mask-remove")
    expect(tile).not_to_contain_text("mask")

    expect(page.locator("#curate-mask-save")).to_be_hidden()
    page.click("#curate-mask-begin")
    canvas = page.locator("#curate-paint canvas").first
    expect(canvas).to_be_visible()
    page.locator("#curate-mask-save").scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(1000)  # the canvas takes the picture in
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 40, middle[1] + 30, steps=6)
    page.mouse.up()
    page.wait_for_timeout(1000)  # and the stroke
    page.click("#curate-mask-save")
    expect(tile).to_contain_text("mask")
    expect(page.locator("#curate-mask-save")).to_be_hidden()


def test_an_editors_training_tells_what_it_lacks(served: Served, page: Page, tmp_path: Path) -> None:
    """Its pre-flight follows the steps, and says where lessons come from."""
    new_character(page, served.url, draw_pictures(tmp_path / "pictures", 2))
    open_tab(page, "Editor Refinement")
    ready = page.locator("#refine-preflight")
    expect(ready).to_contain_text("0 edits")
    expect(ready).to_contain_text("correct wrong edits in Review")
    number(page, "#refine-steps", 7)
    expect(ready).to_contain_text("7 steps")


def test_what_a_card_missed_is_shown_by_the_editor(served: Served, page: Page, tmp_path: Path) -> None:
    """One click below the card queues the edits, a message says what to do then, and Enrich can plan the same."""
    new_character(page, served.url, draw_pictures(tmp_path / "pictures", 2))
    open_tab(page, "Enrich")
    page.get_by_label("Card gaps").click()
    expect(page.locator("#enrich-cost")).to_contain_text("no model card yet")
    open_tab(page, "Generate")
    page.click("#card-go")
    page.get_by_role("tab", name="Model card").click()
    page.get_by_role("button", name="Let the editor show what it missed").click()
    expect(page.locator(".fl-say")).to_contain_text("Review them, then train the next version")
    open_tab(page, "Enrich")
    expect(page.locator("#enrich-results .fl-pair")).to_have_count(24)
    expect(page.locator("#enrich-cost")).to_contain_text("24 edits")
