"""Finds edits among imported pictures: a result with its instruction, and the control picture that it was made from."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from studio.flywheel.curate.descriptors import Described
from studio.flywheel.curate.intake import Member

_SOURCES: Final = {"control", "controls"}
_OF_FOLDERS: Final = {"image", "images", "img", "imgs", "path", "paths", "dir", "directory", "set", "data", "folder"}
_BESIDE = re.compile(r"(.+?)[-_. ]controls?(?:[-_ ]?\d+)?")  # of a folder, or of a picture
_NUMBERED = re.compile(r"(.+)_\d+")  # as musubi-tuner names several control pictures of one result


class _Groups:
    """An index of the folders of an import, and of the pictures in them."""

    def __init__(self, pictures: Sequence[Member]) -> None:
        self.named: dict[tuple[str, str], list[Member]] = defaultdict(list)
        for picture in pictures:
            self.named[picture.key].append(picture)
        self.all = {group for group, _ in self.named}
        self._holed: dict[tuple[int, tuple[str, ...]], set[str]] = defaultdict(set)
        for group in self.all:
            parts = PurePosixPath(group).parts
            for at in range(len(parts)):
                self._holed[at, (*parts[:at], *parts[at + 1 :])].add(group)

    def beside(self, group: str) -> set[str]:
        """Returns the folders whose pictures were made from those in a folder of control pictures, by their names."""
        parts, found = PurePosixPath(group).parts, set[str]()
        for at, part in enumerate(parts):
            rest = (*parts[:at], *parts[at + 1 :])
            words = set(re.findall(r"[a-z]+", part)) - _OF_FOLDERS
            if words and words <= _SOURCES:
                found |= {"/".join(rest), *self._holed[at, rest]} - {group}
            elif bare := _BESIDE.fullmatch(part):
                found |= {"/".join((*parts[:at], bare[1], *parts[at + 1 :]))}
        return found & self.all


def sources(pictures: Sequence[Member], described: Mapping[Member, Sequence[Described]]) -> dict[Member, list[Member]]:
    """Returns the control pictures among the pictures of an import, each with the results that it may belong to.

    A control picture lies in a folder that its name or a trainer's file marks as such, beside the folder of the
    results, or beside its result under the name of that with `_control`. `described` maps a trainer's file to what it
    says.
    """
    groups = _Groups(pictures)
    places = {group: groups.beside(group) for group in groups.all}
    for file, folders in described.items():
        for each in folders:
            held = {group for group in groups.all if each.holds(group, file)}
            for control in each.controls:
                for group in groups.all:
                    if each.holds(group, file, control):
                        places[group] |= held - {group}
    found: dict[Member, list[Member]] = {}
    for picture in pictures:
        group, stem = picture.key
        beside = _BESIDE.fullmatch(stem)
        if beside and (own := groups.named.get((group, beside[1]))):
            found[picture] = list(own)
        elif places[group]:
            names = [stem, *(each[1] for each in [_NUMBERED.fullmatch(stem)] if each)]
            for name in names:
                hits = [each for place in sorted(places[group]) for each in groups.named.get((place, name), ())]
                found[picture] = found.get(picture) or hits
    return found


def edits(
    controls: Mapping[Member, Sequence[Member]], worded: Mapping[Member, Member]
) -> tuple[dict[Member, Member], dict[Member, list[Member]]]:
    """Returns the edits, as result -> source, and results of several pictures, as result -> these.

    `controls` maps each control picture to the results that it may belong to, `worded` maps a picture to its caption. A
    result without a caption, which would be its instruction, is no edit; a control picture of several results belongs
    to all of them.
    """
    of: dict[Member, list[Member]] = defaultdict(list)
    for control, results in controls.items():
        for result in results:
            if result in worded and result not in controls:
                of[result].append(control)
    pairs = {result: found[0] for result, found in of.items() if len(found) == 1}
    return pairs, {result: found for result, found in of.items() if len(found) > 1}
