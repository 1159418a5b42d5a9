"""Reads dropped folders, zips, pictures and captions safely, and reports each file that is refused."""

from __future__ import annotations

import lzma
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableSequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from engines.api.errors import BadInput
from engines.pictures import MOST_PIXELS, is_heic, opened, to_rgb
from studio.flywheel.curate import sidecars
from studio.records.job import Refused
from studio.records.words import demand_caption, mended
from studio.store.pictures import MOST_BYTES

_MIB = 1 << 20
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
_JUNK = ("__macosx", "thumbs.db", "desktop.ini")
_WORDS = (".txt", ".caption")  # the suffix that all trainers read, and kohya's own
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DRIVE = re.compile("[A-Za-z]:")  # of Windows, at the start of a path; a time such as 12:30.png begins with a digit
_OPAQUE = 255
_EXPORT = "Export it as JPEG or PNG and import that."
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Holds the limits of an import, so that no file can exhaust the memory or the disk.

    `pixels` limits a picture's area and `side` its longer side, in pixels; `files` is the most files of one import.
    `file_bytes`, `total_bytes`, `caption_bytes` and `list_bytes` limit the sizes of one file, of all files, of a
    caption file and of a file that lists captions. A zipped file that unpacks to more than `zip_ratio_from` bytes may
    be at most `zip_ratio` times its packed size.
    """

    pixels: int = MOST_PIXELS
    side: int = 50_000
    file_bytes: int = MOST_BYTES
    total_bytes: int = 16 * 1024 * _MIB
    files: int = 50_000
    caption_bytes: int = 64 * 1024
    list_bytes: int = 32 * _MIB
    zip_ratio: int = 200
    zip_ratio_from: int = 4 * _MIB


def refusal(file: str, error: BadInput) -> Refused:
    """Returns the report of a refused file, with the reason and the hint of the error that reading the file raised.

    `file` is the file's name as the user sees it.
    """
    return Refused(file=file, reason=error.cause, hint=error.hint)


@dataclass(frozen=True)
class Member:
    """Holds one file of an import, from a folder or a zip.

    `label` is its path as users see it, `group` the folder that it came from, and `name` its name without the folder.
    `read` returns its bytes. `loose` is true for a file that was uploaded by itself, whose folder is unknown. `worded`
    is true for a caption that stands in a file of another form.
    """

    label: str
    group: str
    name: str
    read: Callable[[], bytes]
    loose: bool = False
    worded: bool = False

    @property
    def is_caption(self) -> bool:
        """Returns whether the file is a caption file, by its suffix unless it is `worded`."""
        return self.worded or self.ending in _WORDS

    def data(self) -> bytes:
        """Returns the file's bytes. Raises: BadInput where the file cannot be read."""
        try:
            return self.read()
        except OSError as error:
            raise BadInput(f"It cannot be read ({error.strerror or error}).", "Copy it again and import it.") from error

    @cached_property
    def ending(self) -> str:
        """Returns the suffix of the file's name in lower case, such as `.png`."""
        return PurePosixPath(self.name).suffix.lower()

    @cached_property
    def stem(self) -> str:
        """Returns the file's name without its suffix."""
        return PurePosixPath(self.name).stem

    @cached_property
    def key(self) -> tuple[str, str]:
        """Returns (folder, stem), both NFC and case-folded; a picture and its caption file have the same key."""
        return (alike(self.group), alike(self.stem))

    @property
    def shown(self) -> str:
        """Returns the file's label with `?` in place of each character that a page cannot show."""
        return str(mended(self.label))


def alike(name: str) -> str:
    """Returns a name in the form in which Windows and macOS compare names: Unicode NFC, case-folded."""
    return unicodedata.normalize("NFC", name).casefold()


# ── the files of an import ────────────────────────────────────────────────────────────────────────


def members(
    slots: list[Path], limits: Limits, stack: ExitStack, folders: Mapping[Path, str | None] | None = None
) -> Iterator[Member | Refused]:
    """Yields each file of an import, with folders and zips unpacked, or a refusal where a file cannot be imported.

    Each of the `slots` is a folder that holds one dropped file, folder or zip. `folders` maps a slot to the folder that
    its content came from, None for an upload, whose folder is unknown. Zips are opened on `stack`, which the caller
    closes.
    """
    zips = Counter[str]()
    for slot in slots:
        lay = (folders or {}).get(slot, "")
        for path in sorted(p for p in slot.rglob("*") if p.is_file()):
            inside = path.relative_to(slot)
            chosen, *below = inside.parts  # a hidden folder or picture that was itself chosen is meant
            systems = chosen.lower() in _JUNK or chosen.startswith("._") or not path.suffix
            if is_junk("/".join(below)) or (not below and is_junk(chosen) and systems):
                continue
            label = (PurePosixPath(lay or "") / inside).as_posix()
            if path.suffix.lower() == ".zip":
                zips[label] += 1
                label += f" ({zips[label]})" if zips[label] > 1 else ""  # a zip of the same name from another folder
                yield from _zip_members(path, label, limits, stack)
            else:
                group = PurePosixPath(label).parent.as_posix()
                loose = lay is None and len(inside.parts) == 1
                yield Member(label, "" if group == "." else group, path.name, path.read_bytes, loose)


def is_junk(name: str) -> bool:
    """Returns whether a path names a hidden file or a file that operating systems add to folders, such as thumbs.db."""
    parts = PurePosixPath(name).parts
    return any((part[0] == "." and part not in (".", "..")) or part.lower() in _JUNK for part in parts)


def unpacked(path: Path) -> tuple[int, int]:
    """Returns the bytes and the number of files that a zip unpacks to; (0, 1) for one that cannot be opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = _files_in(archive)
    except _BROKEN_ZIP:
        return 0, 1
    return sum(info.file_size for info in infos), len(infos)


def _files_in(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [info for info in archive.infolist() if not info.filename.endswith("/")]  # `is_dir` needs a name


def _zip_members(path: Path, label: str, limits: Limits, stack: ExitStack) -> Iterator[Member | Refused]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except _BROKEN_ZIP as error:
        yield Refused(label, f"The zip cannot be opened ({error}).", "Make the zip again, or import its folder.")
        return
    infos = _files_in(archive)
    size = sum(info.file_size for info in infos)
    if size > limits.total_bytes or len(infos) > limits.files:
        reason = f"The zip unpacks to {size / _MIB:.0f} MiB in {len(infos)} files."
        limit = f"At most {limits.total_bytes / _MIB:.0f} MiB and {limits.files} files: split it."
        yield Refused(label, reason, limit)
        return
    for info in sorted(infos, key=lambda info: info.filename):
        if not is_junk(_inner(info.filename)):
            yield _zip_member(archive, info, label, limits)


def _inner(name: str) -> str:
    return name.replace("\\", "/")


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, zip_label: str, limits: Limits) -> Member | Refused:
    name = PurePosixPath(_inner(info.filename))
    label = mended(f"{zip_label}/{info.filename}")
    mode = info.external_attr >> 16
    if not name.parts:
        return Refused(label, "It has no name in the zip.", "Make the zip again from inside its folder.")
    if name.is_absolute() or ".." in name.parts or _DRIVE.match(name.parts[0]):
        return Refused(label, "Its name points outside the zip.", "Make the zip again from inside its folder.")
    if stat.S_ISLNK(mode):
        return Refused(label, "It is a link, not a file.", "Put the file itself into the zip.")
    if name.suffix.lower() == ".zip":
        return Refused(label, "It is a zip within a zip.", "Unpack it and import what is in it.")
    if info.file_size > limits.file_bytes:
        return Refused(label, _too_large(info.file_size, limits), _EXPORT)
    if info.file_size > limits.zip_ratio_from and info.file_size > limits.zip_ratio * max(1, info.compress_size):
        ratio = info.file_size // max(1, info.compress_size)
        return Refused(label, f"It unpacks to {ratio} times its size, as zip bombs do.", "Import the picture unpacked.")
    group = (PurePosixPath(zip_label) / name.parent).as_posix()
    return Member(label, group, name.name, lambda: _read_zipped(archive, info, limits))


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> bytes:
    try:
        with archive.open(info) as stream:
            data = stream.read(limits.file_bytes + 1)
    except _BROKEN_ZIP as error:
        locked = bool(info.flag_bits & 0x1)
        cause = "It is encrypted." if locked else f"The zip is damaged here ({error})."
        raise BadInput(cause, "Make the zip again without a password, or import its folder.") from error
    if len(data) > limits.file_bytes:
        raise BadInput(_too_large(len(data), limits), _EXPORT)
    return data


def _too_large(size: int, limits: Limits) -> str:
    return f"It is larger than {limits.file_bytes / _MIB:.0f} MiB ({size / _MIB:.0f} MiB)."


# ── decoding pictures ─────────────────────────────────────────────────────────────────────────────


def read_picture(data: bytes, limits: Limits) -> Image.Image:
    """Returns a file's decoded picture, upright and RGB; its size is checked against the limits before decoding.

    Raises: BadInput with the reason and the remedy.
    """
    if not data:
        raise BadInput("The file is empty (0 bytes).", "Copy it again from where it came from.")
    _check_pixels(*_png_size(data), limits)
    try:
        image = opened(data, _FORMATS)
    except UnidentifiedImageError as error:
        raise _not_a_picture(data) from error
    except Image.DecompressionBombError as error:
        raise BadInput(f"It is far too large to open ({error}).", _smaller(limits)) from error
    except _BROKEN as error:
        raise BadInput(f"Its header is damaged ({error}).", "Copy it again from where it came from.") from error
    with image:
        _check_pixels(*image.size, limits)
        _check_frames(image)
        return _decoded(image)


def is_see_through(data: bytes) -> bool:
    """Returns whether a picture in a file's bytes, which can be read, has transparent pixels."""
    with opened(data, _FORMATS) as image:
        if "transparency" not in image.info and "A" not in image.getbands():
            return False
        return image.convert("RGBA").getchannel("A").getextrema()[0] != _OPAQUE


def read_caption(data: bytes, limits: Limits, trigger: str = "", told: MutableSequence[str] | None = None) -> str:
    """Returns the caption in a sidecar file's bytes, on one line.

    `trigger` replaces a placeholder such as [trigger]; "" replaces none. A note is added to `told` for each decision
    made in reading, such as a guessed encoding; None collects no notes. Raises: BadInput for bytes that are no caption.
    """
    if len(data) > limits.caption_bytes:
        raise BadInput(f"A caption of {len(data) // 1024} KiB is no caption.", "Keep it to a sentence or two.")
    told = [] if told is None else told
    read = sidecars.decoded(data)
    words = sidecars.caption(read.text, trigger, told)
    demand_caption(words)
    if read.guessed:
        told.append(f"It is not UTF-8; its letters were read as Western European: {words[:200]}")
    return words


def _decoded(image: Image.Image) -> Image.Image:
    try:
        image.load()
        return to_rgb(image, in_place=True)
    except MemoryError as error:
        raise BadInput("This machine has not enough memory to open it.", "Make it smaller first.") from error
    except _BROKEN as error:
        raise _cut_short(error) from error


def _cut_short(error: Exception) -> BadInput:
    return BadInput(f"It is damaged or cut short ({error}).", "Copy or download it again.")


def _png_size(data: bytes) -> tuple[int, int]:
    """Returns the (width, height) in a PNG's header; (0, 0) for any other format."""
    if data.startswith(_PNG_SIGNATURE) and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    return 0, 0


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        size = f"{width}×{height} ({width * height / 1e6:.0f} megapixels)"
        raise BadInput(f"It is {size}, too large to open safely.", _smaller(limits))
    if max(width, height) > limits.side:
        raise BadInput(f"It is {width}×{height}, too long to open safely.", f"At most {limits.side} pixels a side.")


def _smaller(limits: Limits) -> str:
    return f"Make it smaller: at most {limits.pixels / 1e6:.0f} megapixels."


def _check_frames(image: Image.Image) -> None:
    try:
        frames = int(getattr(image, "n_frames", 1))
    except _BROKEN as error:
        raise _cut_short(error) from error
    if frames <= 1 or image.format == "MPO":  # phones store a depth map or a second view after the picture
        return
    if image.format == "TIFF":
        raise BadInput(f"It has {frames} pages.", "Save the page you want as a picture of its own.")
    raise BadInput(f"It is animated ({frames} frames).", "Save the frame you want as PNG and import that.")


def _not_a_picture(data: bytes) -> BadInput:
    head = data[:512]
    kind = "HEIC" if is_heic(head) else "AVIF" if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis") else ""
    if kind:
        return BadInput(f"This {kind} picture is damaged, or of a kind that is not read here.", _EXPORT)
    if head.startswith((_PNG_SIGNATURE, b"\xff\xd8\xff", b"GIF8")) or (head[:4], head[8:12]) == (b"RIFF", b"WEBP"):
        return BadInput("It is damaged from its first bytes on.", "Copy it again from where it came from.")
    if all(byte in b"\t\n\r\f" or byte >= 32 for byte in head) and b"\x7f" not in head:
        return BadInput("It holds text, not a picture.", "If it is a caption, name it like its picture, with .txt.")
    return BadInput(
        "It is no picture that can be read here.", f"JPEG, PNG, WebP, AVIF, HEIC, TIFF and BMP are. {_EXPORT}"
    )
