"""The picker of views on the Enrich tab: angle, elevation and distance, in the grammar of the editor or of a LoRA."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, cast

import gradio as gr
from markupsafe import Markup

from engines.api.axes import AROUND, ELEVATIONS, FRAMINGS
from engines.api.errors import BadInput
from engines.api.views import DISTANCES, Angle, Elevation, Framing, View
from studio.flywheel.enrich import own_words
from studio.flywheel.enrich.changes import Changes
from studio.housekeeping import loras
from studio.records.plan import OwnEdit
from studio.workplace.desk import Desk
from tabs.common.looks import plural, view
from tabs.common.shell import Page, Render, Said, html
from tabs.planning import chosen_sources, editor_of


def lay_out(page: Page, changes: gr.Textbox, picked: gr.Textbox, editor: gr.Dropdown, plan: Render) -> Render:
    """Lays out the picker in an accordion and connects it; returns the render function of the picker.

    `changes` holds the changes of the plan, `picked` its chosen sources, `editor` its editor; `plan` renders it.
    """
    with gr.Accordion("Angles", open=False, elem_id="enrich-angles-fold"):
        picker, said = html(elem_id="enrich-angles"), html(_nothing(), elem_id="enrich-angles-said")
    render: Render = (draw, [editor], [picker])
    page.redraw([editor.change], render, (lambda desk: _nothing(), [], [said]))
    page.act(picker, preview, [editor], [said])
    page.act(said, add, [changes, picked], [changes], then=[plan])
    return render


def draw(desk: Desk, editor: str | None) -> Markup:
    """Returns the picker as HTML; `editor` is the value of the dropdown of editors."""
    name = editor_of(desk, editor)[0]
    shown = [each for each in loras.shown(desk.workplace, name) if each.here and not each.why_not]
    able = [each.record for each in shown if each.row is not None and each.row.camera]
    asked_by = [("", "the editor alone"), *((each.id, each.name) for each in able)]
    distances = [(framing, DISTANCES[framing]) for framing in FRAMINGS]
    return view("angles", "picker", around=AROUND, elevations=ELEVATIONS, distances=distances, asked_by=asked_by)


def _nothing() -> Markup:
    """Returns the note below a picker in which nothing is chosen, as HTML."""
    return view("angles", "said", asked=[], views="[]", lora="", figure="", add="")


def preview(desk: Desk, data: Mapping[str, Any], editor: str | None) -> Markup:
    """Handles a change in the picker: returns the chosen views as HTML, each with the words that ask for it.

    `data` is what the picker's fields hold, `editor` the value of the dropdown of editors. Raises: NotFound for a LoRA
    that is not on this machine.
    """
    fields = data.get("fields") or {}
    views, lora = chosen(fields), str(fields.get("lora", ""))
    spec = desk.workplace.spec(editor_of(desk, editor)[0], "editor")
    figure = fields.get("figure") is True
    rows = own_words.of_views(desk, views, lora, [""] * len(views), figure=figure)
    asked = [
        (str(each), own_words.grammar(desk, row, spec).says(each, with_figure=own_words.with_figure(row)))
        for each, row in zip(views, rows, strict=True)
    ]
    told, words = json.dumps([vars(each) for each in views]), f"Add {plural(len(views), 'row')}"
    return view("angles", "said", asked=asked, views=told, lora=lora, figure="1" if figure else "", add=words)


def chosen(fields: Mapping[str, Any]) -> list[View]:
    """Returns the views that the picker's fields ask for, one for each angle that is ticked."""
    elevation, framing = str(fields.get("elevation", ELEVATIONS[0])), str(fields.get("framing", FRAMINGS[1]))
    if elevation not in ELEVATIONS or framing not in FRAMINGS:
        raise BadInput("There is no such view.", "Choose an elevation and a distance of the picker.")
    return [
        View(cast(Angle, angle), cast(Elevation, elevation), cast(Framing, framing))
        for angle in AROUND
        if fields.get(angle) is True
    ]


def add(desk: Desk, data: Mapping[str, Any], changes: str, picked: str) -> Said:
    """Handles a click below the picker: adds a row of one's own for each chosen view, for the chosen sources.

    `data` holds the views as JSON and the id of the LoRA that is asked, "" for none; `changes` are the plan's changes
    as JSON, `picked` the chosen sources as a JSON list. Returns a notice, and all changes as JSON. Raises: BadInput
    without a view, NotFound for a LoRA that is not on this machine.
    """
    views = [View(**each) for each in json.loads(str(data.get("views", "[]")))]
    if not views:
        raise BadInput("No angle is chosen.", "Tick at least one on the ring.")
    now, keys = Changes.from_json(json.loads(changes)), [secrets.token_hex(6) for _ in views]
    rows: Sequence[OwnEdit] = own_words.of_views(
        desk, views, str(data.get("lora", "")), keys, chosen_sources(desk, picked), figure=bool(data.get("figure"))
    )
    own = (*now.own, *rows)
    return Said(f"{plural(len(rows), 'row')} added to the plan.", json.dumps(now.replace(own=own).to_json()))
