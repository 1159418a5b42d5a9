"""Picture files of one character and their masks: named by their content, never changed, with thumbnails."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageStat
from PIL.PngImagePlugin import PngImageFile, PngInfo

from engines.api.crops import Crop, cut
from engines.api.errors import BadInput, NotFound, UserError, from_disk
from engines.api.params import params_class
from engines.infotext import parameters_text
from engines.pictures import decode, is_transparent, to_grey, to_rgb
from studio.records.provenance import Provenance
from studio.store.durable import write_file

MOST_BYTES: Final = 256 << 20  # of one picture file
THUMB_SIDE: Final = 512
_VIEW_SIDE: Final = 2048
_QUALITY: Final = 85
_DARKER: Final = 5  # by how much what a mask leaves out is shown darker
_UPLOAD: Final = "Upload a picture file."
_SUFFIX: Final[Mapping[str, str]] = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp"}
_REMEDY: Final = "Put it back from a backup, or trash its record."


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
        self._sound: dict[str, tuple[int, int, int]] = {}  # files as they were when their bytes were last found right
        self._clear: dict[str, bool] = {}  # whether a file is transparent somewhere: named by content, it stays so
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

    def keep_result(self, picture: Image.Image, provenance: Provenance) -> Kept:
        """Keep pixels as a PNG that says how they were made (see `png_info`). Raises: BadInput, UserError."""
        upright = to_rgb(picture)
        return self._place(to_png(upright, png_info(provenance, upright.size)), ".png", upright)

    def keep_mask(self, mask: Image.Image, size: tuple[int, int]) -> str:
        """Keep what counts of a picture of that upright size, in grey; answers its place in the folder.

        Raises: BadInput for one of another size, or one that leaves nothing; UserError when the disk refuses.
        """
        grey = to_grey(mask)
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
                picture = Image.composite(picture, dark, to_grey(self.open(mask)))
            self._write_small(path, cut(picture, crop), THUMB_SIDE)
        return path

    def mask_share(self, mask: str, crop: Crop) -> float:
        """How much of the part that counts a mask leaves, 0…1; looked at once. Raises: NotFound, BadInput."""
        known = (mask, crop)
        if known not in self._shares:
            self._shares[known] = ImageStat.Stat(cut(to_grey(self.open(mask)), crop)).mean[0] / 255
        return self._shares[known]

    def path(self, file: str) -> Path:
        """Where a kept file lies. Raises: NotFound, NotAllowed."""
        path = self._folder / file
        try:
            there = path.is_file()
        except OSError as error:
            raise _unreadable(path, error) from error
        if not there:
            raise NotFound(f"The picture file {path} is missing.", _REMEDY)
        return path

    def read(self, file: str) -> bytes:
        """A kept file's bytes. Raises: NotFound, NotAllowed; BadInput where they are no longer those that were kept."""
        path = self.path(file)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from error
        if content_id(data) != path.stem:
            raise BadInput(f"The picture file {path} is damaged, or another one lies in its place.", _REMEDY)
        return data

    def trouble(self, file: str) -> UserError | None:
        """Why a kept file cannot be used, None where it can; its bytes are looked at again only when it has changed."""
        try:
            told = self.path(file).stat()
            seen = (told.st_mtime_ns, told.st_size, told.st_mode)
            if self._sound.get(file) != seen:
                self.read(file)
                self._sound[file] = seen
        except UserError as error:
            return error
        return None

    def thumb(self, picture_id: str, file: str, crop: Crop = ()) -> Path:
        """A thumbnail of a picture or a part, drawn again when it is gone; the picture where the disk takes none.

        Raises: NotFound, NotAllowed, BadInput.
        """
        return self._small(_part_name(picture_id, crop), file, crop, THUMB_SIDE)

    def view(self, picture_id: str, file: str, crop: Crop = ()) -> Path:
        """A file that a browser shows as `open` opens it: the picture's own, or a large one drawn from it.

        Browsers turn pictures and apply profiles as we do, but lay transparency on the page.
        Raises: NotFound, NotAllowed, BadInput.
        """
        own = self.path(file)
        if file not in self._clear:
            self._clear[file] = is_transparent(own)
        if not crop and not self._clear[file]:
            return own
        return self._small(f"{_part_name(picture_id, crop)}-view", file, crop, _VIEW_SIDE)

    def _small(self, name: str, file: str, crop: Crop, side: int) -> Path:
        path = self._thumb_path(name)
        if not path.is_file():
            part = cut(self.open(file), crop)
            try:
                self._write_small(path, part, side)
            except UserError:
                return self.path(file)
        return path

    def open(self, file: str) -> Image.Image:
        """Pixels, upright and RGB. Raises: NotFound, NotAllowed, BadInput."""
        return to_rgb(decode(self.read(file), str(self._folder / file)))

    def _place(self, data: bytes, suffix: str, upright: Image.Image) -> Kept:
        name = content_id(data)
        file = f"images/{name[:2]}/{name}{suffix}"
        path = self._folder / file
        if not path.is_file() or path.stat().st_size != len(data):
            write_file(path, data)
        thumb = self._thumb_path(name)
        if not thumb.is_file():
            with suppress(UserError):  # it is drawn when it is looked at
                self._write_small(thumb, upright, THUMB_SIDE)
        return Kept(name, file, *upright.size)

    def _thumb_path(self, picture_id: str) -> Path:
        return self._folder / "thumbs" / picture_id[:2] / f"{picture_id}.webp"

    @staticmethod
    def _write_small(path: Path, upright: Image.Image, side: int) -> None:
        small = upright.copy()
        small.thumbnail((side, side))
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=_QUALITY)
        write_file(path, buffer.getvalue())


def _part_name(picture_id: str, crop: Crop) -> str:
    return f"{picture_id}-{content_id(repr(crop).encode())}" if crop else picture_id


def _unreadable(path: Path, error: OSError) -> UserError:
    return from_disk(error, path) or BadInput(f"{path} cannot be read: {error.strerror or error}.", _REMEDY)


def open_upload(file: Path) -> Image.Image:
    """An uploaded picture as `to_rgb` shows it.

    Raises: NotFound, BadInput for what is no file, no picture, or too large.
    """
    try:
        if not file.is_file():  # a pipe or a device may never end
            if file.exists():
                raise BadInput(f"{file.name} is no file.", _UPLOAD)
            raise NotFound(f"{file.name} is not there.", "Upload it with handle_file, then call again.")
        with file.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{file.name[:80]} cannot be read: {error.strerror}.", _UPLOAD) from None
    if len(data) > MOST_BYTES:
        raise BadInput(f"{file.name} is larger than {MOST_BYTES >> 20} MiB.", "Make it smaller, or save it as JPEG.")
    return to_rgb(decode(data, file.name))


def to_png(picture: Image.Image, info: PngInfo | None = None) -> bytes:
    """A PNG's bytes: the same for the same pixels and text."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def png_info(provenance: Provenance, size: tuple[int, int]) -> PngInfo:
    """The chunks `parameters` (the text that other tools read) and `flenwheel` (all of it, as JSON).

    `provenance` goes out with the picture: it holds no place on this machine (`lora_names.without_places`).

    Raises: BadInput when `params_kind` names no parameters, or `params` do not fit it.
    """
    info = PngInfo()
    told = provenance.to_json()
    if provenance.params_kind:
        params = params_class(provenance.params_kind).kept(provenance.params)
        info.add_text("parameters", parameters_text(told, params, size))
    info.add_text("flenwheel", json.dumps(told, sort_keys=True, separators=(",", ":")))
    return info


def read_provenance(path: Path) -> Provenance:
    """Return what `png_info` wrote into a file; an empty one for a picture that is not ours.

    Raises: BadInput for no picture, ValueError for a chunk that is not ours.
    """
    return Provenance.from_json(json.loads(provenance_text(path.read_bytes(), str(path)) or "{}"))


def provenance_text(data: bytes, name: str = "The file") -> str:
    """The chunk `flenwheel` of a picture's bytes as it stands; "" for a picture that is not ours. Raises: BadInput."""
    picture = decode(data, name)
    return str(picture.text.get("flenwheel", "")) if isinstance(picture, PngImageFile) else ""
