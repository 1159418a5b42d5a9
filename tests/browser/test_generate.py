"""Generate in a real browser: fields that survive, prompts and PNGs that come back, two versions side by side."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Served, number, open_tab, serve_here
from tests.tabs.conftest import studio_on_fakes

pytestmark = pytest.mark.browser

FILLED = re.compile(r"\w")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """On fakes, with the sample character."""
    with serve_here(studio_on_fakes(tmp_path)) as studio:
        yield studio


def prompt(page: Page) -> Locator:
    """The field for the prompt."""
    return page.locator("#generate-prompt textarea")


def draw(page: Page, words: str, tiles: int) -> None:
    """Type a prompt and draw it; the gallery then holds so many pictures."""
    prompt(page).fill(words)
    page.click("#generate-go")
    expect(page.locator("#generate-results .fl-tile")).to_have_count(tiles)


def drop(page: Page, where: str, file: Path) -> None:
    """Drop a file as a hand does."""
    data = base64.b64encode(file.read_bytes()).decode()
    page.evaluate(
        """async ([where, data, name]) => {
            const bytes = await (await fetch(`data:image/png;base64,${data}`)).blob();
            const held = new DataTransfer();
            held.items.add(new File([bytes], name, { type: "image/png" }));
            const node = document.querySelector(where);
            for (const kind of ["dragover", "drop"])
                node.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: held }));
        }""",
        [where, data, file.name],
    )


def test_fields_and_prompts_survive_and_a_dropped_picture_gives_its_settings_back(served: Served, page: Page) -> None:
    """A reload keeps every field; an earlier prompt and a PNG put theirs back, seed included."""
    page.goto(f"{served.url}/?tab=Generate")
    expect(prompt(page)).to_have_value(FILLED)
    number(page, "#generate-count", 1)
    seed = page.locator("#generate-seed input[type=number]")
    number(page, "#generate-seed", 4711)
    expect(page.get_by_label("Keep this seed")).to_be_checked()
    draw(page, "ohwx person, green hat", 1)
    expect(seed).to_have_value("4711")

    page.get_by_role("button", name="New seed").click()
    expect(page.get_by_label("Keep this seed")).not_to_be_checked()
    expect(seed).not_to_have_value("4711")
    before = seed.input_value()
    number(page, "#generate-strength", 0)
    page.locator("#generate-strength input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    draw(page, "ohwx person, on a boat", 2)
    expect(seed).not_to_have_value(before)
    held = seed.input_value()

    page.wait_for_timeout(1500)  # the last change is kept
    page.reload()
    expect(prompt(page)).to_have_value("ohwx person, on a boat")
    expect(page.locator("#generate-count input[type=number]")).to_have_value("1")
    expect(page.locator("#generate-strength input[type=number]")).to_have_value("0.1")
    expect(seed).to_have_value(held)

    page.locator(".fl-earlier summary").click()
    page.locator(".fl-earlier button", has_text="green hat").click()
    expect(prompt(page)).to_have_value("ohwx person, green hat")
    expect(seed).to_have_value("4711")
    expect(page.locator("#generate-restored")).to_contain_text("All settings are put back")

    prompt(page).fill("something else")
    newest = next((served.home / "characters" / "robin" / "images").rglob("*.png"))
    for file in (served.home / "characters" / "robin" / "images").rglob("*.png"):
        if b"on a boat" in file.read_bytes():
            newest = file
    drop(page, "#generate-prompt textarea", newest)
    expect(prompt(page)).to_have_value("ohwx person, on a boat")
    expect(seed).to_have_value(before)
    page.set_input_files("#generate-drop input[type=file]", Path(__file__))
    expect(page.locator(".fl-say")).to_contain_text("test_generate.py")


def test_scenes_are_seen_before_they_are_drawn(served: Served, page: Page) -> None:
    """Each with its tick, instead of the prompt that would be ignored; only ticked ones are drawn."""
    page.goto(f"{served.url}/?tab=Generate")
    expect(prompt(page)).to_have_value(FILLED)
    number(page, "#generate-count", 3)
    page.get_by_label("New scenes").click()
    scenes = page.locator("#generate-plan label")
    expect(scenes).to_have_count(3)
    expect(page.locator("#generate-prompt")).to_be_hidden()
    first = scenes.first.inner_text()
    scenes.nth(1).click()
    expect(page.locator("#generate-cost")).to_contain_text("2 pictures")
    page.click("#generate-go")
    expect(page.locator("#generate-results .fl-tile")).to_have_count(2)
    page.locator(".fl-earlier summary").click()
    expect(page.locator(".fl-earlier")).to_contain_text(first)


def test_two_versions_draw_the_same_seeds_and_stars_sort_them(served: Served, page: Page) -> None:
    """In pairs, in a sub-tab that opens by itself; the model card opens when it is done, too."""
    client = Client(served.url, verbose=False)
    client.predict("robin", api_name="/train_submit")
    page.goto(f"{served.url}/?tab=Generate")
    expect(page.locator("#generate-version input")).to_have_value("in use: v1")
    number(page, "#generate-count", 2)
    page.locator("#generate-against input").click()
    page.get_by_role("option", name="base model, no LoRA").click()
    expect(page.locator("#generate-cost")).to_contain_text("4 pictures")
    page.click("#generate-go")
    pairs = page.locator("#generate-pairs .fl-same")
    expect(pairs).to_have_count(2)
    expect(pairs.first.locator("img")).to_have_count(2)
    expect(pairs.first).to_contain_text("base model")

    page.get_by_role("tab", name="Pictures", exact=True).click()
    stars = page.locator("#generate-results [data-act=star]")
    expect(stars).to_have_count(4)
    stars.nth(2).click()
    expect(stars.nth(2)).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Starred only").click()
    expect(page.locator("#generate-results .fl-tile")).to_have_count(1)

    expect(page.locator("#card-price")).to_contain_text("23 cells × 3 seeds = 69 pictures")
    page.click("#card-go")
    expect(page.get_by_role("tab", name="Model card")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#card-which input")).to_have_value(re.compile(r"v1, (today|yesterday) \d\d:\d\d"))
    expect(page.locator("#card-cells .fl-bodies")).to_contain_text("T-pose")
    client.close()


def test_the_filter_moves_by_arrow_keys(served: Served, page: Page) -> None:
    """And stands there after a reload."""
    page.goto(f"{served.url}/?tab=Generate")
    expect(prompt(page)).to_have_value(FILLED)
    draw(page, "ohwx person", 4)
    floor = page.locator("#floor input[type=number]")
    number(page, "#floor", 0)
    page.locator("#floor input[type=range]").focus()
    with page.expect_response(lambda answer: "0.03" in (answer.request.post_data or "")):  # it is kept
        for _ in range(3):
            page.keyboard.press("ArrowRight")
    expect(floor).to_have_value("0.03")
    page.reload()
    open_tab(page, "Generate")
    expect(floor).to_have_value("0.03")
