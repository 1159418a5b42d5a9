"""The caption and tag fields of a picture: changes are stored at once, confirmed beside the field, and undoable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.axes import AROUND, ELEVATIONS, EXPRESSIONS, FRAMINGS, POSES
from engines.api.errors import NotFound
from studio.flywheel.curate import captions
from studio.records.image import ImageRecord
from studio.workplace.desk import Desk, Workplace
from tabs.common.looks import view

TAGS = (
    ("angle", AROUND),
    ("expression", EXPRESSIONS),
    ("framing", FRAMINGS),
    ("pose", POSES),
    ("elevation", ELEVATIONS),
)

Filled = list[str]  # the picture's id, its caption and its tags, as the form shows them


def values(record: ImageRecord) -> Filled:
    """Returns what the form shows of a picture: its id, its caption, and its tags in the order of TAGS, "" for none."""
    return [record.id, record.caption, *(str(record.tags.get(name, "")) for name, _ in TAGS)]


def sign(words: str = "", number: object = 0, undo: str = "", tone: str = "good") -> Markup:
    """Returns as HTML the line beside the caption field that confirms a change.

    `words` is its text, `tone` its colour, and `undo` the HTML of its undo button. Each caption that the browser sends
    has a number; `number` is that of the caption whose change the line confirms, 0 for no caption.
    """
    return view("common", "sign", words=words, number=number, undo=undo, tone=tone)


def act(desk: Desk, data: dict[str, Any], about: str, filled: Filled) -> list[Any]:
    """Stores a caption that was typed, or undoes a change of the caption or of a tag.

    `data` is what the browser sent, `about` the id of the picture in the form. `filled` holds the form's values as last
    filled in. Returns the confirmation as HTML, the form's new values, and an update for the widget of each tag.
    """
    if data.get("act") == "untag":
        image, name = str(data["id"]), str(data["tag"])
        captions.set_tags(desk, image, {name: str(data["was"])})
        record = desk.store.images.get(image)
        shown = about == image
        back = list(values(record)[2:]) if shown else [gr.skip() for _ in TAGS]
        return [sign(f"{name} as before"), values(record) if shown else filled, *back]
    told, kept = keep(desk.workplace, data)
    same = kept is not None and filled[:1] == [kept.id]
    return [told, values(kept) if kept is not None and same else filled, *(gr.skip() for _ in TAGS)]


def keep(workplace: Workplace, data: dict[str, Any]) -> tuple[Markup, ImageRecord | None]:
    """Stores a caption for the picture that it was typed for, which need not be the open one.

    `data` holds the caption and the ids of the picture and its character. With `by` in `data`, the call is an undo: the
    caption is an earlier one, and `by` is its author. Returns the confirmation as HTML and the picture's record. If the
    picture is gone, the record is None, and the confirmation shows the caption so that it is not lost.
    """
    image, words, number = str(data["id"]), " ".join(str(data["caption"]).split()), data.get("n", 0)
    try:
        store = workplace.store(str(data["of"]))
        was = store.images.get(image)
    except NotFound:
        return sign(f"These words have lost their picture: {words}", number, tone="warn"), None
    if "by" in data:
        return sign("as before", number), store.update_image(image, caption=words, caption_by=str(data["by"]))
    if words == was.caption:
        return sign("✓ saved", number), was
    known = {"data-of": data["of"], "data-id": image, "data-was": was.caption, "data-by": was.caption_by}
    undo = view("common", "unword", known=known)
    return sign("✓ saved", number, undo), captions.set_caption(workplace.desk(str(data["of"])), image, words)


def tagging(name: str) -> Callable[..., tuple[Any, Filled]]:
    """Returns a handler that stores a picture's tag `name`, such as its angle, when the user chooses a value.

    The handler returns the confirmation as HTML and the form's new values.
    """

    def tag(desk: Desk, about: str, value: str | None, filled: Filled) -> tuple[Any, Filled]:
        was = str(desk.store.images.get(about).tags.get(name, ""))
        if was == (value or ""):  # the widget may send its value twice
            return gr.skip(), filled
        (record,) = captions.set_tags(desk, about, {name: value or ""})
        undo = view("common", "untag", known={"data-id": about, "data-tag": name}, was=was)
        return sign(f"✓ {name} saved", undo=undo), values(record) if filled[:1] == [about] else filled

    return tag
