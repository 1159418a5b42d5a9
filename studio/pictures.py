"""Picture files of one character and their masks: named by their content, never changed, with thumbnails."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageCms, ImageOps, ImageStat
from PIL.PngImagePlugin import PngImageFile, PngInfo

from engines import api
from engines.crops import Crop, cut
from engines.errors import BadInput, NotFound
from engines.infotext import parameters_text
from studio.durable import write_file

Json = dict[str, Any]

THUMB_SIDE: Final = 512
_DARKER: Final = 5  # by how much what a mask leaves out is shown darker
_SUFFIX: Final[Mapping[str, str]] = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp"}
_READABLE: Final = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM")  # others run programs (EPS: Ghostscript)
_BROKEN: Final = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class Kept:
    """A picture file that is on the disk: its id, its place in the character's folder, its upright size."""

    id: str
    file: str
    width: int
    height: int


def content_id(data: bytes) -> str:
    """The name that a file's bytes give it: the first 32 hex digits of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:32]


class Pictures:
    """`images/ab/abcd….png`, `masks/ab/abcd….png` and `thumbs/ab/abcd….webp` below a character's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shares: dict[tuple[str, Crop], float] = {}  # masks are named by content: what was seen stays true

    def keep(self, data: bytes) -> Kept:
        """Keep a file: JPEG, PNG and WebP byte for byte, anything else as an upright RGB PNG.

        Raises: BadInput for what is no picture, UserError when the disk refuses.
        """
        picture = decode(data)
        suffix = _SUFFIX.get(picture.format or "")
        upright = to_rgb(picture)
        if suffix is None:
            data, suffix = to_png(upright), ".png"
        return self._place(data, suffix, upright)

    def keep_result(self, picture: Image.Image, provenance: Json) -> Kept:
        """Keep pixels as a PNG that says how they were made (see `png_info`). Raises: BadInput, UserError."""
        upright = to_rgb(picture)
        return self._place(to_png(upright, png_info(provenance, upright.size)), ".png", upright)

    def keep_mask(self, mask: Image.Image, size: tuple[int, int]) -> str:
        """Keep what counts of a picture of that upright size, in grey; answers its place in the folder.

        Raises: BadInput for one of another size, or one that leaves nothing; UserError when the disk refuses.
        """
        grey = to_rgb(mask).convert("L")
        if grey.size != size:
            raise BadInput(
                f"The mask is {grey.width}×{grey.height}, its picture {size[0]}×{size[1]}.",
                "Save the mask at the picture's own size.",
            )
        if not grey.getbbox():
            raise BadInput("The mask is black, so nothing of the picture would count.", "Paint white what should.")
        data = to_png(grey)
        name = content_id(data)
        file = f"masks/{name[:2]}/{name}.png"
        if not (self._folder / file).is_file():
            write_file(self._folder / file, data)
        return file

    def counted_thumb(self, picture_id: str, file: str, mask: str, crop: Crop) -> Path:
        """A thumbnail of the crop in which all that the mask leaves out is dark, drawn when it is not there.

        Raises: NotFound, BadInput.
        """
        path = self._thumb_path(f"{picture_id}-{content_id(repr((mask, crop)).encode())}")
        if not path.is_file():
            picture = self.open(file)
            if mask:
                dark = picture.point(lambda value: value // _DARKER)
                picture = Image.composite(picture, dark, self.open(mask).convert("L"))
            self._write_thumb(path, cut(picture, crop))
        return path

    def mask_share(self, mask: str, crop: Crop) -> float:
        """How much of the part that counts a mask leaves, 0…1; looked at once. Raises: NotFound, BadInput."""
        known = (mask, crop)
        if known not in self._shares:
            self._shares[known] = ImageStat.Stat(cut(self.open(mask).convert("L"), crop)).mean[0] / 255
        return self._shares[known]

    def path(self, file: str) -> Path:
        """Where a kept file lies. Raises: NotFound."""
        path = self._folder / file
        if not path.is_file():
            raise NotFound(f"The picture file {path} is missing.", "Put it back from a backup, or trash its record.")
        return path

    def thumb(self, picture_id: str, file: str) -> Path:
        """A picture's thumbnail, drawn again when it is gone. Raises: NotFound, BadInput."""
        path = self._thumb_path(picture_id)
        if not path.is_file():
            self._write_thumb(path, self.open(file))
        return path

    def open(self, file: str) -> Image.Image:
        """Pixels, upright and RGB. Raises: NotFound, BadInput."""
        path = self.path(file)
        return to_rgb(decode(path.read_bytes(), str(path)))

    def _place(self, data: bytes, suffix: str, upright: Image.Image) -> Kept:
        name = content_id(data)
        file = f"images/{name[:2]}/{name}{suffix}"
        path = self._folder / file
        if not path.is_file() or path.stat().st_size != len(data):
            write_file(path, data)
        thumb = self._thumb_path(name)
        if not thumb.is_file():
            self._write_thumb(thumb, upright)
        return Kept(name, file, *upright.size)

    def _thumb_path(self, picture_id: str) -> Path:
        return self._folder / "thumbs" / picture_id[:2] / f"{picture_id}.webp"

    @staticmethod
    def _write_thumb(path: Path, upright: Image.Image) -> None:
        small = upright.copy()
        small.thumbnail((THUMB_SIDE, THUMB_SIDE))
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=85)
        write_file(path, buffer.getvalue())


def decode(data: bytes, name: str = "The file") -> Image.Image:
    """A file's first frame with every pixel read, so that a truncated one is found now.

    Raises: BadInput.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=_READABLE)
        picture.load()
    except _BROKEN as error:
        raise BadInput(
            f"{name} cannot be read as a picture: {error}.",
            "Open it in an image editor and export it as PNG or JPEG.",
        ) from error
    return picture


def to_rgb(picture: Image.Image) -> Image.Image:
    """Pixels as every engine takes them: upright, sRGB colours, 8 bits, transparency laid on white."""
    upright = _upright(picture)
    profile = picture.info.get("icc_profile")
    if upright.mode.startswith(("I", "F")):
        return _eight_bits(upright).convert("RGB")
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        upright = Image.alpha_composite(white, layer).convert("RGB")
    if profile and upright.mode in ("RGB", "CMYK", "L"):
        upright = _to_srgb(upright, profile)
    plain = upright.convert("RGB") if upright.mode != "RGB" else upright.copy()
    plain.info.clear()
    return plain


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture) or picture
    except _BROKEN:
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
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture  # a profile for another colour model, or a broken one: the pixels are still good
    return converted or picture


def to_png(picture: Image.Image, info: PngInfo | None = None) -> bytes:
    """A PNG's bytes: the same for the same pixels and text."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def png_info(provenance: Json, size: tuple[int, int]) -> PngInfo:
    """The chunks `parameters` (the text that other tools read) and `flenwheel` (all of it, as JSON).

    `provenance` goes out with the picture: it holds no place on this machine (`lora_names.without_places`).

    Raises: BadInput when `params_kind` names no class of engines.api, or `params` do not fit it.
    """
    info = PngInfo()
    kind = provenance.get("params_kind", "")
    if kind:
        params = _params_class(kind).from_json(provenance.get("params", {}))
        info.add_text("parameters", parameters_text(provenance, params, size))
    info.add_text("flenwheel", json.dumps(provenance, sort_keys=True, separators=(",", ":")))
    return info


def read_provenance(path: Path) -> Json:
    """What `png_info` wrote into a file; empty for a picture that is not ours. Raises: BadInput."""
    picture = decode(path.read_bytes(), str(path))
    text = picture.text.get("flenwheel", "{}") if isinstance(picture, PngImageFile) else "{}"
    found = json.loads(text)
    return found if isinstance(found, dict) else {}


def _params_class(kind: str) -> type[api.Params]:
    found = getattr(api, kind, None)
    if not (isinstance(found, type) and issubclass(found, api.Params)):
        raise BadInput(f"There are no parameters called {kind!r}.", "params_kind names a Params class of engines.api.")
    return found
