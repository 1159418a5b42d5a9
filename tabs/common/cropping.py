"""The crop panel: the part of a picture that is trained, set by dragging a box or by four numbers."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components import Component
from markupsafe import Markup

from engines.api.crops import Crop, checked, pixels
from engines.api.errors import BadInput
from studio.flywheel.curate import coverage as curate
from studio.records.image import ImageRecord
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Page, Render, html

_WHOLE = (0.0, 0.0, 100.0, 100.0)
_EDGES = ("Left", "Top", "Right", "Bottom")
_HEIGHT = 46  # of the preview, in percent of the window's height


class Widgets:
    """Holds the widgets of the crop panel; its constructor lays them out in the current Gradio block.

    They are the preview, on which a box can be dragged, four number fields for the edges, and three buttons.
    """

    def __init__(self) -> None:
        with gr.Accordion("Crop: the part that is trained", open=False, elem_id="curate-crop-fold"):
            self._preview = html(elem_id="curate-crop")
            with gr.Row():
                self._edges = [
                    gr.Number(value, step=0.5, label=f"{edge} %", min_width=80)
                    for edge, value in zip(_EDGES, _WHOLE, strict=True)
                ]
            with gr.Row():
                self._keep = gr.Button("Save the crop", size="sm", elem_id="curate-crop-save")
                self._whole = gr.Button("Use the whole picture", size="sm", min_width=160)
                self._undo = gr.Button("Undo", size="sm", min_width=80, elem_id="curate-crop-undo")

    def filled(self, chosen: gr.State) -> Render:
        """Returns the render function that fills the panel with the crop of the open picture.

        `chosen` is the state with the picture's id, "" for none.
        """
        return (fill, [chosen], [*self._edges, self._preview])

    def wire(self, page: Page, chosen: Component, then: list[Render]) -> None:
        """Connects the panel with its handlers.

        `chosen` is the widget with the id of the picture to crop; `then` are the render functions to run after a crop
        was stored, removed or undone.
        """
        page.redraw([edge.input for edge in self._edges], (draw, [chosen, *self._edges], [self._preview]))
        page.act(self._preview, drag, [chosen], [*self._edges, self._preview])
        page.on(self._keep.click, save, [chosen, *self._edges], then=then)
        page.on(self._whole.click, clear, [chosen], then=then)
        page.on(self._undo.click, undo, [chosen], then=then)


def fill(desk: Desk, chosen: str) -> list[object]:
    """Returns a picture's crop as its left, top, right and bottom edge in percent, and the preview as HTML.

    `chosen` is the picture's id; for "" the edges are those of a whole picture and the preview is empty.
    """
    image = desk.store.images.peek(chosen) if chosen else None
    if image is None:
        return [*_WHOLE, ""]
    edges = [round(100 * side, 2) for side in image.crop] or list(_WHOLE)
    return [*edges, draw(desk, chosen, *edges)]


def drag(desk: Desk, data: dict[str, Any], chosen: str) -> list[object]:
    """Returns the box that was dragged as left, top, right and bottom edge in percent, and the preview as HTML.

    `data` holds the edges as the browser sent them, `chosen` is the picture's id. Nothing is stored.
    """
    given = list(data.get("edges") or ())
    if len(given) != len(_WHOLE):
        return [*(gr.skip() for _ in _WHOLE), gr.skip()]
    edges = [round(min(max(float(edge), 0.0), 100.0), 1) for edge in given]
    return [*edges, draw(desk, chosen, *edges)]


def draw(desk: Desk, chosen: str, *edges: float | None) -> Markup:
    """Returns the preview as HTML: the picture, darkened outside the crop, and the size of the crop in pixels.

    `chosen` is the picture's id. `edges` are the crop's left, top, right and bottom in percent; for None the picture's
    own edge is taken.
    """
    store = desk.store
    image = store.images.peek(chosen) if chosen else None
    if image is None:
        return Markup()
    shown = looks.picture(looks.thumb(store, image.id), looks.describe(image), lazy=False)
    wide = f"width:min(100%, {_HEIGHT * image.width / image.height:.1f}vh)"
    try:
        left, top, right, bottom = pixels(_crop(image, edges), (image.width, image.height))
    except BadInput as error:
        return view("common", "bad_crop", wide=wide, shown=shown, error=error)
    width, height = right - left, bottom - top
    box = (
        f"left:{100 * left / image.width:.2f}%;top:{100 * top / image.height:.2f}%;"
        f"width:{100 * width / image.width:.2f}%;height:{100 * height / image.height:.2f}%"
    )
    side = min(desk.workplace.registry.spec(store.character.generator).size)
    share = width * height / (image.width * image.height)
    words = f"{width} × {height} of {image.width} × {image.height} pixels, {share:.0%} of the picture"
    small = f"smaller than the {side} px that are trained" if min(width, height) < side else ""
    size = {"data-width": image.width, "data-height": image.height, "data-side": side}
    return view("common", "crop", wide=wide, shown=shown, box=box, words=words, small=small, size=size)


def save(desk: Desk, chosen: str, *edges: float | None) -> None:
    """Stores `edges` as the crop of the picture `chosen`, an id; edges around the whole picture remove the crop.

    `edges` are left, top, right and bottom in percent; for None the picture's own edge is taken. Raises: BadInput
    for a crop that is not within the picture or is too small.
    """
    curate.crop(desk, chosen, _crop(desk.store.images.get(chosen), edges))


def clear(desk: Desk, chosen: str) -> None:
    """Removes the crop of the picture `chosen`, an id."""
    curate.crop(desk, chosen, ())


def undo(desk: Desk, chosen: str) -> None:
    """Undoes the last change of the crop of the picture `chosen`, an id."""
    curate.undo_crop(desk, chosen)


def _crop(image: ImageRecord, edges: tuple[float | None, ...]) -> Crop:
    """Returns edges in percent as shares of the picture; None is the picture's own edge. Raises: BadInput."""
    left, top, right, bottom = (whole if edge is None else edge for edge, whole in zip(edges, _WHOLE, strict=True))
    shares = [edge / 100 for edge in (left, top, right, bottom)]
    return checked(shares, (image.width, image.height), image.name or "the picture")
