"""Saved plans on the Enrich tab: a plan's own rows are saved under a name, loaded, shared as a file, and deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput
from studio.flywheel.enrich import saved_plans
from studio.flywheel.enrich.changes import Changes
from studio.records.plan import SavedPlan
from studio.workplace.desk import Desk
from tabs.common import exports, looks
from tabs.common.shell import Page, Render, Said, html


def lay_out(page: Page, changes: gr.Textbox, plan: Render) -> Render:
    """Lays out the saved plans in an accordion and connects them; returns the render function that lists them.

    `changes` holds the changes of the plan that is shown, `plan` renders it.
    """
    with gr.Accordion("Saved plans", open=False, elem_id="enrich-saved"):
        with gr.Row(elem_classes="fl-own"):
            chosen = gr.Dropdown([], label="Plan", elem_id="plan-chosen", scale=2)
            load = gr.Button("Load", elem_id="plan-load", size="sm")
            share = gr.Button("Share as a file", elem_id="plan-share", size="sm")
            delete = gr.Button("Delete", elem_id="plan-delete", size="sm")
            upload = gr.UploadButton("Take in a file", file_types=[".json"], elem_id="plan-upload", size="sm")
        with gr.Row(elem_classes="fl-own"):
            name = gr.Textbox(label="Save my rows as", elem_id="plan-name", scale=2)
            save = gr.Button("Save", elem_id="plan-save", size="sm")
        told = html(elem_id="plan-told", elem_classes="fl-answer")
    listed: Render = (fill, [chosen], [chosen])
    page.on(save.click, save_rows, [name, changes], [chosen], then=[listed])
    page.on(load.click, load_rows, [chosen, changes], [changes, told], then=[plan])
    page.on(share.click, share_plan, [chosen], [told])
    page.on(delete.click, delete_plan, [chosen], [chosen], then=[listed])
    page.on(upload.upload, take_in, [upload], [chosen], then=[listed])
    page.act(told, exports.put_away, [], [told])
    return listed


def fill(desk: Desk, chosen: str | None) -> Any:
    """Returns an update of the dropdown of saved plans; `chosen` stays chosen where it is still there."""
    known = [
        (f"{each.name} ({looks.plural(len(each.rows), 'row')})", each.id) for each in saved_plans.plans(desk.workplace)
    ]
    return gr.update(choices=known, value=chosen if chosen in [plan for _, plan in known] else None)


def save_rows(desk: Desk, name: str, changes: str) -> Said:
    """Saves the plan's own rows under a name; returns a notice, and the plan's id. Raises: BadInput."""
    plan = saved_plans.save(desk.workplace, name, Changes.from_json(json.loads(changes)).own)
    return Said(f"{looks.plural(len(plan.rows), 'row')} saved as {plan.name}.", plan.id)


def load_rows(desk: Desk, chosen: str | None, changes: str) -> tuple[str, Markup]:
    """Adds a saved plan's rows to the plan that is shown; returns all changes as JSON, and notes on it as HTML.

    Raises: BadInput where no plan is chosen, NotFound where it is gone.
    """
    loaded = saved_plans.load(desk, _plan(desk, chosen))
    now = Changes.from_json(json.loads(changes))
    notes = looks.view("enrich", "notes", notes=loaded.notes) if loaded.notes else Markup()
    return json.dumps(now.replace(own=(*now.own, *loaded.rows)).to_json()), notes


def share_plan(desk: Desk, chosen: str | None) -> Markup:
    """Writes a saved plan to a file and returns a link to it as HTML. Raises: BadInput, NotFound."""
    return exports.written("the plan", saved_plans.share(desk, _plan(desk, chosen)))


def delete_plan(desk: Desk, chosen: str | None) -> Said:
    """Deletes a saved plan; returns a notice, and None as the chosen plan. Raises: BadInput, NotFound."""
    plan = saved_plans.forget(desk.workplace, _plan(desk, chosen).id)
    return Said(f"{plan.name} is deleted.")


def take_in(desk: Desk, file: str | None) -> Said:
    """Saves the plan in an uploaded file; returns a notice, and the plan's id. Raises: BadInput for another file."""
    plan = saved_plans.take_in(desk.workplace, Path(file or "nothing"))
    return Said(f"{plan.name} is saved. “Load” adds its rows to the plan.", plan.id)


def _plan(desk: Desk, chosen: str | None) -> SavedPlan:
    """Returns the chosen plan. Raises: BadInput where none is, NotFound where it is gone."""
    if not chosen:
        raise BadInput("No plan is chosen.", "Choose one under “Saved plans”, or save your rows first.")
    return saved_plans.get(desk.workplace, chosen)
