"""The picture that a user paints on in the browser."""

from __future__ import annotations

from PIL import Image

SIDE, MOST = 768, 1536


def fitted(image: Image.Image) -> Image.Image:
    """Returns a copy of a picture that is large enough to paint on, and small enough to be sent to a browser.

    A small picture is enlarged by a whole factor, to at most SIDE pixels on its longer side; one of more than MOST
    pixels is shrunk to MOST.
    """
    if max(image.size) > MOST:
        shown = image.copy()
        shown.thumbnail((MOST, MOST), Image.Resampling.LANCZOS)
        return shown
    factor = max(1, SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
