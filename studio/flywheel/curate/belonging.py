"""Groups dropped files: finds each picture's caption file and mask, and the pictures that are not to be imported.

Control and regularisation pictures are not imported. A name alone is not enough: two folders may hold an `01.png` each,
uploads lose their folder, and systems spell one name in several ways. A file that could belong to more than one picture
is assigned to none, and is reported.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final

from engines.api.errors import BadInput
from studio.flywheel.curate import descriptors, listings, masking, pairing, placing
from studio.flywheel.curate.descriptors import Described
from studio.flywheel.curate.intake import Limits, Member, alike, refusal
from studio.flywheel.curate.listings import Listing
from studio.records.job import Refused

_FIRST: Final = (".txt", ".caption", ".json")  # of several caption files of one picture the first counts

Pairs = dict[Member, Member]  # picture -> its caption file

_PICTURES: Final = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif")
_UNREAD: Final[Mapping[str, str]] = {
    ".json": "a JSON file without captions of pictures",
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
# A reader of Parquet is too heavy for a rare form, or not safe: pyarrow takes 170 MB and duckdb 69 MB; fastparquet and
# arro3-io, at 14 and 34 MB, end the process on damaged files.
_TABLES: Final = (".parquet", ".arrow", ".xlsx")
_TABLE_HINT = "Save it as metadata.csv with the columns file_name and text, as pandas' to_csv does, and import that."
_WORDS_HINT = "If it holds captions, give each picture a .txt file with the picture's name."
_RENAME = "Give each picture a name of its own, and its words the same name; or import one folder at a time."

_CONTROLS: Final = {
    *("control", "controls", "controlnet", "conditioning", "condition", "conditions", "cond", "condlabel"),
    *("depth", "canny", "openpose", "lineart", "scribble", "scribbles", "softedge", "hed", "mlsd", "normals"),
}
_CONTROL_NAME = re.compile(rf"(.+?)[-_. ](?:{'|'.join(sorted(_CONTROLS))})(?:[-_ ]?\d+)?_?")
_OTHERS: Final = {"reg", "regs", "regularization", "regularizations", "regularisation", "regularisations"}
_REPEATS = re.compile(r"(\d{1,3})_")  # of a folder, as kohya's trainers read it
_CLASSES: Final = (["class"], ["class", "images"], ["class", "data"], ["class", "dir"])  # no photos of a school class
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


@dataclass(frozen=True)
class Note:
    """Holds a line of the report about pictures of an import: the file or folder that it is about, and its words."""

    file: str
    pictures: tuple[Member, ...]
    words: str


@dataclass
class Families:
    """Holds the files of an import, grouped into pictures, caption files, possible masks, edits and refused files.

    `pictures` are in the order in which the user dropped them. `words` maps a picture to its caption file, and `masks`
    maps a picture to the files that may be its mask. `edits` maps the result of an edit, which is no picture of the
    character, to the picture that it was made from. `refused` lists the files that are not imported, with the reasons;
    `notes` are further lines for the report.
    """

    pictures: list[Member] = field(default_factory=list)
    words: Pairs = field(default_factory=dict)
    masks: dict[Member, list[Member]] = field(default_factory=dict)
    edits: Pairs = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def candidates(self) -> list[Member]:
        """Returns all files that may be masks; the import treats those that turn out to be no masks as pictures."""
        return list(dict.fromkeys(mask for masks in self.masks.values() for mask in masks))


def families(files: Sequence[Member], limits: Limits) -> Families:
    """Returns dropped files grouped into pictures, caption files, possible masks, edits and refused files.

    Files that list captions, or describe a trainer's dataset, are read; they have at most the size of the `limits`.
    """
    found = Families()
    read = _without_tables(files, limits, found)
    pictures = [file for file in read.rest if not file.is_caption and file.ending not in _UNREAD]
    controls = {**pairing.sources(pictures, read.described), **placing.sources(read.lists, pictures)}
    rest = _without_unread(_without_left_out(read, controls, found), found)
    pictures = [file for file in rest if not file.is_caption and file not in controls]
    found.words = _worded(pictures, [file for file in rest if file not in controls], found)
    partners = masking.Partners(pictures)
    for file in pictures:
        own = partners.of(file)
        if own:
            for picture in own:
                found.masks.setdefault(picture, []).append(file)
        elif masking.can_only_be_mask(file):
            found.refused.append(
                Refused(file.shown, "No picture of this name lies beside it.", "Name it like its picture.")
            )
        else:
            found.pictures.append(file)
    _take_lists(read, controls, found)
    _take_edits(controls, found)
    _note_repeats(read, found)
    return found


# ── files about many pictures ─────────────────────────────────────────────────────────────────────


@dataclass
class _Read:
    """Holds the files of an import without those that list captions (`lists`) or describe a dataset (`described`)."""

    rest: list[Member] = field(default_factory=list)
    lists: dict[Member, Listing] = field(default_factory=dict)
    described: dict[Member, list[Described]] = field(default_factory=dict)


def _without_tables(files: Sequence[Member], limits: Limits, found: Families) -> _Read:
    """Reads the files that may list captions or describe a dataset; damaged ones are added to `found.refused`.

    The JSON file of a single picture becomes its caption file.
    """
    read = _Read()
    beside = {key for file in files if file.ending in _PICTURES for key in (file.key, (file.key[0], alike(file.name)))}
    for file in files:
        try:
            if file.ending in descriptors.ENDINGS and (blocks := descriptors.described(file, limits)):
                read.described[file] = blocks
            elif file.ending == ".json" and file.key in beside:
                words = listings.own_caption(listings.read_text(file, limits))
                read.rest.append(file if words is None else replace(file, read=words.encode, worded=True))
            elif file.ending in listings.LISTS and (rows := listings.listing(file, limits)):
                read.lists[file] = rows
            else:
                read.rest.append(file)
        except BadInput as error:
            found.refused.append(refusal(file.shown, error))
    return read


def _take_lists(read: _Read, controls: Iterable[Member], found: Families) -> None:
    """Gives the captions in lists to the pictures that have no caption file, and reports what is left over."""
    placed = placing.placed(read.lists, found.pictures, controls, found.words)
    found.words |= placed.words
    found.refused += placed.refused
    for file, bare in placed.unlisted.items():
        if bare:
            said = f"It has no words for {len(bare)} of the pictures beside it, which came in without any."
            found.notes.append(Note(file.shown, tuple(bare), said))


def _take_edits(controls: Mapping[Member, Sequence[Member]], found: Families) -> None:
    """Moves the results of edits from the pictures to the edits; other control pictures are refused."""
    worded = {file: words for file in found.pictures if (words := found.words.get(file))}
    found.edits, several = pairing.edits(controls, worded)
    found.pictures = [file for file in found.pictures if file not in several and file not in found.edits]
    for result, given in several.items():
        found.words.pop(result)
        reason = f"It is an edit of {len(given)} pictures; the editor learns edits of one, so they were left out."
        found.refused.append(Refused(result.shown, reason, _WHY["control"][1]))
    used = set(found.edits.values())
    for file in controls:
        if file not in used:
            reason, hint = _WHY["control"]
            found.refused.append(Refused(file.shown, reason.format(where=file.shown), hint))


def _note_repeats(read: _Read, found: Families) -> None:
    """Adds a note for each folder that a trainer shows several times an epoch, by its name or its trainer's file."""
    groups: dict[str, list[Member]] = defaultdict(list)
    for picture in (*found.pictures, *found.edits):
        groups[picture.group].append(picture)
    for group, pictures in groups.items():
        named = _REPEATS.match(PurePosixPath(group).name)
        told = [each.repeats for file, all_ in read.described.items() for each in all_ if each.holds(group, file)]
        if (repeats := max([int(named[1]) if named else 1, *told])) > 1:
            said = f"A trainer shows its pictures {repeats} times an epoch; here each training balances them itself."
            found.notes.append(Note(group, tuple(pictures), said))


# ── files that are not of the character ───────────────────────────────────────────────────────────


def _without_left_out(read: _Read, controls: dict[Member, list[Member]], found: Families) -> list[Member]:
    """Returns the files without control and regularisation pictures, most of which are added to `found.refused`.

    Where the folders' names mark every picture as one of these, their names are ignored, and `controls` is emptied. The
    control pictures in it stay among the files: they are refused later, where they belong to no edit.
    """
    others = [(each, file) for file, blocks in read.described.items() for each in blocks if each.others]
    why = {
        file: kind
        for file in read.rest
        for kind in ["others" if any(each.holds(file.group, of) for each, of in others) else _left_out(file)]
        if kind or file in controls
    }
    if not any(file not in why and file.ending in _PICTURES for file in read.rest):
        why = {}
        controls.clear()
    named = _by(lambda file: file.key, (file for file in read.rest if not file.is_caption))
    for file in read.rest:
        bare = _CONTROL_NAME.fullmatch(alike(file.stem))
        if bare and any(other is not file for other in named.get((alike(file.group), bare[1]), ())):
            why.setdefault(file, "control")
    for file, kind in why.items():
        if file not in controls:
            reason, hint = _WHY[kind]
            found.refused.append(Refused(file.shown, reason.format(where=file.shown), hint))
    return [file for file in read.rest if file not in why or file in controls]


def _left_out(file: Member) -> str:
    """Returns which kind of other picture the folder names mark a file as: `control` or `others`; "" for none."""
    for part in PurePosixPath(file.group).parts:
        words = masking.folder_words(part)
        known = [word for word in words if word not in _OF_FOLDERS]
        if known and _CONTROLS.issuperset(known):
            return "control"
        if (words and words[-1] in _OTHERS) or (known and _OTHERS.issuperset(known)) or words in _CLASSES:
            return "others"
    return ""


def _without_unread(files: Iterable[Member], found: Families) -> list[Member]:
    """Returns the files without those of formats that are not read, which are added to `found.refused`."""
    left = []
    for file in files:
        if file.ending in _UNREAD and not file.is_caption:
            reason = f"It is {_UNREAD[file.ending]}, which is not read here; any words in it were not taken."
            hint = _TABLE_HINT if file.ending in _TABLES else _WORDS_HINT
            found.refused.append(Refused(file.shown, reason, hint))
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
        first, *others = sorted(words, key=lambda file: _FIRST.index(file.ending))
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


def _by(key: Callable[[Member], tuple[str, str]], files: Iterable[Member]) -> dict[tuple[str, str], list[Member]]:
    """Returns the files grouped by a key, in their order."""
    shelves: dict[tuple[str, str], list[Member]] = defaultdict(list)
    for file in files:
        shelves[key(file)].append(file)
    return dict(shelves)
