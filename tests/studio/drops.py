"""Files as users drop them, good and bad."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image


def photo(seed: int, size: tuple[int, int] = (96, 72), form: str = "PNG", **options: Any) -> bytes:
    """A sharp picture unlike those of other seeds."""
    field = Image.radial_gradient("L").resize(size).rotate(seed * 37)
    noise = Image.effect_noise((6, 6), 120).resize(size, Image.Resampling.NEAREST)
    return encoded(Image.merge("RGB", (field, noise, Image.new("L", size, seed * 20))), form, **options)


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    """A picture's bytes in a format."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def turned() -> bytes:
    """The EXIF of a phone that was held upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes don't hold."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def animated(form: str) -> bytes:
    """Three frames."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:])
