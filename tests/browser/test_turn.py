"""One turn through the page, in a real browser, with a reload in the middle."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 120_000

pytestmark = pytest.mark.browser


@dataclass(frozen=True)
class Served:
    """A studio in a process of its own."""

    url: str
    home: Path


@pytest.fixture(params=["fake", pytest.param("embedded", marks=pytest.mark.slow)])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """`launch.py studio` as a user starts it, on fakes or on the embedded models."""
    home = tmp_path / "home"
    command = [sys.executable, "-u", "-m", "frontdoor.cli", "studio", "--home", str(home), "--no-open"]
    command += ["--fake"] if request.param == "fake" else []
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        pytest.fail("The studio did not start:\n" + "".join(said))
    yield Served(found.group(), home)
    process.terminate()
    process.wait(300)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in Debian's Chromium; what goes wrong in it fails the test."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("Chromium is not installed, and this test installs nothing. On Debian: apt install chromium")
    troubles: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        opened = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        opened.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        opened.on("pageerror", lambda error: troubles.append(str(error)))
        yield opened
        browser.close()
    assert troubles == []


def draw_pictures(folder: Path, count: int = 10) -> list[Path]:
    """Pictures of one simple face, each with its caption beside it."""
    folder.mkdir()
    files = []
    for at in range(count):
        image = Image.new("RGB", (64, 64), (40 + 18 * at, 200 - 12 * at, 120))
        pen = ImageDraw.Draw(image)
        pen.ellipse((14 + at % 3, 10, 50 + at % 3, 56), fill=(224, 180, 140))
        pen.ellipse((22, 26, 27, 31), fill=(30, 30, 30))
        pen.ellipse((38, 26, 43, 31), fill=(30, 30, 30))
        pen.arc((24, 34, 42, 48 - at % 5), 10, 170, fill=(160, 30, 40), width=2)
        image.save(folder / f"bea_{at}.png")
        words = f"ohwx person, smiling, front view, head shot, number {at}"
        (folder / f"bea_{at}.txt").write_text(words)
        files += [folder / f"bea_{at}.png", folder / f"bea_{at}.txt"]
    return files


def open_tab(page: Page, name: str) -> None:
    """Click one of the six tabs."""
    page.get_by_role("tab", name=name, exact=True).click()


def number(page: Page, where: str, value: int) -> None:
    """Type a number and leave the field."""
    field = page.locator(f"{where} input[type=number]")
    field.fill(str(value))
    field.press("Tab")


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
    page.goto(served.url)
    page.click("#new-character")
    page.fill("#new-name input, #new-name textarea", "Bea")
    page.click("#new-create")
    expect(page.locator('.fl-rail[data-character^="bea"]')).to_be_visible()

    page.set_input_files("#curate-files input[type=file]", draw_pictures(tmp_path / "pictures"))
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
    number(page, "#generate-count", 1)
    page.click("#generate-go")
    expect(page.locator("#generate-results .fl-tile")).to_have_count(1)

    rail = page.locator(".fl-rail")
    expect(rail).to_contain_text(re.compile(r"Generate\s*1 ✓"))
    second = page.context.new_page()
    second.goto(served.url)
    expect(second.locator('.fl-rail[data-character^="bea"]')).to_be_visible()
    expect(second.locator(".fl-rail")).to_have_text(rail.text_content() or "")
