"""The page of versions and the button that trains, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Served, open_tab, serve_here
from tests.tabs.conftest import character_on_fakes, studio_on_fakes
from tests.tabs.telling import GAINED, LOST, tell

pytestmark = pytest.mark.browser
VIEWER = "dialog[data-viewer]"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A studio with two versions, their cards, a stopped training and a version of the editor."""
    studio = studio_on_fakes(tmp_path)
    tell(studio, character_on_fakes(studio, "Anna"))
    with serve_here(studio) as running:
        yield running


def row(page: Page, name: str) -> Locator:
    """One version's row."""
    return page.locator(f'#story article[aria-label="{name}"]')


def arrive(page: Page, served: Served, tab: str) -> None:
    """Open the studio where Anna is chosen."""
    page.goto(f"{served.url}/?character=anna&tab={tab}")
    expect(page.locator('.fl-rail[data-character="anna"]')).to_be_visible()


def opens(page: Page, picture: Locator, title: str, beside: str = "") -> None:
    """Click a picture: the viewer shows it, laid over another one where that is said; Escape closes it."""
    picture.click()
    expect(page.locator("#fl-viewer-name")).to_have_text(re.compile(title))
    if beside:
        expect(page.locator(f"{VIEWER} [data-beside].on")).to_have_text(beside)
    page.keyboard.press("Escape")
    expect(page.locator(f"{VIEWER}[open]")).to_have_count(0)


def test_versions_are_looked_at_compared_adopted_and_thrown_away(page: Page, served: Served) -> None:
    """Every picture opens, any run can be opened, notes outlive a reload, and what is thrown away comes back."""
    arrive(page, served, "Curate")
    page.get_by_role("button", name="Versions", exact=True).click()
    expect(page.locator("#story article")).to_have_count(3)
    expect(row(page, "v1")).to_contain_text("in use")
    opens(page, row(page, "v2").locator(".fl-faces .fl-view").first, "model card of v2", "same seed, v1")
    opens(page, row(page, "v2").locator(".fl-group .fl-view").first, r"0\.png")
    opens(page, page.locator("#story-editors .fl-twin .fl-view").first, r"0\.png")

    row(page, "v2").get_by_role("button", name="Compare with v1").click()
    compared = page.locator("#story-compared")
    expect(compared).to_contain_text("v1 and v2, cell by cell")
    expect(compared.locator(".fl-twin.gained")).to_contain_text(GAINED)
    expect(compared.locator(".fl-twin.lost")).to_contain_text(LOST)
    opens(page, compared.locator(".fl-twin.gained .fl-view").first, "model card of v1", "same seed, v2")

    page.locator("#story-runs tr", has_text="stopped").get_by_role("button", name="Open").click()
    expect(page.locator("#story-opened .fl-plot")).to_be_visible()
    expect(page.locator("#story-opened")).to_contain_text("Resume from step")
    page.keyboard.press("Escape")
    expect(page.locator("#story-opened .fl-plot")).to_have_count(0)

    note = row(page, "v2").locator("textarea")
    note.fill("eyes are right now")
    note.press("Tab")
    expect(page.locator(".fl-say")).to_contain_text("Notes of v2 are saved")
    page.reload()
    expect(note).to_have_value("eyes are right now")

    row(page, "v2").get_by_role("button", name="Adopt").click()
    expect(row(page, "v2").get_by_role("button", name="Go back to v1")).to_be_visible()
    row(page, "v1").get_by_role("button", name="Delete").click()
    expect(row(page, "v1")).to_have_count(0)
    page.locator("#story-written").get_by_role("button", name="Undo").click()
    expect(row(page, "v1")).to_be_visible()


def test_a_character_is_renamed_deleted_and_taken_back(page: Page, served: Served) -> None:
    """What follows is said before it is saved, a reload forgets what was not, and the trash gives it back."""
    arrive(page, served, "Character")
    page.locator("#character-settings button").first.click()
    trigger = page.locator("#character-trigger input, #character-trigger textarea")
    expect(trigger).to_have_value("ohwx")
    trigger.fill("mira7")
    expect(page.locator("#character-effects")).to_contain_text("v1 and v2 learned “ohwx”")
    expect(page.locator("#character-captions")).to_contain_text("13 captions")
    page.reload()
    page.locator("#character-settings button").first.click()
    expect(trigger).to_have_value("ohwx")

    page.locator("#character-name input, #character-name textarea").fill("Mira")
    expect(page.locator("#character-effects")).to_contain_text("stay in the folder anna")
    page.click("#character-save")
    expect(page.locator("#story")).to_contain_text("Mira: the story of its versions")
    expect(page.locator("#fl-character input")).to_have_value("Mira")

    page.locator("#character-danger summary").click()
    page.locator("#character-danger").get_by_role("button").click()
    expect(page.locator("#story-back")).to_contain_text("Mira is in the trash")
    expect(page.locator("#story")).not_to_contain_text("Mira")
    page.reload()
    page.locator("#character-trash").get_by_role("button", name="Restore").click()
    expect(page.locator("#story")).to_contain_text("Mira: the story of its versions")
    expect(page.locator("#character-trash")).not_to_contain_text("Mira")


@pytest.mark.parametrize("width", [1440, 900])
def test_the_button_that_trains_is_in_sight_and_every_run_is_in_reach(page: Page, served: Served, width: int) -> None:
    """At the top of the page and at its end, above the strip; an earlier run opens in the place of the newest."""
    page.set_viewport_size({"width": width, "height": 900})
    arrive(page, served, "Train")
    expect(page.locator("#train-verdict")).to_contain_text("ready")
    strip = page.locator("#fl-strip").bounding_box()
    box = page.locator("#train-start").bounding_box()
    assert strip and box
    assert box["y"] + box["height"] <= strip["y"]

    runs = page.locator("#train-runs")
    expect(page.locator("#train-live")).to_contain_text("stopped")
    runs.locator("tr", has_text="done: v1").get_by_role("button", name="Open").click()
    expect(page.locator("#train-live")).to_contain_text("6 of 6 steps")
    expect(page.locator("#train-checkpoints .fl-cell .fl-view").first).to_be_visible()
    runs.locator("tr", has_text="stopped").get_by_role("button", name="Open").click()
    page.locator("#train-live").get_by_role("button", name="Keep what it learned").click()
    expect(page.locator("#train-live")).to_contain_text("stopped, kept as v3")
    expect(page.locator("#train-live").get_by_role("button", name="Keep what it learned")).to_have_count(0)

    open_tab(page, "Editor Refinement")
    expect(page.locator("#refine-verdict")).to_be_visible()
    box = page.locator("#refine-start").bounding_box()
    assert box and box["y"] + box["height"] <= strip["y"]
