"""The picture and mask files of one character: named by their content, never changed, with thumbnails."""

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
from engines.pictures import decode, is_transparent, opened, to_grey, to_rgb
from studio.records.provenance import Provenance
from studio.store.durable import remove, write_file

PROVENANCE: Final = "flenwheel"  # the text chunk that records how a picture was made
MOST_BYTES: Final = 256 << 20  # the largest picture file that is read
THUMB_SIDE: Final = 512
_VIEW_SIDE: Final = 2048
_QUALITY: Final = 85
_DARKER: Final = 5  # the divisor of the pixels that a mask excludes
_UPLOAD: Final = "Upload a picture file."
_SUFFIX: Final[Mapping[str, str]] = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp"}
_REMEDY: Final = "Put it back from a backup, or trash its record."


@dataclass(frozen=True)
class Kept:
    """Holds where a picture file was stored: its id, its path relative to the character's folder, and its size.

    `width` and `height` are those of the upright picture in pixels.
    """

    id: str
    file: str
    width: int
    height: int


def content_id(data: bytes) -> str:
    """Returns the id of a file's bytes: the first 32 hex digits of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:32]


class Pictures:
    """Stores the picture, mask and thumbnail files of a character's folder.

    A picture or mask is named by the hash of its content, a thumbnail by its picture: `images/ab/abcd….png`,
    `masks/ab/abcd….png`, `thumbs/ab/abcd….webp`. In each method `file` is such a path, relative to the character's
    folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sound: dict[str, tuple[int, int, int]] = {}  # file -> its stat when its bytes were last checked
        self._clear: dict[str, bool] = {}  # file -> whether it has transparent pixels
        self._shares: dict[tuple[str, Crop], float] = {}  # (mask, crop) -> the share

    def keep(self, data: bytes, upright: Image.Image | None = None) -> Kept:
        """Stores the bytes of a picture file and returns its id, path and size.

        `upright` are its pixels as `to_rgb` converts them, None to decode them here. JPEG, PNG and WebP are stored
        unchanged, any other format as an upright RGB PNG. Raises: BadInput for bytes that are no picture, UserError
        when writing fails.
        """
        picture = decode(data) if upright is None else opened(data)
        suffix = _SUFFIX.get(picture.format or "")
        upright = to_rgb(picture) if upright is None else upright
        if suffix is None:
            data, suffix = to_png(upright), ".png"
        return self._place(data, suffix, upright)

    def keep_result(self, picture: Image.Image, provenance: Provenance) -> Kept:
        """Stores pixels as a PNG that holds their provenance (see `png_info`), and returns its id, path and size.

        Raises: BadInput where the provenance's parameters do not fit their class, UserError when writing fails.
        """
        upright = to_rgb(picture)
        return self._place(to_png(upright, png_info(provenance, upright.size)), ".png", upright)

    def keep_mask(self, mask: Image.Image, size: tuple[int, int]) -> str:
        """Stores a mask as a grey PNG and returns its path relative to the character's folder.

        `size` is the width and height in pixels of the picture that the mask is for, when upright. Raises: BadInput for
        a mask of another size and for an all-black mask; UserError when writing fails.
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
        self._write(file, data)
        return file

    def counted_thumb(self, picture_id: str, file: str, mask: str, crop: Crop) -> Path:
        """Returns the path of a thumbnail of a picture's crop, in which the parts outside the mask are darkened.

        `file` and `mask` are paths relative to the character's folder; `mask` "" darkens nothing. `crop` is left, top,
        right and bottom as fractions, () for the whole picture. The thumbnail is made when it is missing. When it
        cannot be stored, the path of the picture's own file is returned. Raises: NotFound for a missing file,
        NotAllowed where the system denies access, BadInput for a damaged file.
        """
        path = self._thumb_path(f"{picture_id}-{content_id(repr((mask, crop)).encode())}")
        if not path.is_file():
            picture = self.open(file)
            if mask:
                dark = picture.point(lambda value: value // _DARKER)
                picture = Image.composite(picture, dark, to_grey(self.open(mask)))
            try:
                self._write_small(path, cut(picture, crop), THUMB_SIDE)
            except UserError:
                return self.path(file)
        return path

    def mask_share(self, mask: str, crop: Crop) -> float:
        """Returns the share of a picture's crop that a mask leaves for training: 0 (all black) to 1 (all white).

        `mask` is the mask's path relative to the character's folder. `crop` is left, top, right and bottom as
        fractions, () for the whole picture. Raises: NotFound for a missing file, BadInput for a damaged one.
        """
        known = (mask, crop)
        if known not in self._shares:
            self._shares[known] = ImageStat.Stat(cut(to_grey(self.open(mask)), crop)).mean[0] / 255
        return self._shares[known]

    def path(self, file: str) -> Path:
        """Returns the absolute path of a stored file, given its path relative to the character's folder.

        Raises: NotFound, NotAllowed where the system denies access.
        """
        path = self._folder / file
        try:
            there = path.is_file()
        except OSError as error:
            raise _unreadable(path, error) from error
        if not there:
            raise NotFound(f"The picture file {path} is missing.", _REMEDY)
        return path

    def read(self, file: str) -> bytes:
        """Returns the bytes of a stored file, given its path relative to the character's folder.

        Raises: NotFound, NotAllowed where the system denies access; BadInput when the bytes do not fit the hash in the
        file's name.
        """
        path = self.path(file)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from error
        if content_id(data) != path.stem:
            raise BadInput(f"The picture file {path} is damaged, or another one lies in its place.", _REMEDY)
        return data

    def trouble(self, file: str) -> UserError | None:
        """Returns the error when a stored file is missing, unreadable or changed; None when it is sound.

        `file` is its path relative to the character's folder. Its bytes are checked again only where the file has
        changed since the last check.
        """
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
        """Returns the path of a thumbnail of a picture, or of its part `crop`; makes the thumbnail when missing.

        `file` is the picture's path relative to the character's folder; `crop` is left, top, right and bottom as
        fractions, () for the whole picture. When the thumbnail cannot be stored, the path of the picture's own file is
        returned. Raises: NotFound for a missing file, NotAllowed where the system denies access, BadInput for a damaged
        file.
        """
        return self._small(_part_name(picture_id, crop), file, crop, THUMB_SIDE)

    def view(self, picture_id: str, file: str, crop: Crop = ()) -> Path:
        """Returns the path of a file that shows a picture, or its part `crop`, large, upright and opaque in a browser.

        Without a crop and without transparent pixels this is the picture's own file; otherwise a WebP is made. `file`
        is the picture's path relative to the character's folder; `crop` is left, top, right and bottom as fractions, ()
        for the whole picture. Raises: NotFound for a missing file, NotAllowed where the system denies access, BadInput
        for a damaged file.
        """
        own = self.path(file)
        if file not in self._clear:
            self._clear[file] = is_transparent(own)
        if not crop and not self._clear[file]:
            return own
        return self._small(f"{_part_name(picture_id, crop)}-view", file, crop, _VIEW_SIDE)

    def delete(self, picture_id: str, file: str, *, keep_thumb: bool) -> int:
        """Deletes a picture's file with all its thumbnails and large views, and returns the bytes freed.

        With `keep_thumb` the thumbnail of the whole picture stays. Files that are gone already are no error. Raises:
        UserError when deleting fails.
        """
        thumb = self._thumb_path(picture_id)
        paths = [self._folder / file, *thumb.parent.glob(f"{picture_id}*.webp")]
        return sum(remove(path) for path in paths if not (keep_thumb and path == thumb))

    def delete_mask(self, file: str) -> int:
        """Deletes a mask's file and returns the bytes freed. Raises: UserError when deleting fails."""
        return remove(self._folder / file)

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
        """Returns the pixels of a stored picture or mask, upright and RGB.

        `file` is its path relative to the character's folder. Raises: NotFound for a missing file, NotAllowed where the
        system denies access, BadInput for a damaged file.
        """
        return to_rgb(decode(self.read(file), str(self._folder / file)), in_place=True)

    def _place(self, data: bytes, suffix: str, upright: Image.Image) -> Kept:
        name = content_id(data)
        file = f"images/{name[:2]}/{name}{suffix}"
        self._write(file, data)
        thumb = self._thumb_path(name)
        if not thumb.is_file():
            with suppress(UserError):  # it is made when it is first shown
                self._write_small(thumb, upright, THUMB_SIDE)
        return Kept(name, file, *upright.size)

    def _write(self, file: str, data: bytes) -> None:
        """Writes a file that is named by its content, unless it is there in its full length."""
        path = self._folder / file
        if not path.is_file() or path.stat().st_size != len(data):
            write_file(path, data)

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
    """Returns the pixels of an uploaded picture, upright and RGB.

    Raises: NotFound; BadInput for a path that is no file, a file that is no picture, or one that is too large.
    """
    try:
        if not file.is_file():  # reading a pipe or a device may never end
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
    """Returns a picture as the bytes of a PNG, with the text chunks in `info`; equal input gives equal bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def png_info(provenance: Provenance, size: tuple[int, int]) -> PngInfo:
    """Returns the two text chunks of a PNG that tell how its picture was made.

    `parameters` is the text that other tools read, `flenwheel` the provenance as JSON. Both are published with the
    picture, so `provenance` must hold no path of this machine (see `lora_names.without_places`). `size` is width and
    height in pixels. Raises: BadInput when the provenance's `params` do not fit the class named by `params_kind`.
    """
    info = PngInfo()
    told = provenance.to_json()
    if provenance.params_kind:
        params = params_class(provenance.params_kind).kept(provenance.params)
        info.add_text("parameters", parameters_text(told, params, size))
    info.add_text(PROVENANCE, json.dumps(told, sort_keys=True, separators=(",", ":")))
    return info


def read_provenance(path: Path) -> Provenance:
    """Returns the provenance that `png_info` wrote into a PNG; an empty one for a picture without it.

    Raises: BadInput for a file that is no picture, ValueError for a provenance that cannot be parsed.
    """
    return Provenance.from_json(json.loads(provenance_text(path.read_bytes(), str(path)) or "{}"))


def provenance_text(data: bytes, name: str = "The file") -> str:
    """Returns the JSON text of the provenance (chunk `flenwheel`) in a picture file's bytes; "" where there is none.

    `name` is what an error message calls the file. Raises: BadInput for bytes that are no picture.
    """
    picture = decode(data, name)
    return str(picture.text.get(PROVENANCE, "")) if isinstance(picture, PngImageFile) else ""
