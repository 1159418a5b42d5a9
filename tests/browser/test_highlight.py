"""A person who only presses what is highlighted gets through two turns of the flywheels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Page, TimeoutError, expect

from tests.browser.conftest import draw_pictures, new_character, serve

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MOST = 60  # presses
HIGHLIGHTED = ", ".join(
    f"[role=tabpanel]:visible {each}:visible:not([disabled])" for each in (".fl-button.accent", "button.primary")
)


def where(page: Page) -> str:
    """What the rail says: the stops with their figures, and the next step with its reason."""
    return page.locator(".fl-rail").inner_text() + page.locator(".fl-why").inner_text()


def settle(page: Page, before: str, said: list[str]) -> None:
    """Waits until the rail says something else than before, and no job runs."""
    try:
        page.wait_for_function(
            """(before) => {
              const rail = document.querySelector('.fl-rail'), why = document.querySelector('.fl-why');
              const idle = document.querySelector('.fl-strip').innerText.includes('no job is running');
              return idle && rail.innerText + why.innerText !== before;
            }""",
            arg=before,
            polling=100,
        )
    except TimeoutError:
        pytest.fail("\n".join([*said, "still:", where(page)]))


def judge(page: Page, mended: Path) -> None:
    """Approves what waits for a verdict; the first edit is corrected by hand."""
    stage = page.locator("[data-stage]")
    expect(page.locator("#review-tally")).to_contain_text(re.compile(r"^\s*[1-9]\d* left"))
    if mended.exists() and stage.get_attribute("data-id"):
        page.keyboard.press("c")
        expect(page.locator("[data-canvas]")).to_be_visible()
        with page.expect_file_chooser() as asked:
            page.click("#mend-file")
        asked.value.set_files(mended)
        expect(page.locator("[data-canvas]")).not_to_be_visible()
        mended.unlink()
    while not page.locator("#review-tally").inner_text().startswith("0 left"):
        shown = stage.get_attribute("data-id")
        page.keyboard.press("a")
        page.wait_for_function(
            "(id) => { const s = document.querySelector('[data-stage]'); return !s || s.dataset.id !== id }", arg=shown
        )


def test_what_is_highlighted_leads_through_both_flywheels(page: Page, tmp_path: Path) -> None:
    """From own pictures through v1, its card, v2 compared and adopted, to an editor adopted and edits made with it."""
    with serve(tmp_path / "home", "--fake") as served:
        pictures = draw_pictures(tmp_path / "pictures")
        new_character(page, served.url, pictures)
        client = Client(served.url, verbose=False)
        said = []
        for _ in range(MOST):
            expect(page.locator(".fl-strip")).to_contain_text("no job is running")
            versions = client.predict("bea", "", api_name="/version_list")["versions"]
            states = {(each["role"], each["name"]): each["state"] for each in versions}
            editors = [each["id"] for each in versions if each["role"] == "editor" and each["state"] == "adopted"]
            edits = client.predict("bea", "enriched", api_name="/image_list")["images"]
            drawn = [each for each in edits if each.get("version") in editors]
            if states.get(("character", "v2")) == "adopted" and drawn:
                break
            before = where(page)
            said.append(before.splitlines()[-1])
            page.locator(".fl-rail button.next").click()
            if "Next: Review" in before:
                judge(page, pictures[0])
            else:
                expect(page.locator(HIGHLIGHTED).first, "\n".join(said)).to_be_visible()
                page.locator(HIGHLIGHTED).first.click()
            settle(page, before, said)
        else:
            pytest.fail("\n".join(said))
        client.close()
