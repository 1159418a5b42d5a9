"""No button is silent: what cannot be done is said where the click was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as Silence

from tests.browser.conftest import PATIENCE_MS, open_tab
from tests.browser.gate import Gated, gated

pytestmark = pytest.mark.browser
TABS = ("Curate", "Enrich", "Train", "Generate", "Review", "Editor Refinement")
# What a person can press in the open tab, numbered: no fold, no way to another tab, no file chooser.
BUTTONS = """
() => [...document.querySelectorAll('[role="tabpanel"] button')].filter((node) =>
    node.offsetParent && !node.disabled && node.innerText.trim()
    && !node.matches('.label-wrap, .reset-button, [data-tab], [aria-label*="pload"]')
    && !node.closest('.tab-wrapper, #curate-folder, #generate-drop')
).map((node, at) => { node.dataset.nth = at; return node.innerText.trim(); })
"""
ANSWERED = """
(before) => document.querySelector('.fl-say')
    || [...document.querySelectorAll('[role="tabpanel"], .fl-rail')].map((node) => node.innerText).join() !== before
"""
SHOWN = """() => [...document.querySelectorAll('[role="tabpanel"], .fl-rail')].map((node) => node.innerText).join()"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gated]:
    """A studio with an empty character beside Anna, who has pictures; its jobs stand still, so that empty it stays."""
    with gated(tmp_path) as made:
        made.character("Empty")
        yield made


def quiet(page: Page) -> None:
    """Wait until everything is drawn and nothing is called any more, and close what was said."""
    expect(page.locator("[data-calling], .fl-waiting:visible")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator(".fl-say")).to_have_count(0)


def press(page: Page, words: str) -> None:
    """Click the button of these words; a part that is drawn anew meanwhile has lost its numbers."""
    for patience in (3000, PATIENCE_MS):
        at = page.evaluate(BUTTONS).index(words)
        try:
            return page.locator(f'[data-nth="{at}"]').click(timeout=patience)
        except Silence:
            if patience == PATIENCE_MS:
                raise


def test_every_button_of_an_empty_character_answers(house: Gated, page: Page) -> None:
    """Pressed where there is nothing to work on, each says so, or shows something else than before."""
    pressed: list[str] = []
    answered: list[str] = []
    for tab in TABS:
        page.goto(f"{house.url}/?character=empty&tab={tab}")
        expect(page.locator('.fl-rail[data-character="empty"]')).to_be_visible()
        expect(page.get_by_role("tab", name=tab, exact=True)).to_have_attribute("aria-selected", "true")
        quiet(page)
        done: set[str] = set()
        while left := [words for words in page.evaluate(BUTTONS) if words not in done]:
            done.add(left[0])
            before = page.evaluate(SHOWN)
            press(page, left[0])
            with suppress(Silence):
                page.wait_for_function(ANSWERED, arg=before)
                answered.append(f"{tab}: {left[0]}")
            pressed.append(f"{tab}: {left[0]}")
            quiet(page)
    assert pressed == answered
    assert {each.split(":")[0] for each in pressed} >= {"Curate", "Enrich", "Train", "Generate", "Editor Refinement"}


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
