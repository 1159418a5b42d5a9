"""One turn through the page, in a real browser, with a reload in the middle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, draw_pictures, new_character, number, open_tab, serve

pytestmark = pytest.mark.browser


@pytest.fixture(params=["fake", pytest.param("embedded", marks=pytest.mark.slow)])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """On fakes, or on the embedded models."""
    with serve(tmp_path / "home", *(["--fake"] if request.param == "fake" else [])) as studio:
        yield studio


def press(page: Page, key: str) -> None:
    """Press a key on the stage and wait until another picture, or none, stands there."""
    stage = page.locator("[data-stage]")
    before = stage.get_attribute("data-id")
    page.keyboard.press(key)
    page.wait_for_function(
        "id => { const s = document.querySelector('[data-stage]'); return !s || s.dataset.id !== id }", arg=before
    )


def test_one_turn_with_a_reload_in_the_middle(served: Served, page: Page, tmp_path: Path) -> None:
    """Import, enrich, review by keys, reload, train, generate: the page always shows what the store holds."""
    new_character(page, served.url, draw_pictures(tmp_path / "pictures"))
    expect(page.locator("#curate-gallery .fl-tile")).to_have_count(10)
    expect(page.locator("#curate-report")).to_contain_text("10 pictures imported")
    page.locator("#curate-gallery .fl-open").first.click()
    expect(page.locator("#curate-caption textarea")).to_have_value(re.compile("ohwx person"))

    open_tab(page, "Enrich")
    expect(page.locator("#enrich-cost")).to_contain_text("24 edits")
    number(page, "#enrich-limit", 2)
    expect(page.locator("#enrich-cost")).to_contain_text("2 edits")
    page.click("#enrich-run")
    expect(page.locator("#enrich-results .fl-pair")).to_have_count(2)

    open_tab(page, "Review")
    expect(page.locator("[data-stage]")).to_be_visible()
    expect(page.locator("#review-tally")).to_contain_text("2 left")
    press(page, "a")
    expect(page.locator("#review-tally")).to_contain_text("1 good")

    page.reload()
    expect(page.locator('.fl-rail[data-character^="bea"]')).to_be_visible()
    expect(page.locator("#review-tally")).to_contain_text("1 left")
    expect(page.locator("#review-tally")).to_contain_text("1 good")
    press(page, "x")
    expect(page.locator("#review-tally")).to_contain_text("1 reject")
    page.keyboard.press("Backspace")
    expect(page.locator("#review-tally")).to_contain_text("0 reject")
    press(page, "x")
    expect(page.locator("#review-tally")).to_contain_text("0 left")

    open_tab(page, "Train")
    expect(page.locator("#train-preflight")).to_contain_text("11 pictures")
    number(page, "#train-steps", 4)
    expect(page.locator("#train-preflight")).to_contain_text("4 steps")
    page.click("#train-start")
    expect(page.locator("#train-versions")).to_contain_text("v1")
    expect(page.locator("#train-live .fl-plot")).to_be_visible()

    open_tab(page, "Generate")
    expect(page.locator("#generate-cost")).to_contain_text("4 pictures")
    number(page, "#generate-count", 1)
    expect(page.locator("#generate-cost")).to_contain_text("1 picture")
    page.click("#generate-go")
    expect(page.locator("#generate-results .fl-tile")).to_have_count(1)

    rail = page.locator(".fl-rail")
    expect(rail).to_contain_text(re.compile(r"Generate\s*1"))
    second = page.context.new_page()
    second.goto(served.url)
    expect(second.locator('.fl-rail[data-character^="bea"]')).to_be_visible()
    expect(second.locator(".fl-rail")).to_have_text(rail.text_content() or "")
