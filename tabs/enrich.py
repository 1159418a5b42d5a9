"""The Enrich tab: plans edits, shows their cost before they start, and their results beside their sources."""

from __future__ import annotations

from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput
from engines.api.params import EditParams
from studio.flywheel.enrich import edits as enrich
from studio.records.image import ImageRecord, Kind, Verdict
from studio.store import Store
from studio.workplace.desk import Desk
from tabs import angles, plan_saving, template_words, tournament
from tabs.common import looks, lora_cards, missing
from tabs.common.knobs import lay_out
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, active_job, cancel, html, marking, progress_line
from tabs.planning import (
    GAPS,
    IN_USE,
    KNOBS,
    MISSED,
    TASKS,
    VARIETY,
    add_own,
    draw_plan,
    draw_sources,
    editor_of,
    fill_editors,
    offer_more,
    pick_source,
    plan_act,
    run_again,
    run_plan,
    use_lora,
)

PAIRS = 24
OWN = "An instruction of your own, for the sources that are chosen"
SUCH_AS = "make the person laugh, keep everything else"


def build(page: Page) -> None:
    """Lays out the Enrich tab and connects its handlers."""
    chosen, shown = gr.State(""), gr.State(PAIRS)
    changes, picked = gr.Textbox("{}", visible="hidden"), gr.Textbox("[]", visible="hidden")
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=3, elem_classes="fl-side"):
            tasks = gr.CheckboxGroup(list(TASKS), value=list(TASKS), label="What to vary", elem_id="enrich-tasks")
            with gr.Row():
                limit = gr.Number(24, label="Edits at most", precision=0, elem_id="enrich-limit")
                seeds = gr.Number(1, label="Seeds each", precision=0, elem_id="enrich-seeds")
            aim = gr.Radio([GAPS, MISSED, VARIETY], value=GAPS, label="Aim at", elem_id="enrich-aim")
            editor = gr.Dropdown([(IN_USE, IN_USE)], value=IN_USE, label="Editor", elem_id="enrich-editor")
            sources = html(elem_id="enrich-sources")
            with gr.Accordion("Advanced", open=False):
                edited_with = lay_out(KNOBS, "enrich")
            with gr.Group(elem_classes="fl-stick"):
                cost = html(looks.waiting(), elem_id="enrich-cost")
                run = gr.Button("Run plan", elem_id="enrich-run")
                again = gr.Button("Draw it once more", visible=False, elem_id="enrich-again")
        with gr.Column(scale=5):
            busy = html()
            with gr.Accordion("The plan", open=True, elem_id="enrich-plan-fold"):
                planned = html(elem_id="enrich-plan")
                with gr.Row(elem_classes="fl-own"):
                    own_words = gr.Textbox(label=OWN, placeholder=SUCH_AS, elem_id="enrich-own")
                    add = gr.Button("Add to the plan", elem_id="enrich-add")
            knobs = [tasks, limit, seeds, aim, picked, editor, *edited_with]
            plan = (draw_plan, [changes, *knobs], [cost, planned])
            around = angles.lay_out(page, changes, picked, editor, plan)
            saved = plan_saving.lay_out(page, changes, plan)
            worded = template_words.lay_out(page, plan)
            cards, library, coming = lora_cards.lay_out(page, "enrich", draw_loras, [editor])
            held, drawing = tournament.lay_out(page, picked, plan)
            with gr.Group(visible=False) as retry_box:
                about = html(elem_id="retry")
                words = gr.Textbox(label="Words for the next try", lines=2, elem_id="retry-words")
                with gr.Row():
                    try_words = gr.Button("Try these words", size="sm")
                    close = gr.Button("Close", size="sm")
            results = html(looks.waiting(), elem_id="enrich-results")

    choice = (draw_sources, [picked], [sources])
    pairs = (draw_results, [chosen, shown], [results, busy])
    box = (fill_retry, [chosen], [retry_box, about, words])
    more: Render = (offer_more, [], [again])
    first: list[Render] = [(fill_editors, [editor], [editor]), choice, plan, (marking("Enrich"), [], [run])]
    page.show([*first, library, saved, worded, around, *held], live=[pairs, more, coming, *drawing])
    page.redraw([editor.change], library)
    page.redraw([each.change for each in knobs if each is not picked], plan)
    page.act(sources, pick_source, [picked], [picked], then=[choice, plan])
    page.act(cards, loras_act, [changes, picked], [changes], then=[plan, library])
    page.act(planned, plan_act, [changes, *knobs], [changes], then=[plan])
    for trigger in (add.click, own_words.submit):
        page.on(trigger, add_own, [own_words, changes, picked], [own_words, changes], then=[plan])
    page.on(run.click, run_plan, [changes, *knobs], [changes], then=[plan, more])
    page.on(again.click, run_again, [changes, *knobs], [changes], then=[plan, more])
    page.act(results, results_act, [chosen, shown], [chosen, shown], then=[pairs, box])
    page.act(busy, cancel)
    missing.wire(page, cost)
    page.on(try_words.click, retry_words, [chosen, words], [chosen], then=[pairs, box])
    page.on(close.click, close_retry, [], [chosen], then=[pairs, box])


# ── the LoRA library ────────────────────────────────────────────────────────────────────────────


def draw_loras(desk: Desk, chosen: str | None, editor: str | None) -> Markup:
    """Returns the LoRA library as HTML, as the editor of the plan can use it.

    `chosen` is what to show of it, `editor` the value of the dropdown of editors.
    """
    return lora_cards.draw(desk, chosen, editor_of(desk, editor)[0], can_use=True)


def loras_act(desk: Desk, data: dict[str, Any], changes: str, picked: str) -> str | Said:
    """Handles a click on a card of the library; “use in the plan” adds a row with the LoRA's words and strength.

    `data` is what the clicked button sends, `changes` are the plan's changes as JSON, `picked` the chosen sources as a
    JSON list. Returns all changes as JSON, mostly with a notice. Raises: UserError where it is refused.
    """
    if data.get("act") == lora_cards.USE:
        return Said("It is in the plan, as a row of your own.", use_lora(desk, str(data["lora"]), changes, picked))
    said = lora_cards.act(desk, data)
    return Said(said.words, changes) if said else changes


# ── the results ─────────────────────────────────────────────────────────────────────────────────


def draw_results(desk: Desk, chosen: str, shown: int) -> tuple[Markup, Markup]:
    """Returns as HTML the edits, newest first, each beside its source, and as HTML the progress of the running job.

    `chosen` is the id of the open edit, "" for none; at most `shown` edits are returned.
    """
    store = desk.store
    busy = progress_line(active_job(desk, "enrich"))
    made = [each for each in reversed(store.select(Kind.ENRICHED)) if not each.is_blind]
    if not made:
        words = "Results appear here as they are made." if busy else "No edits yet. “Run plan” makes the first ones."
        return looks.empty(words), busy
    results = view(
        "enrich",
        "results",
        count=len(made),
        waiting=sum(each.state is Verdict.PENDING for each in made),
        pairs=[pair(store, each, each.id == chosen) for each in made[:shown]],
        more=len(made) > shown,
    )
    return results, busy


def pair(store: Store, record: ImageRecord, chosen: bool = False) -> Markup:
    """Returns one edit as HTML: source, result, instruction, similarity and buttons; a click enlarges a picture.

    `chosen` marks it as the open one.
    """
    return view(
        "enrich",
        "pair",
        record=record,
        classes=f"fl-pair {looks.TONES[record.state]}{' chosen' if chosen else ''}",
        source=looks.thumb(store, record.parent, record.source_crop) if record.parent else None,
        result=looks.thumb(store, record.id),
        words=instruction(record),
        standing=standing(record),
    )


def standing(record: ImageRecord) -> Markup:
    """Returns as HTML an edit's similarity to the character and its verdict."""
    scored, value = looks.latest_score(record)
    verdict, tone = looks.WORDS[record.state], looks.TONES[record.state]
    return view("enrich", "standing", scored=scored, value=value, verdict=verdict, tone=tone)


def instruction(record: ImageRecord) -> str:
    """Returns the instruction that an edit was made with, as text; for a picture that is no edit, its caption."""
    edited = record.params_kind == EditParams.__name__
    return EditParams.kept(record.params).headline() if edited else record.caption


def large(store: Store, record: ImageRecord) -> Markup:
    """Returns as HTML an edit and its source on top of each other, with a slider that uncovers one or the other."""
    words, result = looks.describe(record), looks.full(store, record.id)
    if record.parent:
        shown = looks.compare(looks.full(store, record.parent, record.source_crop), result, words)
    else:
        shown = looks.picture(result, words, classes="fl-hero")
    return view("enrich", "large", shown=shown, words=instruction(record), standing=standing(record))


def results_act(desk: Desk, data: dict[str, Any], chosen: str, shown: int) -> tuple[str, int]:
    """Handles a click on a result: opens an edit, queues it again with a new seed, or shows more edits.

    `data` is what was clicked, `chosen` the id of the open edit, "" for none, `shown` the largest number of edits to
    show. Returns the new values of `chosen` and `shown`.
    """
    act, image = data.get("act"), str(data.get("id", ""))
    if act == "more":
        return chosen, shown + PAIRS
    if act == "open":
        return image, shown
    if act == "seed":
        record = desk.store.images.get(image)
        enrich.retry(desk, image, {"seed": record.seed + 1000})
    return chosen, shown


def fill_retry(desk: Desk, chosen: str) -> list[Any]:
    """Returns updates of the panel that queues the open edit again with another instruction.

    They are the panel's visibility, the open edit as HTML, and its instruction. `chosen` is the id of the open edit;
    for "" the panel is hidden.
    """
    store = desk.store
    record = store.images.peek(chosen) if chosen else None
    if record is None:  # closed, or of the character that the page showed before
        return [gr.update(visible=False), "", ""]
    return [gr.update(visible=True), large(store, record), instruction(record)]


def retry_words(desk: Desk, chosen: str, words: str) -> str:
    """Queues the edit `chosen`, an id, again with the instruction `words`.

    Returns "" as the new id of the open edit, which closes the panel. Raises: BadInput for empty `words`.
    """
    if not words.strip():
        raise BadInput("There are no words to try.", "Say what should change, and what should stay.")
    enrich.retry(desk, chosen, {"instruction": words.strip()})
    return ""


def close_retry(desk: Desk) -> str:
    """Returns "" as the new id of the open edit, which closes the panel that queues it again."""
    return ""
