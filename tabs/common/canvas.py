"""The picture that a user paints on in the browser."""

from __future__ import annotations

from PIL import Image

SIDE = 768


def enlarged(image: Image.Image) -> Image.Image:
    """Returns a copy of a picture that is large enough to paint on.

    A small picture is enlarged by a whole factor, to at most SIDE pixels on its longer side; a large one keeps its
    size.
    """
    factor = max(1, SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
