"""The picker of views in a real browser: by keyboard alone, with the words before anything is added."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.gate import Gated
from tests.browser.test_access import BEYOND, COVERED, GRAVE, PAINT

pytestmark = pytest.mark.browser


def test_three_views_are_picked_by_keyboard(house: Gated, page: Page) -> None:
    """Arrows go around the ring, space ticks; the words are shown, and each view becomes a row with its figure.

    Axe finds nothing grave in either theme, at 1440 and 900 pixels, and nothing is cut off or covered.
    """
    page.goto(f"{house.url}/?character=anna&tab=Enrich&__theme=dark")
    page.locator("#enrich-angles-fold > button").click()
    front = page.get_by_role("checkbox", name="front", exact=True)
    front.focus()
    for key, name in (("ArrowLeft", "half left"), ("ArrowUp", "profile left"), ("ArrowUp", "back left")):
        page.keyboard.press(key)
        expect(page.get_by_role("checkbox", name=name, exact=True)).to_be_focused()
        page.keyboard.press("Space")
    for _ in range(5):
        page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="eye level")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")
    said = page.locator("#enrich-angles-said dd")
    expect(said).to_have_count(3)
    expect(said.nth(1)).to_contain_text("Turn the head to a full side profile facing left (the viewer's left). Look up")
    expect(said.nth(1)).to_contain_text("close-up of the head")
    page.get_by_role("checkbox", name="a grey figure at the angle").focus()
    page.keyboard.press("Space")
    expect(said.last).to_contain_text("grey figure in picture 2")
    page.get_by_role("button", name="Add 3 rows").focus()
    page.keyboard.press("Enter")
    rows = page.locator(".fl-own-row")
    expect(rows).to_have_count(3)
    expect(rows.last).to_contain_text("→ Turn the person away and to the left")
    expect(rows.last.locator('img[alt="second picture"]')).to_be_visible()
    expect(rows.last.get_by_label("elevation")).to_have_value("low")

    page.add_style_tag(content="* { transition: none !important; }")
    shots, found = os.environ.get("FLEN_SHOTS", ""), []
    for width in (1440, 900):
        page.set_viewport_size({"width": width, "height": 900})
        for dark in (True, False):
            page.evaluate(PAINT, dark)
            if shots:
                page.locator("#enrich-angles-fold").scroll_into_view_if_needed()
                page.screenshot(path=Path(shots) / f"angles-{width}-{'dark' if dark else 'light'}.png", full_page=True)
            grave = [each for each in Axe().run(page).response["violations"] if each["impact"] in GRAVE]
            found += [(width, dark, each["id"], each["nodes"][0]["html"][:200]) for each in grave]
        found += [(width, each) for each in page.evaluate(BEYOND) + page.evaluate(COVERED)]
    assert found == []
