"""The bar for selected pictures: captions, tags, stars and the trash of many at once, each with one undo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from engines.api.axes import TAGS as AXES
from engines.api.errors import BadInput
from studio.flywheel.curate import bulk, captions
from studio.flywheel.curate.bulk import Find
from studio.workplace.desk import Desk
from tabs.common import looks, wording
from tabs.common.looks import view


def bar() -> Markup:
    """Returns the bar that changes all selected pictures at once, as HTML; it is visible while any are selected."""
    fixed = dict(wording.TAGS)
    return view("picking", "bar", fixed=fixed, free=[axis for axis in AXES if axis not in fixed])


def act(desk: Desk, data: dict[str, Any], chosen: str) -> tuple[Markup, str]:
    """Handles a click in the bar for selected pictures: changes these pictures, or queues captions for them.

    `data` holds the action and the ids of the selected pictures, `chosen` is the id of the open picture. Returns a line
    on what was done, as HTML, and the id of the picture that stays open, "" for none. Raises: BadInput where no tag
    is chosen or a value is not allowed, NotFound for an unknown picture.
    """
    picks = [str(each) for each in data.get("picks", ())]
    name, fields = str(data.get("act", "")), data.get("fields") or {}
    if name in ("trash", "restore"):
        count = len((bulk.throw if name == "trash" else bulk.restore)(desk, picks))
        thrown = done(f"{looks.plural(count, 'picture')} put into the trash", "throw")
        back = done(f"{looks.plural(count, 'picture')} brought back")
        if not count:
            return done("Nothing to change"), chosen
        return thrown if name == "trash" else back, "" if chosen in picks else chosen
    if name == "caption":
        job = captions.submit_caption(desk, ids=picks)
        return done(f"{looks.plural(job.total, 'picture')} will be captioned"), chosen
    changed = _change(desk, name, picks, fields)
    return done(f"{looks.plural(changed, 'picture')} changed", "many") if changed else done("Nothing to change"), chosen


def _change(desk: Desk, name: str, picks: Sequence[str], fields: Mapping[str, Any]) -> int:
    """Changes captions, tags or stars of `picks`; returns how many pictures changed. Raises: BadInput, NotFound."""
    if name == "replace":
        return len(bulk.replace(desk, _asked(fields), picks))
    if name == "surround":
        return len(bulk.surround(desk, picks, str(fields.get("before", "")), str(fields.get("after", ""))))
    if name == "star":
        return len(bulk.star(desk, picks))
    axis, _, value = str(fields.get("tag", "")).partition("=")
    if name == "free":
        axis, value = str(fields.get("axis", "")), " ".join(str(fields.get("value", "")).split())
    if name not in ("tag", "free") or not axis:
        raise BadInput("No tag is chosen.", "Choose one from the list beside the button.")
    return len(bulk.tag(desk, picks, {axis: value}))


def _asked(fields: Mapping[str, Any]) -> Find:
    text, new = str(fields.get("find", "")), str(fields.get("replacement", ""))
    return Find(text, new, bool(fields.get("whole_words")), bool(fields.get("match_case")))


def tell(desk: Desk, data: dict[str, Any]) -> Markup:
    """Handles an event of the note beside the bar for selected pictures; returns the new note as HTML.

    `data` names the event. While the user types a text to find and replace in captions, the note says how many of them
    would change. For a click on an undo button, the undo is carried out and the note says what it did. Any other event
    empties the note.
    """
    name = data.get("act")
    if name == "count":
        asked = _asked(data.get("fields") or {})
        if not asked.text.strip():
            return Markup()
        words = bulk.replaced(desk, asked, [str(each) for each in data.get("picks", ())])
        shown = [(desk.store.images.get(image).caption, text) for image, text in list(words.items())[:3]]
        return view("picking", "preview", count=len(words), text=asked.text, shown=shown)
    if name == "many":
        words_, count = bulk.undo(desk)
        return done(f"Undone: {words_} ({looks.plural(count, 'picture')} as before)")
    if name == "throw":
        return done(f"{looks.plural(len(bulk.undo_throw(desk)), 'picture')} brought back")
    return Markup()


def done(words: str, undo: str = "") -> Markup:
    """Returns a line on what was done as HTML, with an undo button.

    `undo` is the action that the button sends: `throw` undoes a move into the trash, `many` a change of many pictures
    at once; with "" there is no button.
    """
    return view("picking", "done", words=words, undo=undo)


def undoable(desk: Desk) -> tuple[str, str]:
    """Returns how the user can undo the latest change: the action that an undo button sends, and the button's label.

    The action is `throw` after a move into the trash, `many` after a change of many pictures at once. Both texts are ""
    where nothing can be undone.
    """
    batch, (thrown_at, thrown) = desk.store.batches.last(), desk.store.last_thrown()
    if thrown and (batch is None or thrown_at > batch.created):
        return "throw", f"Undo trash ({len(thrown)})"
    return ("many", f"Undo {batch.words} ({len(batch.pictures)})") if batch else ("", "")
