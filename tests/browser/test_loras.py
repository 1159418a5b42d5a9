"""The LoRA library and rows of one's own in a real browser, drawn by the embedded editor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from safetensors.numpy import save_file

from tests.browser.conftest import Served, number, serve
from tests.browser.gate import Gated
from tests.browser.test_access import BEYOND, COVERED, GRAVE, PAINT

pytestmark = pytest.mark.browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """With the embedded models and the sample character: only they can show that a stack draws."""
    with serve(tmp_path / "home") as studio:
        yield studio


def lora(path: Path) -> Path:
    """A weak random LoRA on the embedded editor's attention."""
    drawn = np.random.default_rng(0)
    sides = {"lora_A": (2, 192), "lora_B": (192, 2)}
    state = {
        f"transformer.transformer_blocks.{block}.attn.to_q.{side}.weight": 0.01 * drawn.normal(size=shape)
        for block in range(5)
        for side, shape in sides.items()
    }
    save_file({key: value.astype(np.float32) for key, value in state.items()}, path, {"family": "qwen-edit"})
    return path


def test_rows_of_own_words_are_drawn_with_a_stack(served: Served, page: Page, tmp_path: Path) -> None:
    """A LoRA is added and used; three rows are saved, drawn by the embedded editor, and come back after a reload."""
    page.goto(f"{served.url}/?tab=Enrich")
    page.get_by_role("button", name="LoRAs for the editor").click()
    page.get_by_role("button", name="Add a LoRA of my own").click()
    page.locator("#enrich-lora-place").get_by_role("textbox").fill(str(lora(tmp_path / "Soft light.safetensors")))
    page.locator("#enrich-lora-words").get_by_role("textbox").fill("change the lighting to {mood} light")
    page.click("#enrich-lora-add")
    card = page.locator('#enrich-loras [data-lora="own-soft-light"]').first
    expect(card).to_contain_text("5 layers, rank 2 of mini-qwen-edit")

    page.locator("#enrich-sources [data-act=source]").first.click()
    card.get_by_role("button", name="Use in the plan").click()
    rows = page.locator(".fl-own-row")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("Nothing fills {mood}")
    mood = rows.first.locator('input[data-name="mood"]')
    mood.fill("warm")
    mood.press("Tab")
    expect(rows.first).to_contain_text("→ change the lighting to warm light")
    for count, words in ((2, "make the {subject} smile"), (3, "make the {subject} look sad")):
        page.locator("#enrich-own").get_by_role("textbox").fill(words)
        page.click("#enrich-add")
        expect(rows).to_have_count(count)
        rows.last.locator('[data-change="own-add"]').select_option("own-soft-light")
        strength = rows.last.locator('[data-change="own-weight"]')
        strength.fill("0.5")
        strength.press("Tab")
        expect(rows.last.locator('[data-change="own-weight"]')).to_have_value("0.5")
    expect(rows.last).to_contain_text("→ make the person look sad")
    number(page, "#enrich-limit", 1)
    expect(page.locator("#enrich-cost")).to_contain_text("4 edits")

    page.get_by_role("button", name="Saved plans").click()
    page.locator("#plan-name").get_by_role("textbox").fill("three moods")
    page.click("#plan-save")
    expect(page.locator("#plan-chosen input")).to_have_value("three moods (3 rows)")
    page.click("#enrich-run")
    results = page.locator("#enrich-results .fl-pair")
    expect(results).to_have_count(4)
    for words in ("change the lighting to warm light", "make the person smile", "make the person look sad"):
        expect(results.filter(has_text=words)).not_to_have_count(0)

    page.reload()
    expect(results).to_have_count(4)
    expect(rows).to_have_count(0)
    page.get_by_role("button", name="Saved plans").click()
    page.locator("#plan-chosen input").click()
    page.get_by_role("option", name="three moods").click()
    page.click("#plan-load")
    expect(rows).to_have_count(3)
    expect(rows.last.locator('[data-change="own-weight"]')).to_have_value("0.5")


def test_cards_and_rows_can_be_used_by_everybody(house: Gated, page: Page) -> None:
    """Axe finds nothing grave in either theme, and in a narrow window nothing is cut off or covered."""
    page.goto(f"{house.url}/?character=anna&tab=Enrich&__theme=dark")
    page.get_by_role("button", name="LoRAs for the editor").click()
    page.get_by_role("button", name="Add a LoRA of my own").click()
    page.get_by_role("button", name="Saved plans").click()
    page.get_by_role("button", name="How edits are worded").click()
    page.locator("#words-value").get_by_role("textbox").fill("cape")
    page.locator("#words-new").get_by_role("textbox").fill("give the person a cape")
    page.click("#words-add")
    expect(page.get_by_label("words for cape")).to_have_value("give the person a cape")
    page.locator("#enrich-sources [data-act=source]").first.click()
    page.locator("#enrich-own").get_by_role("textbox").fill("make the {subject} {mood}")
    page.click("#enrich-add")
    expect(page.locator(".fl-own-row")).to_have_count(1)
    page.locator("#enrich-lora-task input").click()
    page.get_by_role("option", name="Light", exact=True).click()
    expect(page.locator('#enrich-loras article[data-lora="anylight"]')).to_be_visible()
    page.add_style_tag(content="* { transition: none !important; }")
    found = []
    for width in (1440, 900):
        page.set_viewport_size({"width": width, "height": 900})
        for dark in (True, False):
            page.evaluate(PAINT, dark)
            grave = [each for each in Axe().run(page).response["violations"] if each["impact"] in GRAVE]
            found += [(width, dark, each["id"], each["nodes"][0]["html"][:200]) for each in grave]
        found += [(width, each) for each in page.evaluate(BEYOND) + page.evaluate(COVERED)]
    assert found == []
