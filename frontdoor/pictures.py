"""`launch.py pictures`: takes the pictures of the README and the docs, the studio's pages in Chromium."""

from __future__ import annotations

import argparse
import shutil
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from engines.api.errors import NotFound
from frontdoor.chromium import open_page
from frontdoor.studio import open_studio

PLACES = {
    "curate": "Curate",
    "enrich": "Enrich",
    "review": "Review",
    "train": "Train",
    "generate": "Generate",
    "editor": "Editor Refinement",
    "studio": "Character",
    "settings": "Settings",
}
"""The names of the files without ending, and the tab or page that each shows."""
_READY = "() => ![...document.querySelectorAll('.fl-waiting')].some((node) => node.offsetParent)"


def main(options: argparse.Namespace) -> int:
    """Takes the pictures of the docs: opens each page of the studio in Chromium and writes it as a PNG; returns 0.

    The studio runs on a copy of a finished demo's data. `options.home` is the folder of that data, None for the demo's
    default; `options.out` is the folder for the PNGs. Raises: NotFound where the demo's folder, Chromium or Playwright
    is missing.
    """
    home = options.home or Path("flenwheel-demo/home")
    if not home.is_dir():
        raise NotFound(f"There is no demo in {home}.", "Run python launch.py demo, or name its folder with --home.")
    from tabs.app import launch

    options.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as place:
        copy = Path(shutil.copytree(home, Path(place) / "home"))
        with closing(open_studio(copy)) as workplace, closing(launch(workplace)) as running, open_page() as page:
            for name, tab in PLACES.items():
                page.goto(f"{running.url}/?__theme=dark&tab={tab}")
                page.wait_for_selector(".fl-rail")
                page.wait_for_function(_READY)
                page.screenshot(path=options.out / f"{name}.png")
                print(options.out / f"{name}.png")
    return 0
