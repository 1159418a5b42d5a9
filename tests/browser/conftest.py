"""A studio in a process of its own, and a page in a real browser."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect, sync_playwright

from studio.workplace.desk import Workplace
from tabs import app
from tests.browser.gate import Gated, gated

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


@dataclass(frozen=True)
class Served:
    """A studio in a process of its own."""

    url: str
    home: Path


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def serve(home: Path, *flags: str) -> Iterator[Served]:
    """`launch.py studio` as a user starts it."""
    command = [sys.executable, "-u", "-m", "frontdoor.cli", "studio", "--home", str(home), "--no-open", *flags]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            pytest.fail("The studio did not start:\n" + "".join(said))
        yield Served(found.group(), home)
    finally:
        process.terminate()
        process.wait(300)


@contextmanager
def serve_here(studio: Workplace) -> Iterator[Served]:
    """The page of an open studio, served in the test's own process: a process of its own imports everything anew."""
    running = app.launch(studio)
    try:
        yield Served(running.url, studio.settings.data_root)
    finally:
        running.close()
        studio.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, started once for a file's tests; Playwright holds the thread's event loop as long."""
    found = shutil.which("chromium")
    if found is None:
        pytest.fail("Chromium is not installed, and this test installs nothing. On Debian: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page of a profile of its own; what goes wrong in it fails the test."""
    troubles: list[str] = []
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    yield opened
    context.close()
    assert troubles == []


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gated]:
    """A studio with Anna and her pictures, whose jobs stand still while a page is looked at."""
    with gated(tmp_path) as made:
        yield made


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


def new_character(page: Page, url: str, pictures: list[Path]) -> None:
    """Bea, with these pictures."""
    page.goto(url)
    page.click("#new-character")
    page.fill("#new-name input, #new-name textarea", "Bea")
    page.click("#new-create")
    expect(page.locator('.fl-rail[data-character^="bea"]')).to_be_visible()
    page.set_input_files("#curate-files input[type=file]", pictures)
