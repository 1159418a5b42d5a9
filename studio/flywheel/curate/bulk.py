"""Changes of many pictures at once: words in captions, tags, stars, the trash. Each is one change with one undo."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engines.api.errors import BadInput
from studio.flywheel.curate import twins
from studio.flywheel.curate.captions import CAPTIONED, HUMAN, demand_tags, merged
from studio.records.image import ImageRecord
from studio.records.words import demand_caption, demand_text
from studio.workplace.desk import Desk

_TOLD = 24  # letters of a found text that a change's name shows


@dataclass(frozen=True)
class Find:
    """Holds a text to find in captions, its replacement, and how the text is compared.

    With `whole_words` the text is not found inside a longer word. Capitals and small letters are equal unless
    `match_case`.
    """

    text: str
    replacement: str = ""
    whole_words: bool = False
    match_case: bool = False


def replaced(desk: Desk, find: Find, ids: Sequence[str] | None = None) -> Mapping[str, str]:
    """Returns the captions that a replacement would give, as picture id -> caption, without storing them.

    Captions that would not change are left out. `ids` None looks at all pictures outside the trash. Raises: BadInput
    for an empty text, NotFound.
    """
    demand_text("The text to find", find.text)
    demand_text("The replacement", find.replacement)
    if not find.text.strip():
        raise BadInput("There is nothing to find.", "Type the words that the captions hold now.")
    text = re.escape(find.text)
    edges = (r"(?<!\w)", r"(?!\w)") if find.whole_words else ("", "")
    pattern = re.compile(f"{edges[0]}{text}{edges[1]}", 0 if find.match_case else re.IGNORECASE)
    found = {}
    for image in _chosen(desk, ids):
        words, count = pattern.subn(lambda _: find.replacement, image.caption)
        if count:  # a removed text leaves doubled commas and spaces
            words = re.sub(r"\s+,", ",", " ".join(words.split()))
            words = re.sub(r"(?:,\s*){2,}", ", ", words).strip(" ,")
        if count and words != image.caption:
            demand_caption(words)
            found[image.id] = words
    return found


def replace(desk: Desk, find: Find, ids: Sequence[str] | None = None) -> list[ImageRecord]:
    """Replaces a text in captions and marks these as written by a human; returns the records whose caption has changed.

    `ids` None looks at all pictures outside the trash. Raises: BadInput for an empty text and where no caption changes,
    NotFound.
    """
    words = replaced(desk, find, ids)
    if not words:
        raise BadInput(f"No caption holds “{find.text}”.", "Look at the spelling, or select other pictures.")
    done = f"removed “{find.text[:_TOLD]}”"
    if find.replacement:
        done = f"“{find.text[:_TOLD]}” → “{find.replacement[:_TOLD]}”"
    return _write(desk, done, words)


def surround(desk: Desk, ids: Sequence[str], before: str = "", after: str = "") -> list[ImageRecord]:
    """Puts `before` in front of captions and `after` behind them, joined by commas; returns the records that changed.

    A caption that begins with `before` or ends with `after` already does not get it again. Raises: BadInput where both
    are empty, NotFound.
    """
    demand_text("The words before", before)
    demand_text("The words after", after)
    first, last = " ".join(before.split()).strip(" ,"), " ".join(after.split()).strip(" ,")
    if not (first or last):
        raise BadInput("There are no words to add.", "Type what the captions should begin or end with.")
    words = {}
    for image in _chosen(desk, ids):
        caption = image.caption.strip(" ,")
        begins = re.match(rf"{re.escape(first)}(?!\w)", caption, re.IGNORECASE)
        ends = re.search(rf"(?<!\w){re.escape(last)}$", caption, re.IGNORECASE)
        parts = ("" if begins else first, caption, "" if ends else last)
        words[image.id] = ", ".join(filter(None, parts)) if parts[0] or parts[2] else image.caption
        demand_caption(words[image.id])
    return _write(desk, f"added “{(first or last)[:_TOLD]}”", words)


def tag(desk: Desk, ids: Sequence[str], tags: Mapping[str, str]) -> list[ImageRecord]:
    """Sets tags of pictures and returns the pictures whose tags have changed.

    `tags` maps a tag, such as angle, to its value; an empty value removes the tag. Raises: BadInput without
    pictures, or for an unknown tag or value; NotFound for an unknown picture.
    """
    demand_tags(tags)
    changes = {image.id: {"tags": merged(image.tags, tags)} for image in _chosen(desk, ids)}
    told = ", ".join(f"{name}: {value}" if value else f"no {name}" for name, value in tags.items())
    return desk.store.batches.change(told, changes)


def star(desk: Desk, ids: Sequence[str]) -> list[ImageRecord]:
    """Stars the pictures, or removes their stars where all of them have one; returns the records that changed.

    Raises: NotFound.
    """
    images = _chosen(desk, ids)
    on = not all(image.star for image in images)
    return desk.store.batches.change(
        "starred" if on else "stars taken away", {each.id: {"star": on} for each in images}
    )


def undo(desk: Desk) -> tuple[str, int]:
    """Undoes the last change of the captions, tags or stars of several pictures.

    Returns the description of that change for the page, and the number of pictures that were restored. Captions,
    tags and stars that were edited again after the change are left as they are. Raises: NotFound where there is no such
    change.
    """
    batch, restored = desk.store.batches.undo()
    return batch.words, len(restored)


def throw(desk: Desk, ids: Sequence[str]) -> list[str]:
    """Moves pictures to the trash and returns the ids of those that were not in it before.

    The duplicate warnings that are stored with the other originals are recomputed. Raises: NotFound.
    """
    with desk.store.transaction():
        here = [image for image in dict.fromkeys(ids) if not desk.store.images.get(image).trashed]
        desk.store.trash(here)
        twins.renew(desk.store)
        return here


def restore(desk: Desk, ids: Sequence[str]) -> list[str]:
    """Takes pictures out of the trash and returns the ids of those taken out.

    Pictures whose file has been deleted stay in the trash. The duplicate warnings that are stored with the originals
    are recomputed. Raises: NotFound.
    """
    with desk.store.transaction():
        thrown = [image for image in dict.fromkeys(ids) if desk.store.images.get(image).trashed]
        desk.store.restore(thrown)
        twins.renew(desk.store)
        return [image for image in thrown if not desk.store.images.get(image).trashed]


def undo_throw(desk: Desk) -> list[str]:
    """Undoes the last move to the trash and returns the ids of the restored pictures; [] where there is none.

    The duplicate warnings that are stored with the originals are recomputed.
    """
    with desk.store.transaction():
        back = desk.store.undo_trash()
        twins.renew(desk.store)
        return back


def _chosen(desk: Desk, ids: Sequence[str] | None) -> list[ImageRecord]:
    if ids is None:
        return desk.store.select(CAPTIONED)
    if not ids:
        raise BadInput("No picture is selected.", "Select some first.")
    return [desk.store.images.get(image) for image in dict.fromkeys(ids)]


def _write(desk: Desk, done: str, words: Mapping[str, str]) -> list[ImageRecord]:
    images = desk.store.images
    changes = {
        image: {"caption": text, "caption_by": HUMAN if text else ""}
        for image, text in words.items()
        if text != images.get(image).caption
    }
    return desk.store.batches.change(done, changes)
