"""What is painted on in a browser."""

from __future__ import annotations

from PIL import Image

SIDE = 768


def enlarged(image: Image.Image) -> Image.Image:
    """Large enough to paint on: small pictures are shown several times their size."""
    factor = max(1, SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
