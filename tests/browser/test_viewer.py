"""The viewer in a real browser: opened from a gallery, walked through by keys, acted in, and closed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from studio.records.image import Kind, Verdict
from tests.browser.conftest import Served, serve_here
from tests.tabs.colour_blocks import picture, png
from tests.tabs.conftest import character_on_fakes, studio_on_fakes

pytestmark = pytest.mark.browser

EDITS = 5
PROMPT = "ohwx person, sad, on a beach"
VIEWER = "dialog[data-viewer]"
INSIDE = f"() => document.querySelector('{VIEWER}').contains(document.activeElement)"
FOCUS = "() => document.activeElement.dataset.view || document.activeElement.dataset.id"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A studio with three originals, five edits of the first one, and a drawn picture that was approved."""
    studio = studio_on_fakes(tmp_path)
    store = studio.store(character_on_fakes(studio, "Anna").id)
    sources = [store.add_image(png(picture(n)), kind=Kind.SOURCE, caption="ohwx person").id for n in range(3)]
    made = {"params": {"instruction": "smile"}, "params_kind": "EditParams", "asked": {"expression": "smiling"}}
    for n in range(EDITS):
        store.add_image(png(picture(10 + n)), kind=Kind.ENRICHED, parent=sources[0], model="fake-edit", **made)
    drawn = {"params": {"prompt": PROMPT, "seed": 9}, "params_kind": "GenerateParams", "model": "fake-flux", "seed": 9}
    store.decide(store.add_image(png(picture(30)), kind=Kind.SYNTHETIC, **drawn).id, Verdict.GOOD)
    with serve_here(studio) as running:
        yield running


def arrive(page: Page, served: Served, tab: str, wanted: str) -> None:
    """Open a tab and wait for what is to be clicked in it."""
    page.goto(f"{served.url}/?character=anna&tab={tab}")
    expect(page.locator('.fl-rail[data-character="anna"]')).to_be_visible()
    expect(page.locator(wanted).first).to_be_visible()


def known(page: Page) -> None:
    """Wait until everything is told of the picture that is open."""
    expect(page.locator(f"{VIEWER} .fl-facts")).to_be_visible()
    expect(page.locator(f"{VIEWER}.ahead")).to_have_count(0)


def test_a_gallery_is_walked_through_and_judged_by_keys(page: Page, served: Served) -> None:
    """Arrows follow the gallery's order, a verdict is undone, Tab stays inside, Escape gives the focus back."""
    arrive(page, served, "Enrich", ".fl-both")
    order = [node.get_attribute("data-view") for node in page.locator(".fl-both").all()]
    viewer = page.locator(VIEWER)

    page.locator(".fl-both").first.click()
    known(page)
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(viewer.locator("[data-place]")).to_have_text(f"1 of {EDITS}")
    expect(viewer.locator(".fl-compare")).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(viewer.locator("[data-place]")).to_have_text(f"3 of {EDITS}")
    known(page)
    expect(viewer.locator(".fl-facts")).to_contain_text(str(order[2]))

    page.keyboard.press("a")
    expect(viewer.locator(".fl-viewer-note")).to_contain_text("Your verdict: good")
    expect(viewer.locator('[data-act="good"]')).to_have_attribute("aria-pressed", "true")
    viewer.get_by_role("button", name="Undo", exact=True).click()
    expect(viewer.locator(".fl-viewer-note")).to_contain_text("taken back")
    expect(viewer.locator('[data-act="good"]')).to_have_attribute("aria-pressed", "false")

    stops = viewer.locator("button:visible, a:visible, input:visible").count()
    for _ in range(stops + 3):
        page.keyboard.press("Tab")
        assert page.evaluate(INSIDE)
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(INSIDE)

    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    assert page.evaluate(FOCUS) == order[2]


def test_in_curate_a_click_edits_and_enter_enlarges(page: Page, served: Served) -> None:
    """Enter and double click open the viewer; family is a click away, Backspace leads back; the trash is undone."""
    arrive(page, served, "Curate", "#curate-gallery .fl-tile")
    viewer, tile = page.locator(VIEWER), page.locator("#curate-gallery .fl-tile .fl-open").first
    tile.click()
    expect(page.locator("#curate-hero .fl-hero")).to_be_visible()
    expect(viewer).to_be_hidden()

    tile.focus()
    page.keyboard.press("Enter")
    known(page)
    expect(viewer).to_contain_text(f"{EDITS} pictures made from this one")
    viewer.locator(".fl-viewer-family .fl-view").first.click()
    expect(viewer.locator("[data-place]")).to_have_text(f"1 of {EDITS}")
    expect(viewer).to_contain_text("Made from")
    page.keyboard.press("Backspace")
    expect(viewer.locator("[data-place]")).to_have_text("1 of 3")
    expect(viewer).to_contain_text("made from this one")
    known(page)

    page.keyboard.press("Delete")
    expect(viewer).to_contain_text("in the trash")
    viewer.get_by_role("button", name="Undo", exact=True).click()
    expect(viewer.locator(".fl-viewer-note")).to_contain_text("Brought back")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(page.locator("#curate-gallery .fl-tile")).to_have_count(3)

    page.locator("#curate-gallery .fl-tile .fl-open").nth(1).dblclick()
    known(page)
    expect(viewer.locator("[data-place]")).to_have_text("2 of 3")


def test_settings_are_used_from_any_page(page: Page, served: Served) -> None:
    """From Review's history to Generate, which opens with the picture's prompt; keys behind the viewer rest."""
    arrive(page, served, "Review", ".fl-history [data-view]")
    left = page.locator("#review-tally b").inner_text()
    page.locator(".fl-history [data-view]").first.click()
    known(page)
    page.keyboard.press(" ")
    page.keyboard.press("3")
    expect(page.locator("#review-tally b")).to_have_text(left)

    page.keyboard.press("u")
    expect(page.get_by_role("tab", name="Generate", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator(VIEWER)).to_be_hidden()
    expect(page.locator("#generate-prompt textarea")).to_have_value(PROMPT)
    expect(page.locator(".fl-waiting:visible, [data-calling]")).to_have_count(0)
    expect(page.locator("#generate-prompt textarea")).to_have_value(PROMPT)
