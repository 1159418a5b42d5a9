"""What a user drops in: folders, zips, pictures and their captions, opened safely and named one by one."""

from __future__ import annotations

import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from engines.errors import BadInput
from engines.pictures import MOST_PIXELS, to_rgb
from studio.pictures import MOST_BYTES

_MIB = 1 << 20
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
_JUNK = ("__macosx", "thumbs.db", "desktop.ini")
_MASK_ENDINGS = ("-masklabel", ".mask")  # OneTrainer's, and what painting programs are told by hand
_MASK_FOLDERS = ("masks", "mask")  # ai-toolkit's mask_path: the pictures' own names, and folders, in one of masks
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXPORT = "Export it as JPEG or PNG and import that."
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much an import may hold, so that no file can exhaust the machine."""

    pixels: int = MOST_PIXELS
    file_bytes: int = MOST_BYTES
    total_bytes: int = 16 * 1024 * _MIB
    files: int = 50_000
    caption_bytes: int = 64 * 1024
    zip_ratio: int = 200
    zip_ratio_from: int = 4 * _MIB


@dataclass(frozen=True)
class Refusal:
    """A file that did not come in: which, why, and what to do."""

    file: str
    reason: str
    hint: str

    @classmethod
    def of(cls, file: str, error: BadInput) -> Refusal:
        """From the error that its reading raised."""
        return cls(file, error.cause, error.hint)


@dataclass(frozen=True)
class Member:
    """One file that came with an import; `label` is what the user calls it, `group` the folder it lay in."""

    label: str
    group: str
    name: str
    read: Callable[[], bytes]

    @property
    def is_caption(self) -> bool:
        """Whether it is the words of a picture."""
        return self.name.lower().endswith(".txt")

    @property
    def key(self) -> tuple[str, str]:
        """What a picture and its caption have in common."""
        return (self.group, PurePosixPath(self.name).stem.lower())

    @property
    def is_mask(self) -> bool:
        """Whether its name can only be that of a mask."""
        return not self.is_caption and self.key[1].endswith(_MASK_ENDINGS)

    @property
    def mask_of(self) -> tuple[str, str] | None:
        """The key of the picture whose mask it would be, by its name or its folder's; None where it can be none."""
        parts, stem = PurePosixPath(self.group).parts, self.key[1]
        others = [part for part in parts if part.lower() not in _MASK_FOLDERS]
        if self.is_caption or not (len(others) < len(parts) or self.is_mask):
            return None
        bare = next((stem.removesuffix(ending) for ending in _MASK_ENDINGS if stem.endswith(ending)), stem)
        return ("/".join(others), bare)


# ── which files are there ───────────────────────────────────────────────────────────────────────


def members(slots: list[Path], limits: Limits, stack: ExitStack) -> Iterator[Member | Refusal]:
    """Every file in these slots, each a folder holding one dropped file, folder or zip; zips are opened on `stack`."""
    for slot in slots:
        for path in sorted(p for p in slot.rglob("*") if p.is_file()):
            inside = path.relative_to(slot)
            if is_junk(inside.as_posix()):
                continue
            if path.suffix.lower() == ".zip":
                yield from _zip_members(path, inside.as_posix(), limits, stack)
            else:
                group = inside.parent.as_posix()
                yield Member(inside.as_posix(), "" if group == "." else group, path.name, path.read_bytes)


def is_junk(name: str) -> bool:
    """What systems leave in folders, and users never see."""
    parts = PurePosixPath(name).parts
    return any((part[0] == "." and part not in (".", "..")) or part.lower() in _JUNK for part in parts)


def _zip_members(path: Path, label: str, limits: Limits, stack: ExitStack) -> Iterator[Member | Refusal]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except _BROKEN_ZIP as error:
        yield Refusal(label, f"The zip cannot be opened ({error}).", "Make the zip again, or import its folder.")
        return
    infos = [info for info in archive.infolist() if not info.is_dir()]
    size = sum(info.file_size for info in infos)
    if size > limits.total_bytes or len(infos) > limits.files:
        reason = f"The zip unpacks to {size / _MIB:.0f} MiB in {len(infos)} files."
        limit = f"At most {limits.total_bytes / _MIB:.0f} MiB and {limits.files} files: split it."
        yield Refusal(label, reason, limit)
        return
    for info in sorted(infos, key=lambda info: info.filename):
        if not is_junk(_inner(info.filename)):
            yield _zip_member(archive, info, label, limits)


def _inner(name: str) -> str:
    return name.replace("\\", "/")


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, zip_label: str, limits: Limits) -> Member | Refusal:
    name = PurePosixPath(_inner(info.filename))
    label = f"{zip_label}/{info.filename}"
    mode = info.external_attr >> 16
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
        return Refusal(label, "Its name points outside the zip.", "Make the zip again from inside its folder.")
    if stat.S_ISLNK(mode):
        return Refusal(label, "It is a link, not a file.", "Put the file itself into the zip.")
    if name.suffix.lower() == ".zip":
        return Refusal(label, "It is a zip within a zip.", "Unpack it and import what is in it.")
    if info.file_size > limits.file_bytes:
        return Refusal(label, _too_large(info.file_size, limits), _EXPORT)
    if info.file_size > limits.zip_ratio_from and info.file_size > limits.zip_ratio * max(1, info.compress_size):
        ratio = info.file_size // max(1, info.compress_size)
        return Refusal(label, f"It unpacks to {ratio} times its size, as zip bombs do.", "Import the picture unpacked.")
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


# ── is it a picture ─────────────────────────────────────────────────────────────────────────────


def read_picture(data: bytes, limits: Limits) -> Image.Image:
    """Decode a file whole, upright and RGB, after its header alone has said that it is worth it.

    Raises: BadInput with the reason and the remedy.
    """
    if not data:
        raise BadInput("The file is empty (0 bytes).", "Copy it again from where it came from.")
    _check_pixels(*_png_size(data), limits)
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
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


def read_caption(data: bytes, limits: Limits) -> str:
    """The words of a sidecar, on one line. Raises: BadInput."""
    if len(data) > limits.caption_bytes:
        raise BadInput(f"A caption of {len(data) // 1024} KiB is no caption.", "Keep it to a sentence or two.")
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput("It is no text.", "Save it as plain text in UTF-8.")
    try:
        encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
        return " ".join(data.decode(encoding).split())
    except UnicodeDecodeError:
        return " ".join(data.decode("cp1252", errors="replace").split())


def _decoded(image: Image.Image) -> Image.Image:
    try:
        image.load()
        return to_rgb(image)
    except MemoryError as error:
        raise BadInput("This machine has not enough memory to open it.", "Make it smaller first.") from error
    except _BROKEN as error:
        raise _cut_short(error) from error


def _cut_short(error: Exception) -> BadInput:
    return BadInput(f"It is damaged or cut short ({error}).", "Copy or download it again.")


def _png_size(data: bytes) -> tuple[int, int]:
    """A PNG's size from its header's fixed place; 0 × 0 for anything else."""
    if data.startswith(_PNG_SIGNATURE) and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    return 0, 0


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        size = f"{width}×{height} ({width * height / 1e6:.0f} megapixels)"
        raise BadInput(f"It is {size}, too large to open safely.", _smaller(limits))


def _smaller(limits: Limits) -> str:
    return f"Make it smaller: at most {limits.pixels / 1e6:.0f} megapixels."


def _check_frames(image: Image.Image) -> None:
    try:
        frames = int(getattr(image, "n_frames", 1))
    except _BROKEN as error:
        raise _cut_short(error) from error
    if frames <= 1 or image.format == "MPO":  # phones pack a depth map or a second view behind the first
        return
    if image.format == "TIFF":
        raise BadInput(f"It has {frames} pages.", "Save the page you want as a picture of its own.")
    raise BadInput(f"It is animated ({frames} frames).", "Save the frame you want as PNG and import that.")


def _not_a_picture(data: bytes) -> BadInput:
    head = data[:512]
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        return BadInput("HEIC pictures are not read here.", _EXPORT)
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return BadInput("This AVIF picture is damaged, or of a kind that is not read here.", _EXPORT)
    if head.startswith(_PNG_SIGNATURE) or head.startswith(b"\xff\xd8\xff"):
        return BadInput("It is damaged from its first bytes on.", "Copy it again from where it came from.")
    if all(byte in b"\t\n\r\f" or byte >= 32 for byte in head) and b"\x7f" not in head:
        return BadInput("It holds text, not a picture.", "If it is a caption, name it like its picture, with .txt.")
    return BadInput("It is no picture that can be read here.", f"JPEG, PNG, WebP, AVIF, TIFF and BMP are. {_EXPORT}")
