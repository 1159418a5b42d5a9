"""No button is silent: what cannot be done is said where the click was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import open_tab
from tests.browser.gate import Gated, gated
from tests.browser.pressing import press_all, quiet

pytestmark = pytest.mark.browser
TABS = ("Curate", "Enrich", "Train", "Generate", "Review", "Editor Refinement")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gated]:
    """A studio with an empty character beside Anna, who has pictures; its jobs stand still, so that empty it stays."""
    with gated(tmp_path) as made:
        made.character("Empty")
        yield made


def test_every_button_of_an_empty_character_answers(house: Gated, page: Page) -> None:
    """Pressed where there is nothing to work on, each says so, or shows something else than before."""
    pressed: dict[str, list[str]] = {}
    silent: dict[str, list[str]] = {}
    for tab in TABS:
        page.goto(f"{house.url}/?character=empty&tab={tab}")
        expect(page.locator('.fl-rail[data-character="empty"]')).to_be_visible()
        expect(page.get_by_role("tab", name=tab, exact=True)).to_have_attribute("aria-selected", "true")
        quiet(page)
        pressed[tab], silent[tab] = press_all(page)
    assert not any(silent.values()), silent
    assert all(pressed[tab] for tab in TABS if tab != "Review")


@pytest.mark.parametrize(
    ("tab", "prepare", "press", "words"),
    [
        ("Curate", [], "#new-create", "A character needs a name"),
        ("Enrich", ["uncheck #enrich-tasks input"], "#enrich-run", "No kind of edit is chosen"),
        ("Generate", ["empty #generate-prompt textarea"], "#generate-go", "The prompt is empty"),
    ],
)
def test_a_refusal_is_said_beside_the_button(
    house: Gated, page: Page, tab: str, prepare: list[str], press: str, words: str
) -> None:
    """Its cause and its remedy stand within a hand's breadth of what was clicked, and go with the next click."""
    page.goto(f"{house.url}/?character=anna&tab={tab}")
    expect(page.locator('.fl-rail[data-character="anna"]')).to_be_visible()
    open_tab(page, tab)
    for step in prepare:
        how, where = step.split(" ", 1)
        for node in page.locator(where).all():
            node.uncheck() if how == "uncheck" else node.fill("")
    quiet(page)
    if press == "#new-create":
        page.click("#new-character")
    page.click(press)
    said = page.locator(".fl-say.bad")
    expect(said).to_contain_text(words)
    button, bubble = page.locator(press).bounding_box(), said.bounding_box()
    assert button and bubble
    below = bubble["y"] - (button["y"] + button["height"])
    assert -button["height"] - bubble["height"] - 80 <= below <= 80
    assert bubble["x"] <= button["x"] + button["width"] and bubble["x"] + bubble["width"] >= button["x"]
    page.locator("#new-form h2" if press == "#new-create" else ".fl-brand").click()
    expect(said).to_have_count(0)


def test_a_bug_is_shown_beside_the_click(house: Gated, page: Page) -> None:
    """Where a call breaks, the page says so and where the details are."""
    page.goto(f"{house.url}/?character=anna&tab=Generate")
    expect(page.locator('.fl-rail[data-character="anna"]')).to_be_visible()
    quiet(page)
    page.route("**/gradio_api/run/**", lambda route: route.fulfill(status=500, json={"error": "KeyError: 'seed'"}))
    page.click("#card-go")
    expect(page.locator(".fl-say.bad")).to_contain_text("Something in the studio went wrong: KeyError")
    expect(page.locator(".fl-say.bad")).to_contain_text("log")
