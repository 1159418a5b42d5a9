"""Groups dropped files: finds each picture's caption file and mask, and the pictures that are not to be imported.

Control and regularisation pictures are not imported. A name alone is not enough: two folders may hold an `01.png` each,
uploads lose their folder, and systems spell one name in several ways. A file that could belong to more than one picture
is assigned to none, and is reported.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from studio.flywheel.curate.intake import Member, alike
from studio.records.job import Refused

Pairs = dict[Member, Member]  # picture -> its caption file

_PICTURES: Final = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif")
_UNREAD: Final[Mapping[str, str]] = {
    ".json": "a JSON file",
    ".jsonl": "a list in JSON lines",
    ".csv": "a table (CSV)",
    ".tsv": "a table (TSV)",
    ".parquet": "a table (Parquet)",
    ".arrow": "a table (Arrow)",
    ".xlsx": "a table (Excel)",
    ".toml": "a settings file (TOML)",
    ".yaml": "a settings file (YAML)",
    ".yml": "a settings file (YAML)",
    ".xml": "an XML file",
    ".xmp": "a file of a picture's notes (XMP)",
    ".npz": "a trainer's cache of numbers",
    ".npy": "a trainer's cache of numbers",
    ".safetensors": "a file of weights",
}
_WORDS_HINT = "If it holds captions, give each picture a .txt file with the picture's name."
_RENAME = "Give each picture a name of its own, and its words the same name; or import one folder at a time."

_MASK_NAME = re.compile(r"(.+?)[-_. ]masks?(?:label)?(?:[-_ ]?\d+)?_?")
_MASK_PREFIX = re.compile(r"masks?[-_. ](.+)")
_MASK_ONLY = ("-masklabel", ".mask")  # OneTrainer's suffix, and one that people type in painting programs
_MASK_FOLDERS: Final = {"mask", "masks", "masklabel", "masklabels"}
_CONTROLS: Final = {
    *("control", "controls", "controlnet", "conditioning", "condition", "conditions", "cond", "condlabel"),
    *("depth", "canny", "openpose", "lineart", "scribble", "scribbles", "softedge", "hed", "mlsd", "normals"),
}
_CONTROL_NAME = re.compile(rf"(.+?)[-_. ](?:{'|'.join(sorted(_CONTROLS))})(?:[-_ ]?\d+)?_?")
_OTHERS: Final = {"reg", "regs", "regularization", "regularizations", "regularisation", "regularisations"}
_OF_FOLDERS: Final = {
    *("image", "images", "img", "imgs", "picture", "pictures", "pic", "pics", "photo", "photos", "map", "maps"),
    *("path", "paths", "dir", "dirs", "folder", "data", "dataset", "set", "input", "inputs", "file", "files", "net"),
}
_WHY: Final[Mapping[str, tuple[str, str]]] = {
    "control": (
        "It is a control picture for an editor ({where}), not a picture of the character, so it was left out.",
        "If it does show the character, import its folder by itself.",
    ),
    "others": (
        "It is for regularisation ({where}): it shows others than the character, so it was left out.",
        "If it does show the character, import its folder by itself.",
    ),
}


@dataclass
class Families:
    """Holds the files of an import, grouped into pictures, caption files, possible masks and refused files.

    `pictures` are in the order in which the user dropped them. `words` maps a picture to its caption file, and `masks`
    maps a picture to the files that may be its mask. `refused` lists the files that are not imported, with the reasons.
    """

    pictures: list[Member] = field(default_factory=list)
    words: Pairs = field(default_factory=dict)
    masks: dict[Member, list[Member]] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    @property
    def candidates(self) -> list[Member]:
        """Returns all files that may be masks; the import treats those that turn out to be no masks as pictures."""
        return list(dict.fromkeys(mask for masks in self.masks.values() for mask in masks))


def families(files: Sequence[Member]) -> Families:
    """Returns dropped files grouped into pictures, caption files, possible masks and refused files."""
    found = Families()
    rest = _without_unread(_without_left_out(files, found), found)
    pictures = [file for file in rest if not file.is_caption]
    found.words = _worded(pictures, rest, found)
    partners = _Partners(pictures)
    for file in pictures:
        own = partners.of(file)
        if own:
            for picture in own:
                found.masks.setdefault(picture, []).append(file)
        elif can_only_be_mask(file):
            found.refused.append(
                Refused(file.shown, "No picture of this name lies beside it.", "Name it like its picture.")
            )
        else:
            found.pictures.append(file)
    return found


# ── files that are not of the character ───────────────────────────────────────────────────────────


def _without_left_out(files: Sequence[Member], found: Families) -> list[Member]:
    """Returns the files without control and regularisation pictures, which are added to `found.refused`.

    Where the folders' names mark every picture as one of these, their names are ignored.
    """
    why = {file: kind for file in files for kind in [_left_out(file)] if kind}
    if not any(file not in why and file.ending in _PICTURES for file in files):
        why = {}
    named = _by(lambda file: file.key, (file for file in files if not file.is_caption))
    for file in files:
        bare = _CONTROL_NAME.fullmatch(alike(file.stem))
        if bare and any(other is not file for other in named.get((alike(file.group), bare[1]), ())):
            why.setdefault(file, "control")
    for file, kind in why.items():
        reason, hint = _WHY[kind]
        found.refused.append(Refused(file.shown, reason.format(where=file.shown), hint))
    return [file for file in files if file not in why]


def _left_out(file: Member) -> str:
    """Returns which kind of other picture the folder names mark a file as: `control` or `others`; "" for none."""
    for part in PurePosixPath(file.group).parts:
        words = _words_of(part)
        known = [word for word in words if word not in _OF_FOLDERS]
        if known and _CONTROLS.issuperset(known):
            return "control"
        if (words and words[-1] in _OTHERS) or (known and _OTHERS.issuperset(known)) or words == ["class", "images"]:
            return "others"
    return ""


def _words_of(folder: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder).lower())


def _without_unread(files: Iterable[Member], found: Families) -> list[Member]:
    """Returns the files without those of formats that are not read, which are added to `found.refused`."""
    left = []
    for file in files:
        if file.ending in _UNREAD:
            reason = f"It is {_UNREAD[file.ending]}, which is not read here; any words in it were not taken."
            found.refused.append(Refused(file.shown, reason, _WORDS_HINT))
        else:
            left.append(file)
    return left


# ── words ─────────────────────────────────────────────────────────────────────────────────────────

_SAMENESS: Final[tuple[Callable[[Member], tuple[str, str]], ...]] = (
    lambda file: (file.group, file.stem),
    lambda file: file.key,
    lambda file: (alike(file.group), alike(file.stem if file.is_caption else file.name)),  # a.png.txt beside a.png
)


def _worded(pictures: Sequence[Member], files: Sequence[Member], found: Families) -> Pairs:
    """Returns the caption file of each picture; caption files without a picture are added to `found.refused`.

    Names that are spelled identically are matched first, then names that some systems treat as equal.
    """
    pairs: Pairs = {}
    settled: set[Member] = set()
    for sameness in _SAMENESS:
        shelves = _by(sameness, (file for file in files if file not in settled and file not in pairs))
        for shelf in shelves.values():
            words = [file for file in shelf if file.is_caption]
            beside = [file for file in shelf if not file.is_caption]
            if words and beside:
                pairs.update(_matched(shelf, words, beside, found))
                settled.update(shelf)
    for file in files:
        if file.is_caption and file not in settled:
            found.refused.append(
                Refused(file.shown, "No picture of this name lies beside it.", "Name it like its picture.")
            )
    return pairs


def _matched(shelf: Sequence[Member], words: list[Member], beside: list[Member], found: Families) -> Pairs:
    """Returns the pairs of pictures and caption files among files of one name.

    `shelf` are all the files of that name, `words` its caption files and `beside` its other files. Caption files that
    could belong to several pictures are added to `found.refused`.
    """
    likely = [file for file in beside if file.ending in _PICTURES] or beside
    in_turn = _in_turn([file for file in shelf if file.is_caption or file in likely])
    loose = any(file.loose for file in shelf)
    if in_turn and (len(words) == 1 or loose):
        return in_turn
    one_folder = not loose and len({file.name for file in shelf}) == len(shelf)
    if one_folder and len({file.stem for file in likely}) == 1 and len({file.ending for file in words}) == len(words):
        first, *others = sorted(words, key=lambda file: file.ending != ".txt")
        for file in others:
            reason = f"The words of its picture were taken from {first.shown}."
            found.refused.append(Refused(file.shown, reason, "Keep one of the two files."))
        return dict.fromkeys(likely, first)
    whose = ", ".join(dict.fromkeys(file.shown for file in likely))
    for file in words:
        reason = f"Whose words these are cannot be told: {len(likely)} pictures and {len(words)} texts share this name"
        found.refused.append(Refused(file.shown, f"{reason} ({whose}).", _RENAME))
    return {}


def _in_turn(shelf: Sequence[Member]) -> Pairs:
    """Returns the pairs of pictures and caption files of one name that alternate, as sorted names do; else none."""
    pairs = list(zip(shelf[::2], shelf[1::2], strict=False))
    orders = {(first.is_caption, second.is_caption) for first, second in pairs}
    if len(shelf) % 2 or len(orders) != 1 or orders <= {(True, True), (False, False)}:
        return {}
    return {first: second for pair in pairs for first, second in [sorted(pair, key=lambda file: file.is_caption)]}


# ── masks ─────────────────────────────────────────────────────────────────────────────────────────


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
    return not _MASK_FOLDERS.isdisjoint(_words_of(part))


class _Partners:
    """An index that finds the pictures whose mask a file could be.

    They lie beside a file whose name has a mask's suffix or prefix, or above or beside a folder of masks.
    """

    def __init__(self, pictures: Sequence[Member]) -> None:
        self._named = _by(lambda file: file.key, pictures)
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


def _by(key: Callable[[Member], tuple[str, str]], files: Iterable[Member]) -> dict[tuple[str, str], list[Member]]:
    """Returns the files grouped by a key, in their order."""
    shelves: dict[tuple[str, str], list[Member]] = defaultdict(list)
    for file in files:
        shelves[key(file)].append(file)
    return dict(shelves)
