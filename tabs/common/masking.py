"""What of a picture counts in training: a mask uploaded or painted over it, the picture left as it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageChops

from engines.errors import BadInput
from studio.pictures import decode
from studio.studio import Studio
from tabs.common import canvas
from tabs.common.shell import Drawing, Page


class Widgets:
    """A folded panel, made where it is laid out."""

    def __init__(self) -> None:
        with gr.Accordion("Mask: what counts in training", open=False):
            self._file = gr.File(label="A grey picture of the same size, white counts", file_types=["image"], height=90)
            self._painting = gr.State("")  # whose picture is on the canvas, whichever is opened meanwhile
            self._begin = gr.Button("…or paint one", size="sm")
            self._paint = gr.ImageEditor(
                label="Paint over what should count, then save",
                type="pil",
                format="png",
                height=360,
                sources=(),
                layers=False,
                visible=False,
                elem_id="curate-paint",
            )
            with gr.Row():
                self._keep = gr.Button("Save the painted mask", size="sm")
                self._remove = gr.Button("Remove the mask", size="sm")

    def wire(self, page: Page, chosen: gr.State, then: Sequence[Drawing]) -> None:
        """Let them act on the chosen picture; `then` shows it again."""
        page.on(self._file.upload, upload, [chosen, self._file], [self._file], then=then, slow=True)
        page.on(self._begin.click, begin, [chosen], [self._painting, self._paint])
        page.on(self._keep.click, paint, [self._painting, self._paint], [self._paint], then=then, slow=True)
        page.on(self._remove.click, remove, [chosen], then=then)


def upload(studio: Studio, cid: str, chosen: str, file: str | None) -> None:
    """Keep an uploaded mask; the drop zone is empty again."""
    if not file:
        raise BadInput("No mask was given.", "Drop a grey picture of the same size.")
    studio.store(cid).set_mask(chosen, decode(Path(file).read_bytes(), Path(file).name))


def begin(studio: Studio, cid: str, chosen: str) -> tuple[str, Any]:
    """The open picture, to paint on."""
    return chosen, gr.update(visible=True, value=canvas.enlarged(studio.store(cid).open_image(chosen)))


def paint(studio: Studio, cid: str, painting: str, painted: dict[str, Any] | None) -> Any:
    """Keep what was painted over as the mask, at the picture's own size."""
    store = studio.store(cid)
    strokes = [layer.convert("RGBA").getchannel("A") for layer in (painted or {}).get("layers", ())]
    covered = reduce(ImageChops.lighter, strokes) if strokes else None
    if covered is None or not covered.getbbox():
        raise BadInput("Nothing was painted.", "Paint over what should count first.")
    store.set_mask(painting, covered.resize(store.open_image(painting).size, Image.Resampling.LANCZOS))
    return gr.update(visible=False, value=None)


def remove(studio: Studio, cid: str, chosen: str) -> None:
    """All of the picture counts again."""
    studio.store(cid).set_mask(chosen, None)
