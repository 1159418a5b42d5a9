"""The editors' LoRA library on a page: cards by task with base, licence and download, and files of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput
from engines.catalogue.lora_bases import TASKS
from studio.housekeeping import loras, merging
from studio.housekeeping.loras import ADDING, Shown
from studio.records.plan import StackedLora
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, html, progress_line, queued, stop

HERE, USABLE = "On this machine", "All that this editor can use"
CHOICES: Final = (HERE, USABLE, *TASKS.values())
USE = "lora-use"
Draw = Callable[..., Markup]


def lay_out(page: Page, prefix: str, draw: Draw, inputs: Sequence[Any] = ()) -> tuple[gr.HTML, Render, Render]:
    """Lays out the library in an accordion, and connects all but the clicks on its cards.

    `prefix` begins the ids of its elements. `draw` renders the cards from the choice of a task and the values of
    `inputs`. Returns the block of cards, the render function of the cards, and that of a running download.
    """
    with gr.Accordion("LoRAs for the editor", open=False, elem_id=f"{prefix}-loras-fold"):
        task = gr.Dropdown(list(CHOICES), value=HERE, label="Show", elem_id=f"{prefix}-lora-task")
        busy = html()
        cards = html(elem_id=f"{prefix}-loras")
        with gr.Accordion("Add a LoRA of my own", open=False, elem_id=f"{prefix}-lora-own"):
            with gr.Row():
                told = "the path of a safetensors file, or a repository on the Hugging Face hub as owner/name"
                place = gr.Textbox(label="File or repository", info=told, elem_id=f"{prefix}-lora-place", scale=3)
                which = "where the repository holds several"
                file = gr.Textbox(label="Name of the file", info=which, elem_id=f"{prefix}-lora-file", scale=2)
            with gr.Row(elem_classes="fl-own"):
                choices = [(words, name) for name, words in TASKS.items()]
                kind = gr.Dropdown(choices, value="general", label="Task", elem_id=f"{prefix}-lora-kind")
                words = gr.Textbox(label="Words that call it", elem_id=f"{prefix}-lora-words", scale=2)
                add = gr.Button("Add to the library", elem_id=f"{prefix}-lora-add", size="sm")
    render: Render = (draw, [task, *inputs], [cards])
    page.redraw([task.change], render)
    page.on(add.click, add_own, [place, file, kind, words], [place, file, words], then=[render])
    page.act(busy, lambda desk, data: stop(desk.workplace, str(data.get("job", ""))))
    return cards, render, (draw_busy, [], [busy])


def draw_busy(desk: Desk) -> Markup:
    """Returns the progress of the LoRA that is being added as HTML, "" where none is."""
    waiting = [job for job in desk.workplace.jobs.list("") if job.kind in ADDING and job.state.is_under_way]
    return progress_line(next(iter(waiting), None))


def draw(desk: Desk, chosen: str | None, editor: str, can_use: bool = False) -> Markup:
    """Returns cards of the library as HTML.

    `chosen` is one of CHOICES: what to show. `editor` is the name of the editor's model: cards that it cannot use are
    grey and say why. With `can_use` a card offers to use its LoRA in the plan.
    """
    library = loras.shown(desk.workplace, editor)
    wanted: Mapping[str, Callable[[Shown], bool]] = {
        HERE: lambda each: each.here or each.running or each.record.star,
        USABLE: lambda each: not each.why_not,
        **{words: (lambda each, task=task: each.record.task == task) for task, words in TASKS.items()},  # type: ignore[misc]  # a default
    }
    found = [each for each in library if wanted.get(chosen or HERE, wanted[HERE])(each)]
    if not found:
        none = "No LoRA is on this machine yet. Choose a task above to see published ones, or add a file of your own."
        return looks.empty(none if chosen in (None, HERE) else f"There is none that {editor} can use.")
    cards = [card(each, can_use) for each in found]
    parts = [each.record for each in library if each.here and not each.why_not]
    return view("loras", "cards", cards=cards, editor=editor, count=len(found), parts=parts)


def card(shown: Shown, can_use: bool = False) -> Markup:
    """Returns one LoRA as HTML: what it is for, its licence, whether it is here, its download, notes and star."""
    record, row, facts = shown.record, shown.row, shown.record.facts
    words = record.words
    for name, known in (row.slots if row else {}).items():
        words = words.replace(f"{{{name}}}", f"{{{name}: {known[0]} …}}")
    return view(
        "loras",
        "card",
        shown=shown,
        record=record,
        row=row,
        facts=facts,
        words=words,
        base=row.base if row else facts.base if facts else "",
        page=row.page if row else f"https://huggingface.co/{record.repo}" if record.repo else "",
        fetchable=bool(row and row.repo and not row.unfit and not shown.here and not shown.running),
        stopped=shown.job if shown.job is not None and not shown.running else None,
        can_use=can_use and shown.here and not shown.why_not,
        use=USE,
    )


def act(desk: Desk, data: Mapping[str, Any]) -> Said | None:
    """Handles a click on a card, but not “use in the plan”; returns a notice, None where nothing is to be said.

    `data` is what the clicked element sends: the action and the LoRA's id. Raises: UserError where the action is
    refused, BadInput for an unknown one.
    """
    name, lora, place = data.get("act"), str(data.get("lora", "")), desk.workplace
    if name == "lora-pull":
        fields = data.get("fields") or {}
        return queued(loras.download(place, lora, str(fields.get("file", ""))))
    if name == "lora-merge":
        return queued(merging.merge(place, *asked_to_merge(data.get("fields") or {})))
    if name == "lora-star":
        loras.note(place, lora, star=data.get("on") != "true")
        return None
    if name == "lora-note":
        loras.note(place, lora, str(data.get("value", "")))
        return Said("The notes are saved.")
    if name == "lora-remove":
        return Said(f"{loras.remove(place, lora).name} is removed from this machine.")
    if name == "quiet":
        return None
    raise BadInput("There is no such button.", "Reload the page.")


def asked_to_merge(fields: Mapping[str, Any]) -> tuple[list[StackedLora], str, int]:
    """Returns the ticked LoRAs with their strengths, the name and the rank of the form that merges LoRAs.

    Raises: BadInput for a strength or a rank that is no number.
    """
    ticked = [field.removeprefix("on ") for field, on in fields.items() if field.startswith("on ") and on]
    try:
        stack = [StackedLora(lora=lora, weight=float(fields.get(f"weight {lora}") or 0)) for lora in ticked]
        return stack, str(fields.get("name", "")), int(fields.get("rank") or 0)
    except (ValueError, OverflowError) as error:
        raise BadInput("A strength or the rank is no number.", "Write it as 0.8, the rank as 32.") from error


def add_own(desk: Desk, place: str, file: str, task: str | None, words: str) -> Said:
    """Queues adding a LoRA of one's own; returns a notice, and "" for the fields of place, file and words.

    `place` is a path or a repository, `file` the file in it, `task` what it is for. Raises: as `loras.add`.
    """
    return queued(loras.add(desk.workplace, place, file.strip(), task=task or "general", words=words), ("", "", ""))
