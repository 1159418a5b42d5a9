"""The inbox of an import: checks the dropped paths, and copies their files, so that the originals may be removed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from engines.api.errors import BadInput
from studio.flywheel.curate.intake import Limits, is_junk, unpacked
from studio.records.job import Refused
from studio.records.words import demand_text, mended
from studio.store.durable import disk_error, make_folder

_GIB = 1 << 30
_QUOTES = ("''", '""', "\u201c\u201d", "\u2018\u2019", "\u00ab\u00bb")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_KINDS: Final[Mapping[int, str]] = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}


def typed_path(words: str) -> Path:
    """Returns the path that a user typed, pasted or dragged as text: with `~`, in quotes, or as a `file://` address.

    Raises: BadInput for an empty text, or one that cannot be a path.
    """
    plain = words.strip()
    demand_text("The path", plain)
    if len(plain) > 1 and plain[0] + plain[-1] in _QUOTES:
        plain = plain[1:-1].strip()
    if plain.lower().startswith("file://"):
        plain = url2pathname(urlsplit(plain.replace("?", "%3F").replace("#", "%23")).path)
        demand_text("The path", plain)
    if not plain:
        raise BadInput("The path is empty.", "Type the path of a file or folder.")
    try:
        return Path(plain).expanduser()
    except RuntimeError as error:
        raise BadInput(f"{plain} cannot be found: {error}", "Type the whole path.") from None


def demand_outside(paths: Sequence[Path], home: Path) -> None:
    """Raises BadInput where a path is the studio's data folder `home` or a folder inside it.

    Single files inside the data folder may be imported.
    """
    for path in paths:
        if not _is_folder(path):
            continue
        real = path.resolve()
        if any(_is_same(each, home) for each in (real, *real.parents)):
            raise BadInput(
                f"{path} is the studio's own data folder, or lies in it.",
                "Choose the folder that your pictures lie in; what the studio made is in its gallery already.",
            )


def demand_room(paths: Sequence[Path], home: Path, limits: Limits, folder: Path) -> None:
    """Raises BadInput where an import exceeds the limits, or the disk has no room for its copy and its pictures.

    A zip counts as what it unpacks to. A file or zip that is beyond the limits by itself does not count, because the
    import leaves it out; neither do files in `home`, the studio's data folder, which are never imported. `folder` is
    any folder on the disk to check.
    """
    total, need, count = 0, 0, 0
    for _, path in _outermost(paths):
        for file in _files(path, home):
            if isinstance(file, Refused):
                continue
            packed = _size(file)
            size, files = unpacked(file) if file.suffix.lower() == ".zip" else (packed, 1)
            if max(packed, size) <= _most(file, limits) and files <= limits.files:
                total, need, count = total + size, need + packed + size, count + files
    if total > limits.total_bytes or count > limits.files:
        raise BadInput(
            f"That is {total / _GIB:.1f} GiB in {count} files; at most {limits.total_bytes / _GIB:.1f} GiB and "
            f"{limits.files} files fit one import.",
            "Import it in several parts.",
        )
    free = shutil.disk_usage(folder).free
    if need > free:
        raise BadInput(
            f"Importing {total / _GIB:.1f} GiB takes {need / _GIB:.1f} GiB on the disk for a while; "
            f"{free / _GIB:.1f} GiB is free.",
            "Free some space, or import it in several parts.",
        )


def fill(
    paths: Sequence[Path], inbox: Path, home: Path, limits: Limits, refused: list[Refused]
) -> dict[Path, str | None]:
    """Copies each dropped path to a new folder of its own in `inbox`; returns these folders, as new folder -> origin.

    The origin is the path's original folder, relative to the folder that contains all dropped paths; it is None for an
    upload, whose original folder is unknown. `home` is the studio's data folder, which is not copied. Files that cannot
    be copied are added to `refused`.

    A repeated call keeps the folders that exist: they are complete, because a copy gets its final name last. Raises:
    UserError where the disk is full or read-only.
    """
    lay = _where([Path(os.path.normpath(path.absolute())) for path in paths], home / "cache")
    slots: dict[Path, str | None] = {}
    for index, path in _outermost(paths):
        slot = inbox / f"{index:05d}"
        _fill_slot(path, slot, home, limits, refused)
        if slot.is_dir():
            slots[slot] = lay[index]
    return slots


def _outermost(paths: Sequence[Path]) -> Iterator[tuple[int, Path]]:
    """Yields each path with its place in the list, but for those that lie in another one or are given twice."""
    whole = [Path(os.path.normpath(path.absolute())) for path in paths]
    for index, path in enumerate(whole):
        if path not in whole[:index] and {*whole}.isdisjoint(path.parents):
            yield index, path


def _where(paths: Sequence[Path], uploads: Path) -> list[str | None]:
    """Returns the folder of each path, relative to the folder that contains them all; None for an uploaded file."""
    cache = os.path.realpath(uploads)
    own = [None if os.path.realpath(path).startswith(cache + os.sep) else path.parent for path in paths]
    known = [folder for folder in own if folder is not None]
    try:
        top = Path(os.path.commonpath(known)) if known else None
    except ValueError:  # the paths lie on several drives of Windows
        top = None
    return [
        None if folder is None else folder.relative_to(top).as_posix() if top else folder.as_posix().replace(":", "")
        for folder in own
    ]


def _fill_slot(path: Path, slot: Path, home: Path, limits: Limits, refused: list[Refused]) -> None:
    whole = slot.is_dir()
    draft = slot.with_suffix(".part")
    shutil.rmtree(draft, ignore_errors=True)
    make_folder(draft)
    copied = 0
    for file in () if whole and not _exists(path) else _files(path, home):
        if isinstance(file, Refused):
            refused.append(file)
            continue
        label = file.relative_to(path.parent).as_posix()
        size, most = _size(file), _most(file, limits)
        if size > most:
            mib = 1 << 20
            reason = f"It is {size / mib:.1f} MiB; at most {most / mib:.1f} MiB is read."
            refused.append(Refused(mended(label), reason, "Make it smaller and import that."))
        elif not whole:
            copied += _copy(file, draft / label, label, refused)
    if whole or not copied:
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.rename(slot)


def _copy(file: Path, target: Path, label: str, refused: list[Refused]) -> bool:
    """Copies one file and returns True; returns False and adds the file to `refused` where it cannot be read.

    Raises: UserError where the disk is full or read-only.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    except OSError as error:
        target.unlink(missing_ok=True)
        if error.errno in _FULL:
            raise disk_error(target, error) from error
        reason = f"It cannot be read ({error.strerror})."
        refused.append(Refused(mended(label), reason, "Check its permissions."))
        return False
    return True


# ── the files below a path ────────────────────────────────────────────────────────────────────────


def _files(path: Path, home: Path) -> Iterator[Path | Refused]:
    """Yields the regular files below a path, or the path itself, and a refusal for each thing that is left out.

    Links inside folders are not followed, and the studio's own folder is left out.
    """
    name = mended(path.name or str(path))
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        yield Refused(name, "It is not there.", "Choose it again.")
        return
    if stat.S_ISREG(mode):
        yield path
        return
    if not stat.S_ISDIR(mode):
        yield _passed_over(name, mode)
        return
    found, unread = False, list[OSError]()
    for root, folders, names in os.walk(path, onerror=unread.append):
        inside = [Path(root, each) for each in sorted(folders) if not is_junk(each)]
        kept = {each for each in inside if not each.is_symlink() and not _is_same(each, home)}
        folders[:] = [each.name for each in inside if each in kept]
        for each in inside:
            if each not in kept:
                found = True
                label = mended(each.relative_to(path.parent).as_posix())
                if each.is_symlink():
                    yield _passed_over(label, stat.S_IFLNK)
                else:
                    yield Refused(
                        label, "It is the studio's own data folder, so it was left out.", "Nothing is missing."
                    )
        for each in (Path(root, each) for each in sorted(names) if not is_junk(each)):
            found = True
            mode = _mode(each)
            yield each if stat.S_ISREG(mode) else _passed_over(mended(each.relative_to(path.parent).as_posix()), mode)
    for error in unread:
        found = True
        label = mended(os.path.relpath(error.filename, path.parent))
        yield Refused(label, f"The folder cannot be read ({error.strerror}).", "Check its permissions.")
    if not found:
        yield Refused(name, "The folder is empty.", "Choose the folder that your pictures lie in.")


def _passed_over(label: str, mode: int) -> Refused:
    kind = _KINDS.get(stat.S_IFMT(mode), "no file that can be read")
    return Refused(label, f"It is {kind}, not a file.", "Put the picture's file itself there.")


def _mode(file: Path) -> int:
    try:
        return file.lstat().st_mode
    except OSError:
        return 0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # the file has just been removed; copying it reports that
        return 0


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_same(path: Path, home: Path) -> bool:
    try:
        return path.samefile(home)
    except OSError:
        return False


def _most(file: Path, limits: Limits) -> int:
    suffix = file.suffix.lower()
    if suffix == ".zip":
        return limits.total_bytes
    return limits.caption_bytes if suffix in (".txt", ".caption") else limits.file_bytes
