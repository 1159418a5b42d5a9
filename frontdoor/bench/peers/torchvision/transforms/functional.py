"""The one function of torchvision's module that diffusers' scripts call."""

from __future__ import annotations

from PIL import Image


def crop(image: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """Returns the part of a picture of `height` × `width` pixels from (`left`, `top`) on."""
    return image.crop((left, top, left + width, top + height))
