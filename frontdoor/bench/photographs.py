"""What a photograph of 24 megapixels costs: its import, the mask panel, and twenty of them as sources of edits."""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import gradio as gr
import numpy as np
import psutil
from PIL import Image

import assets
from engines.api.params import EditParams
from engines.api.protocols import EditItem
from engines.catalogue.models import MODELS
from engines.catalogue.registry import load_class
from engines.fake.device import FakeDevice
from engines.pictures import open_picture
from frontdoor.bench.rows import Row
from studio.flywheel.curate import importing
from studio.open import open_workplace
from studio.settings import Settings
from tabs.common import canvas

EDITOR = "Qwen-Image-Edit-2511"
SIZE, SOURCES = (4000, 6000), 20
IMPORT_SECONDS, PANEL_BYTES, SOURCES_BYTES = 0.8, 2_000_000, 300_000_000
_ROUNDS = 3
_SAMPLED = 0.002  # seconds between two looks at the memory


def measure(options: argparse.Namespace) -> list[Row]:
    """Measures what a drawn photograph of 24 megapixels costs in three places; returns the report's rows.

    `options` is not used.
    """
    del options
    with tempfile.TemporaryDirectory() as folder:
        return list(rows(Path(folder), SIZE, SOURCES))


def rows(folder: Path, size: tuple[int, int], sources: int) -> Iterator[Row]:
    """Draws photographs of `size` pixels in `folder` and yields a row for each place that opens them.

    The places are an import (the least CPU seconds of three), the mask panel, and the edits of `sources` pictures.
    """
    names = [draw(folder / f"{seed}.jpg", size, seed) for seed in range(_ROUNDS)]
    seconds = min(imported(folder / f"home-{file.stem}", file) for file in names)
    yield _row("import", seconds, "CPU s", IMPORT_SECONDS)
    yield _row("mask panel, to the browser", panel_bytes(folder / "cache", names[0]), "bytes", PANEL_BYTES)
    with get_context("spawn").Pool(1) as fresh:
        most = fresh.apply(sources_bytes, (names[0], sources))
    yield _row(f"{sources} sources into Enrich, most RAM", most, "bytes", SOURCES_BYTES)


def draw(file: Path, size: tuple[int, int], seed: int) -> Path:
    """Writes a JPEG with detail of every scale and a sensor's noise, and returns its path."""
    numbers = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3), np.float32)
    for side in (8, 64, 512):
        coarse = Image.fromarray(numbers.integers(0, 256, (side, side, 3), dtype=np.uint8))
        pixels += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32) / 3
    pixels += numbers.normal(0, 3, (size[1], size[0], 1)).astype(np.float32)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=92)
    return file


def imported(home: Path, file: Path) -> float:
    """Imports a file into a character of its own below `home`, and returns the CPU seconds of this process."""
    settings = Settings(data_root=home, assets=Path(assets.__file__).parent, device="fake")
    with open_workplace(settings, device=FakeDevice(settings.fake_bytes)) as workplace:
        character = workplace.library.create("Bench", **workplace.registry.first())
        desk = workplace.desk(character.id)
        started = time.process_time()
        importing.submit_import(desk, [file])
        return time.process_time() - started


def panel_bytes(cache: Path, file: Path) -> int:
    """Returns the bytes of the files that the canvas of the mask panel gives to the browser."""
    with gr.Blocks():
        editor = gr.ImageEditor(type="pil", format="webp", sources=(), layers=False)
    editor.GRADIO_CACHE = str(cache)
    editor.postprocess(canvas.fitted(open_picture(file)))
    return sum(each.stat().st_size for each in cache.rglob("*") if each.is_file())


def sources_bytes(file: Path, count: int) -> int:
    """Opens a picture `count` times as sources of edits, and returns the most bytes of RAM that this takes."""
    spec = next(each for each in MODELS if each.name == EDITOR)
    editor = load_class(spec.engine)(spec, file.parent)
    blank = EditItem(Image.new("RGB", (64, 64)), EditParams())
    editor.scaled(blank)
    with _peak() as most:
        kept = [editor.scaled(EditItem(open_picture(file), blank.params)) for _ in range(count)]
    return most[-1] - most[0] if kept else 0


@contextmanager
def _peak() -> Iterator[list[int]]:
    """Watches the memory of this process; yields a list that ends as its first and its largest size in bytes."""
    process, done = psutil.Process(), threading.Event()
    seen = [process.memory_info().rss] * 2

    def watch() -> None:
        while not done.wait(_SAMPLED):
            seen[-1] = max(seen[-1], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def _row(name: str, value: float, unit: str, goal: float) -> Row:
    return Row(name=name, value=value, unit=unit, goal=f"≤ {goal:g}", ok=value <= goal)
