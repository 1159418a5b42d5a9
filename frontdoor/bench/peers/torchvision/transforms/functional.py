"""The one function of torchvision's module that diffusers' scripts call."""

from __future__ import annotations

from PIL import Image


def crop(image: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """Returns the part of a picture that is `height` × `width` pixels large and begins at (`left`, `top`)."""
    return image.crop((left, top, left + width, top + height))
