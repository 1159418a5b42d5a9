"""The mask panel: a mask, uploaded or painted over a picture, sets the part that counts in training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image, ImageChops

from engines.api.errors import BadInput
from studio.store.pictures import open_upload
from studio.workplace.desk import Desk
from tabs.common import canvas
from tabs.common.looks import view
from tabs.common.shell import Page, Render


class Widgets:
    """Holds the widgets of the mask panel; its constructor lays them out in the current Gradio block.

    They are buttons to upload, paint, save and remove a mask, and the canvas to paint on.
    """

    def __init__(self) -> None:
        with gr.Accordion("Mask: what counts in training", open=False):
            gr.HTML(view("common", "note", words="A grey picture of the same size: white counts, black hardly."))
            with gr.Row():
                self._file = gr.UploadButton(
                    "Upload a mask", size="sm", file_types=["image"], min_width=120, elem_id="curate-mask-file"
                )
                self._begin = gr.Button("Paint a mask", size="sm", min_width=120, elem_id="curate-mask-begin")
                self._remove = gr.Button("Remove the mask", size="sm", min_width=140, elem_id="curate-mask-remove")
            self._painting = gr.State("")  # id of the picture on the canvas; another may be opened meanwhile
            with gr.Column(visible=False) as self._easel:
                self._paint = gr.ImageEditor(
                    label="Paint over what should count",
                    type="pil",
                    format="webp",  # a twentieth of PNG's bytes; the strokes come back without it
                    height=420,
                    sources=(),
                    layers=False,
                    elem_id="curate-paint",
                )
                self._keep = gr.Button("Save the painted mask", size="sm", elem_id="curate-mask-save")

    def wire(self, page: Page, chosen: Component, then: Sequence[Render]) -> None:
        """Connects the panel with its handlers.

        `chosen` is the widget with the id of the open picture; `then` are the render functions to run after its mask
        was stored or removed.
        """
        page.on(self._file.upload, upload, [chosen, self._file], [self._file], then=then)
        page.on(self._begin.click, begin, [chosen], [self._painting, self._easel, self._paint])
        painted = [self._painting, self._paint]
        page.on(self._keep.click, paint, painted, [self._easel, self._paint], then=then)
        page.on(self._remove.click, remove, [chosen], then=then)


def upload(desk: Desk, chosen: str, file: str | None) -> None:
    """Stores an uploaded file as the mask of a picture; the None that it returns empties the upload button.

    `chosen` is the picture's id, `file` the path of the upload. Raises: NotFound for an unknown picture; BadInput
    without a file, for a mask of another size than the picture, and for an all-black mask.
    """
    if not file:
        raise BadInput("No mask was given.", "Choose a grey picture of the same size.")
    desk.store.set_mask(chosen, open_upload(Path(file)))


def begin(desk: Desk, chosen: str) -> tuple[str, Any, Any]:
    """Returns three values: the picture's id, an update that shows the mask's canvas, and the picture to paint on.

    `chosen` is the id of the open picture. The page keeps the returned id with the canvas, because another picture may
    be opened while the user paints.
    """
    return chosen, gr.update(visible=True), canvas.fitted(desk.store.open_whole(chosen))


def paint(desk: Desk, painting: str, painted: dict[str, Any] | None) -> tuple[Any, None]:
    """Stores the painted area as a picture's mask, at the picture's own size.

    `painting` is the id of the picture on the canvas, `painted` the value of the canvas with its layers. Returns
    updates that hide and empty the canvas. Raises: BadInput where nothing was painted.
    """
    store = desk.store
    strokes = [layer.convert("RGBA").getchannel("A") for layer in (painted or {}).get("layers", ())]
    covered = reduce(ImageChops.lighter, strokes) if strokes else None
    if covered is None or not covered.getbbox():
        raise BadInput("Nothing was painted.", "Paint over what should count first.")
    store.set_mask(painting, covered.resize(store.open_whole(painting).size, Image.Resampling.LANCZOS))
    return gr.update(visible=False), None


def remove(desk: Desk, chosen: str) -> None:
    """Removes the mask of the picture `chosen`, an id."""
    desk.store.set_mask(chosen, None)
