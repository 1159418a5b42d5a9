"""The workbench of Review, where a wrong edit is corrected: by a new instruction, by paint, or by an upload."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup
from PIL import Image

from engines.api.errors import BadInput
from engines.api.params import EditParams
from engines.pictures import decode, to_rgb
from studio.flywheel import review
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.refine.editor import ENOUGH_GOLDEN
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Job
from studio.records.payload import EnrichPayload
from studio.store.pictures import open_upload
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, cancel, html, jobs_of, progress_line

TOOLS = (  # name, label, key, hint
    ("brush", "Brush", "b", "paint with the colour; hold Alt to pick one from the picture"),
    ("pick", "Pick colour", "i", "take a colour from the picture"),
    ("area", "Mark an area", "m", "mark what should be redone; the rest stays as it is"),
    ("rub", "Rub out", "e", "take paint and marks away"),
)
_TRIES = {"good": Verdict.GOOD, "reject": Verdict.REJECT, "correct": Verdict.NEEDS_CORRECTION}


class Bench:
    """Holds the widgets of Review's workbench, where the user corrects a wrong edit.

    They are the canvas, the progress of a new try, the field of the instruction, and the buttons for a new try and for
    an upload. The constructor lays them out in the current Gradio block. The browser shows them while an edit is being
    corrected.
    """

    def __init__(self) -> None:
        self._filled = gr.Textbox(visible="hidden")  # id of the picture whose words stand in the field
        with gr.Column(elem_id="mend"):
            self._easel = html(elem_id="mend-easel")
            self._busy = html(elem_id="mend-busy")
            with gr.Row(elem_id="mend-row"):
                self._words = gr.Textbox(
                    label="Words for the next try",
                    show_label=False,
                    container=False,
                    placeholder="What should change, and what should stay",
                    lines=1,
                    max_lines=3,
                    scale=6,
                    elem_id="mend-words",
                )
                self._again = gr.Button(
                    "Try again with these words", variant="primary", size="sm", elem_id="mend-again"
                )
                self._file = gr.UploadButton(
                    "Upload it mended", size="sm", file_types=["image"], min_width=120, elem_id="mend-file"
                )

    def drawings(self, mending: gr.State) -> tuple[list[Render], list[Render]]:
        """Returns two lists of render functions: those for each change of the store, and those for each step of a job.

        `mending` is the state with the id of the edit that is being corrected, "" for none.
        """
        words: Render = (fill_words, [mending, self._filled, self._words], [self._filled, self._words])
        easel: Render = (draw_easel, [mending], [self._easel])
        return [words, easel], [(draw_busy, [mending], [self._busy])]

    def wire(self, page: Page, mending: gr.State, scene: Render) -> None:
        """Connects the widgets with their handlers.

        `mending` is the state with the id of the edit that is being corrected, "" for none. `scene` is the render
        function of Review's picture and buttons, which runs after each correction.
        """
        usual, live = self.drawings(mending)
        then = [scene, *usual, *live]
        page.act(self._easel, easel_act, [mending, self._words], [mending], then=then)
        page.act(self._busy, cancel)
        for trigger in (self._again.click, self._words.submit):
            page.on(trigger, mend_words, [mending, self._words], then=then)
        page.on(self._file.upload, mend_upload, [mending, self._file], [mending, self._file], then=then)


def can_mend(record: ImageRecord) -> bool:
    """Returns whether a picture can be corrected on Review's workbench: only an edit, or a correction of one, can."""
    return bool(record.parent) and record.kind in (Kind.ENRICHED, Kind.CORRECTION)


def words_of(record: ImageRecord) -> str:
    """Returns the instruction or prompt that a picture was made with; "" where it has none."""
    params = record.params
    return str(params.get("instruction") or params.get("prompt") or "")


# ── what the workbench shows ────────────────────────────────────────────────────────────────────


def golden(desk: Desk) -> str:
    """Returns the number of golden lessons and how many are enough, as text: `golden 3 of 20`.

    A golden lesson is a training example for the editor, made of a wrong edit and the user's correction.
    """
    return f"golden {sum(each.golden for each in desk.store.triplets.all())} of {ENOUGH_GOLDEN}"


def draw_bar(desk: Desk, mending: str, waiting: list[ImageRecord]) -> Markup:
    """Returns the head of the workbench as HTML: how many corrections were made, and thumbnails of the wrong edits.

    `mending` is the id of the edit that is being corrected, "" for none; `waiting` are all edits still to be corrected.
    """
    store = desk.store
    made = sum(each.golden for each in store.triplets.all())
    shots = [(each.id, looks.describe(each), looks.thumb(store, each.id), each.id == mending) for each in waiting]
    return view("bench", "bar", golden=golden(desk), made=made, enough=ENOUGH_GOLDEN, shots=shots)


def draw_easel(desk: Desk, mending: str) -> Markup:
    """Returns the workbench of one wrong edit as HTML: a canvas to paint on it, its source picture, and its newest try.

    A try is a new edit that is to replace the wrong one. `mending` is the id of the wrong edit; the HTML is empty for
    "" and for a picture in the trash.
    """
    store = desk.store
    wrong = store.images.peek(mending) if mending else None
    if wrong is None or wrong.trashed:
        return Markup()
    tried = review.new_tries(desk, wrong.id)
    first = store.images.peek(store.case_of(wrong))
    source = first.parent if first is not None else ""
    return view(
        "bench",
        "easel",
        id=wrong.id,
        width=wrong.width,
        height=wrong.height,
        source=looks.full(store, source, wrong.source_crop) if source else None,
        wrong=looks.full(store, wrong.id),
        words=looks.describe(wrong),
        asked=" · ".join(f"{name}: {what}" for name, what in wrong.asked.items()),
        tries=[(each.id, looks.full(store, each.id), words_of(each), bool(each.area)) for each in tried],
        tools=TOOLS,
        edit=wrong.params_kind == EditParams.__name__,
    )


def fill_words(desk: Desk, mending: str, filled: str, words: str) -> tuple[str, str]:
    """Returns the id of the edit that is being corrected, and the text for the field of its instruction.

    `mending` is that id, "" for none. `filled` is the id for which the field was last filled. If both are the same, the
    field keeps `words`, its present text; else the text is the instruction of the edit `mending`.
    """
    if mending == filled:
        return filled, words
    record = desk.store.images.peek(mending) if mending else None
    return mending, words_of(record) if record is not None else ""


def draw_busy(desk: Desk, mending: str) -> Markup:
    """Returns as HTML the progress of the newest job that redoes the edit `mending`, an id; empty without one."""
    return progress_line(trying(desk, mending)) if mending else Markup()


def trying(desk: Desk, mending: str) -> Job | None:
    """Returns the newest running or queued job that redoes the edit `mending`, an id; None where there is none."""
    busy = [job for job in jobs_of(desk, "enrich") if job.state.is_under_way]
    return next((job for job in busy if any(row.mends == mending for row in EnrichPayload.of(job).rows)), None)


# ── mending ─────────────────────────────────────────────────────────────────────────────────────


def easel_act(desk: Desk, data: dict[str, Any], mending: str, words: str) -> Said | str:
    """Handles a click on the workbench: a verdict on a new try, a painted correction, or an area to redo.

    A try is a new edit that is to replace the wrong one. `data` is what the clicked button sent, `mending` the id of
    the wrong edit, `words` the text of the instruction. Returns the id of the edit to correct from then on, "" for
    none, in most cases with a notice. Raises: BadInput for an unknown action and for what cannot be stored or queued,
    NotFound for an unknown picture.
    """
    act, layer = str(data.get("act")), str(data.get("layer", ""))
    if act == "paint":
        return mend_paint(desk, str(data.get("id", "")), layer)
    if act == "redo":
        return mend_area(desk, str(data.get("id", "")), words, layer)
    if act not in _TRIES:
        raise BadInput("The workbench has no such button.", "Reload the page.")
    image = str(data.get("id", ""))
    review.decide(desk, image, _TRIES[act])
    if act == "reject":
        return Said("Rejected. Change the words, or paint.", mending)
    return Said(f"Mended: {golden(desk)}.", "") if act == "good" else image


def mend_words(desk: Desk, mending: str, words: str) -> Said:
    """Queues the edit `mending`, an id, again with the instruction `words`; returns a notice.

    If the instruction is the same as before, another seed is used. Raises: BadInput for an empty instruction, and for a
    picture that no edit made.
    """
    changed = _instruction(desk, mending, words)
    how = (
        " with the same words and another seed"
        if changed["instruction"] == words_of(desk.store.images.get(mending))
        else ""
    )
    enrich.retry(desk, mending, changed)
    return Said(f"Queued{how}. The new try appears here when it is done; Esc goes on with the next picture.")


def mend_area(desk: Desk, mending: str, words: str, layer: str) -> Said:
    """Queues the edit `mending`, an id, again so that only a marked area changes; returns a notice.

    `words` is the instruction. `layer` is the area that the user painted in the browser, a PNG in a data URL. Raises:
    BadInput for an empty instruction, an empty or tiny area, and a picture that no edit made.
    """
    said = _instruction(desk, mending, words)
    record = desk.store.images.get(mending)
    marked = _painted(layer, "Mark what should be redone first.").getchannel("A")
    area = marked.resize((record.width, record.height), Image.Resampling.LANCZOS).point(lambda at: 255 * (at >= 128))
    if not area.getbbox():
        raise BadInput("The marked area is too small.", "Mark a little more of the picture.")
    enrich.retry(desk, mending, said, area)
    return Said("Queued. Only the marked area will change; the new try appears here.", mending)


def _instruction(desk: Desk, mending: str, words: str) -> dict[str, str]:
    """Returns the changed parameters of a new try. Raises: BadInput without words, or where the picture is no edit."""
    if desk.store.images.get(mending).params_kind != EditParams.__name__:
        raise BadInput("Only edits can be tried again with words.", "Upload or paint the picture as it should be.")
    if not words.strip():
        raise BadInput("There are no words to try.", "Say what should change, and what should stay.")
    return {"instruction": words.strip()}


def mend_upload(desk: Desk, mending: str, file: str | None) -> Said:
    """Stores an uploaded picture as the correction of the wrong edit `mending`, an id.

    Returns a notice, "", which empties the workbench, and None, which empties the upload button. `file` is the path of
    the upload. Raises: BadInput without a file, and for a picture of another size or without any change.
    """
    if not file:
        raise BadInput("No picture was given.", "Drop the mended picture.")
    return Said(_mended(desk, mending, open_upload(Path(file))), ("", None))


def mend_paint(desk: Desk, mending: str, layer: str) -> Said:
    """Puts the user's paint onto a copy of a wrong edit, and stores the copy as the edit's correction.

    `mending` is the edit's id, `layer` the paint as a PNG in a data URL. Returns a notice, and "", which empties the
    workbench. Raises: BadInput where nothing was painted.
    """
    wrong = desk.store.open_whole(mending)
    paint = _painted(layer, "Paint over what is wrong first.").resize(wrong.size, Image.Resampling.LANCZOS)
    mended = to_rgb(Image.alpha_composite(wrong.convert("RGBA"), paint))
    return Said(_mended(desk, mending, mended), "")


def _mended(desk: Desk, mending: str, picture: Image.Image) -> str:
    """Stores a correction, with the reasons of the wrong edit's verdict; returns the text of the notice."""
    review.correct(desk, mending, picture, reason=", ".join(desk.store.images.get(mending).reasons))
    return f"Kept as a golden lesson: {golden(desk)}."


def _painted(layer: str, hint: str) -> Image.Image:
    """Returns the layer that the browser painted, from its data URL. Raises: BadInput for one without paint."""
    try:
        painted = decode(base64.b64decode(layer.partition("base64,")[2], validate=True)).convert("RGBA")
    except (binascii.Error, BadInput):
        raise BadInput("Nothing was painted.", hint) from None
    if not painted.getchannel("A").getbbox():
        raise BadInput("Nothing was painted.", hint)
    return painted
