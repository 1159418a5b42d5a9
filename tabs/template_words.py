"""The words of each kind of edit on the Enrich tab: a person changes them, adds some, or takes their own back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput
from engines.api.protocols import ModelSpec
from studio.flywheel.enrich import templates
from studio.workplace.desk import Desk
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, html

TASKS = ("outfit", "background", "lighting", "expression", "angle", "pose", "style")


def lay_out(page: Page, plan: Render) -> Render:
    """Lays out the words of the edits in an accordion and connects them; returns the render function that lists them.

    `plan` renders the plan, which changes with the words.
    """
    with gr.Accordion("How edits are worded", open=False, elem_id="enrich-words"):
        task = gr.Dropdown(list(TASKS), value=TASKS[0], label="Edits of", elem_id="words-task")
        listed = html(elem_id="words-listed")
        with gr.Row(elem_classes="fl-own"):
            value = gr.Textbox(label="A further value", placeholder="wedding dress", elem_id="words-value")
            words = gr.Textbox(label="The words that ask for it", elem_id="words-new", scale=2)
            add = gr.Button("Add", elem_id="words-add", size="sm")
    render: Render = (draw, [task], [listed])
    page.redraw([task.change], render)
    page.act(listed, act, [task], then=[render, plan])
    page.on(add.click, add_words, [task, value, words], [value, words], then=[render, plan])
    return render


def draw(desk: Desk, task: str | None) -> Markup:
    """Returns the words of a task as HTML: those for each value, and the sentence on what stays."""
    found = next(each for each in templates.worded(desk.workplace, _editor(desk)) if each.task == (task or TASKS[0]))
    return view("own_rows", "templates", found=found)


def act(desk: Desk, data: Mapping[str, Any], task: str | None) -> Said:
    """Handles a change in the words of a task; returns a notice. Raises: BadInput for words that cannot be used.

    `data` is what the changed element sends: the action, the value whose words change, and the words.
    """
    name, value, words = data.get("act"), str(data.get("name", "")), str(data.get("value", ""))
    if name == "template-keep":
        found = templates.keep(desk.workplace, _editor(desk), task or TASKS[0], words)
    else:
        found = templates.say(desk.workplace, _editor(desk), task or TASKS[0], value, words)
    return Said(found.warning or "The next plan asks with these words.")


def add_words(desk: Desk, task: str | None, value: str, words: str) -> Said:
    """Adds a value with its words to a task; returns a notice, and "" for both fields. Raises: BadInput."""
    if not words.strip():
        raise BadInput("There are no words for it.", "Say how the editor is asked for it.")
    found = templates.say(desk.workplace, _editor(desk), task or TASKS[0], value, words)
    return Said(found.warning or "The next plan asks for it, too.", ("", ""))


def _editor(desk: Desk) -> ModelSpec:
    return desk.workplace.spec(desk.store.character.editor, "editor")
