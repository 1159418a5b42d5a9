"""Reads picture files as all engines, pages and trainers take them; imports no torch."""

from __future__ import annotations

import hashlib
import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageOps, UnidentifiedImageError

from engines.api.errors import BadInput

MOST_PIXELS: Final = 100_000_000
READABLE: Final = (
    "PNG",
    "JPEG",
    "WEBP",
    "AVIF",
    "TIFF",
    "GIF",
    "BMP",
    "PPM",
)  # others start programs (EPS: Ghostscript)
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
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # the brands of HEIF files with HEVC
_EXPORT = "Open it in an image editor and export it as PNG or JPEG."
_LAB, _SRGB = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
_ROUNDING = 1  # difference of two colours of 0…255 that rounding makes


def open_picture(path: Path) -> Image.Image:
    """Reads a picture file and returns it as `to_rgb` converts it: RGB, upright, sRGB.

    Raises: BadInput for a file that is missing, is no picture or is too large to open safely.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(str(path), error) from error
    return to_rgb(decode(data, str(path)), in_place=True)


def decode(data: bytes, name: str = "The file") -> Image.Image:
    """Returns the first frame of a picture file, with all pixels decoded, so that a truncated file is found at once.

    `data`: the file's content; `name`: the file's name in error messages. Raises: BadInput for bytes that are no
    picture, and for pictures of more than 100 megapixels, which are not decoded.
    """
    try:
        picture = opened(data)
        pixels = picture.width * picture.height
        if pixels <= MOST_PIXELS:
            picture.load()
            return picture
    except BROKEN as error:
        raise _unreadable(name, error) from error
    raise BadInput(
        f"{name} is {picture.width}×{picture.height} ({pixels / 1e6:.0f} megapixels), too large to open safely.",
        f"Make it smaller: at most {MOST_PIXELS / 1e6:.0f} megapixels.",
    )


def opened(data: bytes, formats: tuple[str, ...] = READABLE) -> Image.Image:
    """Returns a picture file of which only the header is read: its format, and its size before it is turned upright.

    `formats`: those of Pillow in which it may be; HEIC is read besides, where the package pi-heif is installed. Raises:
    BadInput for HEIC without it, an error of BROKEN for bytes that are no picture.
    """
    if is_heic(data):
        try:
            import pi_heif
        except ImportError as error:
            raise BadInput(
                "HEIC pictures, which phones write, need the package pi-heif.",
                f'Run "{sys.executable}" -m pip install pi-heif and import it again. Or export it as JPEG.',
            ) from error
        pi_heif.register_heif_opener()
        formats = (*formats, "HEIF")
    return Image.open(io.BytesIO(data), formats=formats)


def is_heic(data: bytes) -> bool:
    """Returns whether a file says in its first bytes that it is a HEIC picture."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIC


def to_rgb(picture: Image.Image, *, in_place: bool = False) -> Image.Image:
    """Returns a copy of a picture in the form that every model gets: 8-bit RGB, sRGB, turned upright as EXIF says.

    Transparent pixels are laid over white. With `in_place` a picture in this form already is returned itself, without
    its metadata, which saves its memory a second time.
    """
    try:
        is_turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
        upright = ImageOps.exif_transpose(picture) or picture if is_turned else picture
    except BROKEN:
        upright = picture  # unreadable EXIF gives no orientation
    profile = picture.info.get("icc_profile")
    if upright.mode == "LAB":
        upright, profile = ImageCms.profileToProfile(upright, _LAB, _SRGB, outputMode="RGB") or upright, None
    if upright.mode.startswith(("I", "F")):  # 16-bit grey, which Pillow's own conversion would clip to white
        wide = upright.convert("F")
        most = float(np.asarray(wide).max())
        deep = upright.mode.startswith("I;16") or most > 255
        scale = 1 / 257 if deep else 255.0 if upright.mode == "F" and most <= 1 else 1.0  # floats: white is 1
        return wide.point(lambda value: value * scale + 0.0).convert("L").convert("RGB")
    if _see_through(upright):
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        upright = Image.alpha_composite(white, layer).convert("RGB")
    if upright.mode == "P":
        upright = upright.convert("RGB")
    if profile and upright.mode in ("RGB", "CMYK", "L"):
        upright = _to_srgb(upright, profile)
    plain = upright.convert("RGB") if upright.mode != "RGB" else upright
    plain = plain.copy() if plain is picture and not in_place else plain
    plain.info.clear()
    return plain


def pixel_hash(picture: Image.Image) -> str:
    """Returns the SHA-256 hash, in hex, of a picture's size and pixels in the form that every model gets."""
    pixels = to_rgb(picture)
    return hashlib.sha256(f"{pixels.size}".encode() + pixels.tobytes()).hexdigest()


def to_grey(mask: Image.Image) -> Image.Image:
    """Returns a mask as an 8-bit grey picture, in which white marks the selected area; transparent pixels are white."""
    return to_rgb(mask).convert("L")


def is_transparent(path: Path) -> bool:
    """Returns whether a picture file has transparency; False where the file cannot be read. Reads the header only."""
    try:
        with Image.open(path, formats=READABLE) as picture:
            return _see_through(picture)
    except BROKEN:
        return False


def is_plain(picture: Image.Image) -> bool:
    """Returns whether `to_rgb` leaves a picture's pixels as they are, but for rounding.

    If so, a program that ignores orientation, colour profile, transparency and bit depth shows the same pixels.
    """
    if picture.mode not in ("RGB", "L") or _see_through(picture):
        return False
    try:
        if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            return False
    except BROKEN:
        return False  # unreadable EXIF, of which other programs may make something else
    apart = ImageChops.difference(picture.convert("RGB"), to_rgb(picture))
    return int(np.asarray(apart).max()) <= _ROUNDING


def _see_through(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def _unreadable(name: str, error: BaseException) -> BadInput:
    reason: object = error
    if isinstance(error, UnidentifiedImageError):
        reason = f"its format is none of {', '.join(READABLE)}"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    return BadInput(f"{name} cannot be read as a picture: {reason}.", _EXPORT)


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture  # a profile for another colour model, or a broken one: the pixels are still good
    return converted or picture
