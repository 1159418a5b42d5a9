"""Pictures for tests: blocks of random colours, each seed unlike any other."""

from __future__ import annotations

import io
import random

from PIL import Image


def picture(seed: int, size: int = 64) -> Image.Image:
    """A picture unlike any of another seed: blocks of random colours."""
    rng = random.Random(seed)
    small = Image.frombytes("RGB", (8, 8), bytes(rng.randrange(256) for _ in range(192)))
    return small.resize((size, size), Image.Resampling.NEAREST)


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file's bytes."""
    kept = io.BytesIO()
    image.save(kept, format="PNG")
    return kept.getvalue()
