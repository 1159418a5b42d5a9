"""Tells by names which files may be masks, and of which pictures."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from studio.flywheel.curate.intake import Member, alike

_MASK_NAME = re.compile(r"(.+?)[-_. ]masks?(?:label)?(?:[-_ ]?\d+)?_?")
_MASK_PREFIX = re.compile(r"masks?[-_. ](.+)")
_MASK_ONLY = ("-masklabel", ".mask")  # OneTrainer's suffix, and one that people type in painting programs
_MASK_FOLDERS: Final = {"mask", "masks", "masklabel", "masklabels"}


def folder_words(folder: str) -> list[str]:
    """Returns the words in a folder's name, in lower case and without digits; `controlImages2` holds two."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder).lower())


def can_only_be_mask(file: Member) -> bool:
    """Returns whether the file's name has a suffix that only masks have, such as `-masklabel`."""
    return alike(file.stem).endswith(_MASK_ONLY)


def is_called_mask(file: Member) -> bool:
    """Returns whether the file's name, or the name of one of its folders, marks it as a mask."""
    return _bare(file.stem) is not None or any(map(_is_mask_folder, PurePosixPath(file.group).parts))


def _bare(stem: str) -> str | None:
    """Returns the name of the picture that a file with this stem would be the mask of; None for no name of a mask."""
    found = _MASK_NAME.fullmatch(alike(stem)) or _MASK_PREFIX.fullmatch(alike(stem))
    return found[1] if found else None


def _is_mask_folder(part: str) -> bool:
    return not _MASK_FOLDERS.isdisjoint(folder_words(part))


class Partners:
    """An index that finds the pictures whose mask a file could be.

    They lie beside a file whose name has a mask's suffix or prefix, or above or beside a folder of masks.
    """

    def __init__(self, pictures: Sequence[Member]) -> None:
        self._named: dict[tuple[str, str], list[Member]] = defaultdict(list)
        for picture in pictures:
            self._named[picture.key].append(picture)
        self._beside: dict[tuple[int, tuple[str, ...]], set[str]] = defaultdict(set)
        for group in {alike(file.group) for file in pictures}:
            parts = PurePosixPath(group).parts
            for at in range(len(parts)):
                if not _is_mask_folder(parts[at]):
                    self._beside[at, _without(parts, at)].add(group)

    def of(self, file: Member) -> list[Member]:
        """Returns the pictures, all of one name in one folder, that a file could be the mask of; [] where ambiguous."""
        bare, stem, parts = _bare(file.stem), alike(file.stem), PurePosixPath(alike(file.group)).parts
        places = {(alike(file.group), bare)} if bare else set()
        for at, part in enumerate(PurePosixPath(file.group).parts):
            if _is_mask_folder(part):
                above = "/".join(_without(parts, at))
                groups = {above, *self._beside[at, _without(parts, at)]}
                places |= {(group, name) for group in groups for name in (stem, bare) if name}
        hits = [self._named[place] for place in places if place in self._named]
        if len(hits) != 1:
            return []
        own = [picture for picture in hits[0] if picture is not file]
        return own if len({picture.stem for picture in own}) == 1 and not (file.loose and len(own) > 1) else []


def _without(parts: tuple[str, ...], at: int) -> tuple[str, ...]:
    return (*parts[:at], *parts[at + 1 :])
