"""The correction panel for a wrong edit: a new instruction, an uploaded picture, or painting over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageChops

from engines.api.errors import BadInput
from engines.api.params import EditParams
from engines.pictures import to_rgb
from studio.flywheel import review
from studio.flywheel.enrich import edits as enrich
from studio.records.image import ImageRecord
from studio.store.pictures import open_upload
from studio.workplace.desk import Desk
from tabs.common import canvas, looks
from tabs.common.looks import view
from tabs.common.shell import Said


def fill_mend(desk: Desk, mending: str) -> list[Any]:
    """Returns the values of the correction panel for a picture; hides the panel without one."""
    if not mending:
        return [gr.update(visible=False), "", "", None]
    store = desk.store
    record = store.images.get(mending)
    shot = looks.picture(looks.thumb(store, mending), looks.describe(record))
    head = view("common", "mend", shot=shot)
    return [gr.update(visible=True), head, words_of(record), canvas.enlarged(store.open_whole(mending))]


def words_of(record: ImageRecord) -> str:
    """Returns the instruction or prompt that a picture was made with."""
    params = record.params
    return str(params.get("instruction") or params.get("prompt") or "")


def later(desk: Desk) -> str:
    """Closes the correction panel without a correction."""
    return ""


def mend_words(desk: Desk, mending: str, words: str) -> Said:
    """Queues the edit again with a new instruction. Raises: BadInput."""
    record = desk.store.images.get(mending)
    if record.params_kind != EditParams.__name__:
        raise BadInput("Only edits can be tried again with words.", "Upload or paint the picture as it should be.")
    if not words.strip():
        raise BadInput("There are no words to try.", "Say what should change, and what should stay.")
    enrich.retry(desk, mending, {"instruction": words.strip()})
    return Said("Queued. The new try comes up for review when it is done.", "")


def mend_upload(desk: Desk, mending: str, file: str | None, reasons: tuple[str, ...]) -> tuple[str, None]:
    """Stores an uploaded picture as the correction. Raises: BadInput."""
    if not file:
        raise BadInput("No picture was given.", "Drop the repaired picture.")
    review.correct(desk, mending, open_upload(Path(file)), reason=", ".join(reasons))
    return "", None


def mend_paint(desk: Desk, mending: str, painted: dict[str, Any] | None, reasons: tuple[str, ...]) -> str:
    """Stores the painted picture as the correction, at the wrong picture's own size. Raises: BadInput."""
    composite = (painted or {}).get("composite")
    if composite is None:
        raise BadInput("Nothing was painted.", "Paint over what is wrong first.")
    wrong = desk.store.open_whole(mending)
    painted_over, shown = to_rgb(composite), canvas.enlarged(wrong)
    if painted_over.size == shown.size and not ImageChops.difference(painted_over, shown).getbbox():
        raise BadInput("Nothing was painted.", "Paint over what is wrong first.")
    skew = abs(painted_over.width * wrong.height - painted_over.height * wrong.width)
    if skew <= max(wrong.size):  # the same shape except for rounding
        painted_over = painted_over.resize(wrong.size, Image.Resampling.LANCZOS)
    review.correct(desk, mending, painted_over, reason=", ".join(reasons))
    return ""
