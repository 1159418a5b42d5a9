"""Opens the studio's pages in the Chromium of this machine, for pictures of the docs and for benches."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engines.api.errors import NotFound

if TYPE_CHECKING:
    from playwright.sync_api import Page

SIZE = (1440, 900)


@contextmanager
def open_page() -> Iterator[Page]:
    """Starts Chromium without a window and yields an empty page of 1440 × 900 pixels; stops it afterwards.

    Raises: NotFound where Chromium or Playwright is missing.
    """
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise NotFound("Chromium is not installed.", "Install it; on Debian: apt install chromium.")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise NotFound("Playwright is not installed.", "Run python launch.py test once; it installs it.") from error
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        finally:
            browser.close()
