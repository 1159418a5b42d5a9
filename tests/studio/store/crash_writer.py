"""Decides on pictures until it is killed; says what it did only after the store has answered.

crash_writer.py HOME SEED
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from PIL import Image

from studio.records.image import Kind, Verdict
from studio.store import Library

VERDICTS = (Verdict.GOOD, Verdict.NEEDS_CORRECTION, Verdict.REJECT)


def main(home: Path, seed: int) -> None:
    """Mostly decisions, some new pictures, a few undos, and compactions all the time."""
    rng = random.Random(seed)
    library = Library(home, compact_bytes=20_000)
    store = library.open("mira")
    images = [image.id for image in store.select(Kind.ENRICHED)]
    print("open", flush=True)
    while True:
        roll = rng.random()
        if roll < 0.1:
            colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
            added = store.add_image(Image.new("RGB", (8, 8), colour), kind=Kind.ENRICHED, parent="source")
            images.append(added.id)
            print("image", added.id, flush=True)
        elif roll < 0.2 and any(not decision.undone for decision in store.decisions.all()):
            print("undo", store.undo().id, flush=True)
        else:
            decision = store.decide(rng.choice(images), rng.choice(VERDICTS))
            print("decision", decision.id, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
