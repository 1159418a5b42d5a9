"""The form that changes a character's name, trigger word and models, shows what follows, and deletes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import UserError
from studio.flywheel.curate import changes
from studio.flywheel.curate.changes import Asked
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.knobs import MEDIA_CHOICES, MEDIUM_INFO, models
from tabs.common.looks import view
from tabs.common.shell import QUIET, Page, Render, Said, current, html

FIELDS = ("name", "trigger", "subject", "medium", "generator", "editor", "scorer", "notes")


def build(page: Page, back: gr.HTML) -> list[Render]:
    """Lays out and connects the form of the character's settings and the button that deletes the character.

    Returns their render functions. `back` is the HTML block that offers to undo a deletion.
    """
    filled, gone = (gr.Textbox(visible="hidden") for _ in range(2))
    with gr.Accordion("Name, trigger word, models, deletion", open=False, elem_id="character-settings"):
        with gr.Row():
            name = gr.Textbox(label="Name", info="as it is listed at the top", elem_id="character-name")
            about = "stands for the character in captions and prompts"
            trigger = gr.Textbox(label="Trigger word", info=about, elem_id="character-trigger")
            subject = gr.Textbox(label="Kind", info="person, robot, cat …")
            medium = gr.Dropdown(MEDIA_CHOICES, label="Its pictures are", info=MEDIUM_INFO, elem_id="character-medium")
        with gr.Row():
            drops = [gr.Dropdown([], label=label, min_width=290) for label in ("Draws", "Edits", "Recognises")]
        notes = gr.Textbox(label="Notes", lines=2)
        effects = html(elem_id="character-effects")
        captions = gr.Checkbox(True, label="Change the captions too", visible=False, elem_id="character-captions")
        save = gr.Button("Save", variant="primary", elem_id="character-save")
        danger = html(elem_id="character-danger")
    thrown = html(elem_id="character-trash")
    fields: list[Any] = [name, trigger, subject, medium, *drops, notes]
    fill: Render = (fill_fields, [filled], [filled, *fields])
    told: Render = (draw_effects, fields, [effects, captions])
    page.redraw([each.change for each in fields], told)
    page.on(save.click, save_fields, [captions, *fields], then=[fill, told])
    page.act(danger, delete, [], [gone, back])
    for block in (back, thrown):
        page.act(block, restore, [], [gone, back], anywhere=True)
    page.shell.tick(gone.change(None, [gone], None, js="(id) => window.flen.go(id)", **QUIET))
    page.redraw([page.tab.select, page.pulse.change], (draw_thrown, [], [thrown]), anywhere=True)
    return [fill, told, (draw_danger, [], [danger])]


def fill_fields(desk: Desk, filled: str) -> list[Any]:
    """Returns the character's record as JSON, then updates that fill the form with its values.

    `filled` is the JSON that the last call returned. While the record is still the same, nothing is updated, so that
    what was typed stays.
    """
    character = desk.store.character
    stamp = json.dumps(character.to_json())
    if stamp == filled:
        return [gr.skip()] * (1 + len(FIELDS))
    roles = ("generator", "editor", "scorer")
    drops = [gr.update(choices=models(desk.workplace, role), value=getattr(character, role)) for role in roles]
    words = (character.name, character.trigger, character.subject, character.medium)
    return [stamp, *words, *drops, character.notes]


def asked(values: Sequence[str | None]) -> Asked:
    """Returns the form's values as a request to change the character; `values` are in the order of FIELDS."""
    given: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    return Asked(**given)


def draw_effects(desk: Desk, *values: str | None) -> tuple[Markup, Any]:
    """Returns as HTML what would follow from saving the form's values, and an update of the checkbox for captions.

    `values` are in the order of FIELDS. The checkbox decides whether captions with the old trigger word or subject
    are changed too; it is hidden where there are no such captions. Nothing is stored.
    """
    try:
        wanted = asked(values)
        words = changes.effects(desk, wanted)
        after = desk.store.character.replace(**wanted.differing(desk.store.character))
    except UserError as error:
        return looks.trouble(error), gr.update(visible=False)
    count = len(changes.recaptioned(desk.store, after))
    label = f"Change the {looks.plural(count, 'caption')} with “{desk.store.character.trigger}” in the same step"
    kept = [f"{looks.plural(count, 'caption')} say the old words: they change too while the box below is ticked."]
    return view("character", "effects", words=[*words, *(kept if count else [])]), gr.update(
        visible=count > 0, label=label
    )


def save_fields(desk: Desk, captions: bool, *values: str | None) -> Said:
    """Changes the character to the form's values and returns a notice.

    `values` are in the order of FIELDS. With `captions`, a new trigger word or subject also replaces the old one in the
    captions. Raises: BadInput for values that no character can have, NotFound for an unknown model, Busy while a job of
    the character runs or waits.
    """
    wanted = asked(values)
    if not wanted.differing(desk.store.character):
        return Said("Nothing differs from what is saved.")
    done = changes.update(desk, wanted, captions=captions)
    more = f" {looks.plural(done.captions, 'caption')} changed with it." if done.captions else ""
    return Said(f"{done.character.name} is saved.{more}")


def draw_danger(desk: Desk) -> Markup:
    """Returns the button that deletes the character as HTML, with a sentence that says how much is deleted."""
    store = desk.store
    return view(
        "character",
        "danger",
        who=store.character,
        pictures=len(store.select()),
        versions=sum(not each.trashed for each in store.versions.all()),
    )


def delete(desk: Desk, data: dict[str, Any]) -> Said:
    """Moves the character into the trash.

    Returns a notice, the id of the character that the page shows next, and as HTML an offer to undo the deletion.
    `data`, what the button sent, is not used. Raises: Busy while a job of the character runs or waits, UserError when
    writing fails.
    """
    gone = changes.delete(desk.workplace, desk.id)
    words = f"{gone.name} is in the trash. You can take it back at the top of this page."
    return Said(words, (current(desk.workplace, ""), view("character", "deleted", who=gone)))


def restore(desk: Desk, data: dict[str, Any]) -> Any:
    """Takes a character out of the trash, or only closes the offer to do so, as the clicked button says in `data`.

    Returns the id of the restored character, to which the page switches, and empty HTML in place of the offer. Raises:
    NotFound, UserError.
    """
    if data.get("act") == "quiet":
        return gr.skip(), Markup()
    there = changes.restore(desk.workplace, str(data.get("character", "")))
    return Said(f"{there.name} is back, with all its files.", (there.id, Markup()))


def draw_thrown(desk: Desk) -> Markup:
    """Returns the characters in the trash as HTML, each with a button that restores it.

    If no character is left outside the trash, a sentence says so.
    """
    thrown = desk.workplace.library.trashed()
    return view("character", "trash", thrown=thrown, alone=not desk.id)
