"""The one way to read a picture: what a user sees of a file is what every engine, page and trainer takes. No torch."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageOps, UnidentifiedImageError

from engines.api.errors import BadInput

MOST_PIXELS: Final = 100_000_000
READABLE: Final = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM")  # others run programs (EPS: Ghostscript)
BROKEN: Final = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # where warnings are errors
)
_EXPORT = "Open it in an image editor and export it as PNG or JPEG."
_LAB, _SRGB = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
_SEEN_ALIKE = 1  # by how much two colours of 0…255 may differ and still be the same: what rounding makes


def open_picture(path: Path) -> Image.Image:
    """A picture file's pixels as the studio shows them: see `to_rgb`. Raises: BadInput."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(str(path), error) from error
    return to_rgb(decode(data, str(path)))


def decode(data: bytes, name: str = "The file") -> Image.Image:
    """A file's first frame with every pixel read, so that a truncated one is found now.

    Raises: BadInput for what is no picture, and for one of more than 100 megapixels before these take memory.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=READABLE)
        if picture.width * picture.height <= MOST_PIXELS:
            picture.load()
            return picture
    except BROKEN as error:
        raise _unreadable(name, error) from error
    raise BadInput(
        f"{name} is {picture.width}×{picture.height} ({picture.width * picture.height / 1e6:.0f} megapixels), "
        "too large to open safely.",
        f"Make it smaller: at most {MOST_PIXELS / 1e6:.0f} megapixels.",
    )


def to_rgb(picture: Image.Image) -> Image.Image:
    """Pixels as every engine takes them: upright, sRGB colours, 8 bits, transparency laid on white."""
    upright = _upright(picture)
    profile = picture.info.get("icc_profile")
    if upright.mode == "LAB":
        upright, profile = ImageCms.profileToProfile(upright, _LAB, _SRGB, outputMode="RGB") or upright, None
    if upright.mode.startswith(("I", "F")):
        return _eight_bits(upright).convert("RGB")
    if _see_through(upright):
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        upright = Image.alpha_composite(white, layer).convert("RGB")
    if upright.mode == "P":
        upright = upright.convert("RGB")
    if profile and upright.mode in ("RGB", "CMYK", "L"):
        upright = _to_srgb(upright, profile)
    plain = upright.convert("RGB") if upright.mode != "RGB" else upright.copy()
    plain.info.clear()
    return plain


def to_grey(mask: Image.Image) -> Image.Image:
    """A mask as every engine takes it: the grey of what `to_rgb` shows, white where the picture counts."""
    return to_rgb(mask).convert("L")


def is_transparent(path: Path) -> bool:
    """Whether a picture's header speaks of transparency, which one that cannot be read does not; no pixel is read."""
    try:
        with Image.open(path, formats=READABLE) as picture:
            return _see_through(picture)
    except BROKEN:
        return False


def is_plain(picture: Image.Image) -> bool:
    """Whether programs that know of no orientation, profile, transparency or depth read these pixels as we do."""
    if picture.mode not in ("RGB", "L") or _see_through(picture):
        return False
    if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        return False
    apart = ImageChops.difference(picture.convert("RGB"), to_rgb(picture))
    return int(np.asarray(apart).max()) <= _SEEN_ALIKE


def _see_through(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def _unreadable(name: str, error: BaseException) -> BadInput:
    told: object = error
    if isinstance(error, UnidentifiedImageError):
        told = f"it is none of {', '.join(READABLE)}"
    elif isinstance(error, OSError) and error.strerror:
        told = error.strerror
    return BadInput(f"{name} cannot be read as a picture: {told}.", _EXPORT)


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture) or picture
    except BROKEN:
        return picture  # EXIF that cannot be read says nothing about orientation


def _eight_bits(picture: Image.Image) -> Image.Image:
    """A 16-bit grey picture scaled down; Pillow's own conversion would clip it to white."""
    wide = picture.convert("F")
    most = wide.getextrema()[1]
    deep = picture.mode.startswith("I;16") or (isinstance(most, float) and most > 255)
    return wide.point(lambda value: value * (1 / 257) + 0.0).convert("L") if deep else wide.convert("L")


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture  # a profile for another colour model, or a broken one: the pixels are still good
    return converted or picture
