"""The time from a verdict's key to the next picture on the screen, with many pictures that wait for a verdict."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from PIL import Image

from frontdoor.bench.rows import Row
from frontdoor.bench.sessions import served
from frontdoor.chromium import open_page
from frontdoor.studio import open_studio
from studio.records.image import Kind
from studio.workplace.desk import Workplace

PENDING, KEYS = 10_000, 100
_DRAWN = 60
_GOAL_MS = 100.0
_WATCH = """
() => {
  window.waits = [];
  const shown = () => {
    const stage = document.querySelector("[data-stage]"), image = stage?.querySelector(".fl-main");
    return image?.complete && image.naturalWidth ? stage.dataset.id : null;
  };
  document.addEventListener("keydown", (event) => {
    const before = shown();
    const look = () => requestAnimationFrame(() => {
      const after = shown();
      if (after && after !== before) window.waits.push(performance.now() - event.timeStamp); else look();
    });
    look();
  }, true);
}
"""


def measure(options: argparse.Namespace) -> list[Row]:
    """Measures the milliseconds from a verdict's key to the next picture in Chromium; returns the report's rows.

    The studio runs in its own process, with stand-ins for the models. `options` is not used. Raises: NotFound where
    Chromium or Playwright is missing.
    """
    del options
    with tempfile.TemporaryDirectory() as home:
        return rows(waits(Path(home), PENDING, KEYS), PENDING)


def rows(times: Sequence[float], pending: int) -> list[Row]:
    """Returns the report's rows, the median and the 95th percentile of `times`, in milliseconds.

    `pending` is the number of pictures that waited for a verdict.
    """
    late = quantiles(times, n=20)[-1]
    words = f"≤ {_GOAL_MS:g} ms"
    return [
        Row(name=f"key to next picture, {pending} pending, median", value=median(times), unit="ms"),
        Row(name="the same, 95 of 100 keys", value=late, unit="ms", goal=words, ok=late <= _GOAL_MS),
    ]


def waits(home: Path, pending: int, keys: int) -> list[float]:
    """Fills `home` with `pending` edits, presses `keys` keys in Review, and returns the milliseconds of each.

    A key is pressed when the picture that it judges is on the screen. Its time ends with the frame that shows the next.
    """
    workplace = open_studio(home, fake=True)
    character = fill(workplace, pending)
    workplace.close()
    with served(home) as (client, _), open_page() as page:
        page.goto(f"{client.base_url}/?character={character}&tab=Review")
        page.wait_for_selector("[data-stage] .fl-main")
        page.evaluate(_WATCH)
        for number in range(keys):
            page.keyboard.press("a")
            page.wait_for_function("(number) => window.waits.length > number", arg=number)
        return [float(each) for each in page.evaluate("() => window.waits")]


def fill(workplace: Workplace, pending: int) -> str:
    """Makes a character with one original and `pending` edits of it; returns the character's id.

    The edits share the files of a few pictures of 1024 × 1024 pixels.
    """
    store = workplace.store(workplace.library.create("Bench", **workplace.registry.first()).id)
    pictures = [Image.merge("RGB", [Image.effect_noise((1024, 1024), 8 + at)] * 3) for at in range(1 + _DRAWN)]
    source, *drawn = [store.add_image(each, kind=Kind.SOURCE, name="noise.png") for each in pictures]
    store.images.put_many(
        drawn[at % _DRAWN].replace(id=f"{at:064x}", kind=Kind.ENRICHED, parent=source.id) for at in range(pending)
    )
    store.trash(each.id for each in drawn)
    return store.character.id
