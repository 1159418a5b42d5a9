"""The Enrich tab: plans edits, shows their cost before they start, and their results beside their sources."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput
from engines.api.params import EditParams
from studio.flywheel import card
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich.edits import EnrichPlan
from studio.records.image import ImageRecord, Kind, Verdict
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import looks, missing
from tabs.common.knobs import Knob, first_block_cache, given, lay_out, models, number
from tabs.common.looks import view
from tabs.common.shell import Page, active_job, html, progress_line

TASKS = ("angle", "expression", "pose", "background", "lighting", "outfit", "style")
KNOBS = (  # fields of EditParams in the order of the layout
    (
        Knob("steps", number("Steps (0: the model's own)", precision=0)),
        Knob("true_cfg", number("True CFG (0: the model's own)")),
    ),
    (Knob("few_steps", partial(gr.Checkbox, False, label="Few steps: drafts, several times faster")),),
    (Knob("first_block_cache", first_block_cache),),
)
GAPS, MISSED, VARIETY = "Coverage gaps", "Card gaps", "Variety"
PAIRS = 24
PLAN_ROWS = 40


def build(page: Page) -> None:
    """Lays out the tab and connects its handlers."""
    chosen, shown = gr.State(""), gr.State(PAIRS)
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=3, elem_classes="fl-side"):
            tasks = gr.CheckboxGroup(list(TASKS), value=list(TASKS), label="What to vary", elem_id="enrich-tasks")
            with gr.Row():
                limit = gr.Number(24, label="Edits at most", precision=0, elem_id="enrich-limit")
                seeds = gr.Number(1, label="Seeds each", precision=0)
            aim = gr.Radio([GAPS, MISSED, VARIETY], value=GAPS, label="Aim at", elem_id="enrich-aim")
            sources = gr.Dropdown(
                [], multiselect=True, label="Sources (empty: all good ones)", elem_id="enrich-sources"
            )
            with gr.Accordion("Advanced", open=False):
                model = gr.Dropdown([], label="Editor")
                edited_with = lay_out(KNOBS, "enrich")
            cost = html(looks.waiting(), elem_id="enrich-cost")
            run = gr.Button("Run plan", variant="primary", elem_id="enrich-run")
            planned = html(elem_id="enrich-plan")
        with gr.Column(scale=5):
            busy = html()
            with gr.Group(visible=False) as retry_box:
                about = html(elem_id="retry")
                words = gr.Textbox(label="Words for the next try", lines=2, elem_id="retry-words")
                with gr.Row():
                    try_words = gr.Button("Try these words", variant="primary", size="sm")
                    close = gr.Button("Close", size="sm")
            results = html(looks.waiting(), elem_id="enrich-results")

    knobs = [tasks, limit, seeds, aim, sources, model, *edited_with]
    plan = (draw_plan, knobs, [cost, planned])
    pairs = (draw_results, [chosen, shown], [results, busy])
    box = (fill_retry, [chosen], [retry_box, about, words])
    page.show([(fill_choices, [sources, model], [sources, model]), plan], live=[pairs])
    page.redraw([each.change for each in knobs], plan)
    page.on(run.click, run_plan, knobs)
    page.act(results, results_act, [chosen, shown], [chosen, shown], then=[pairs, box])
    page.act(busy, cancel)
    missing.wire(page, cost)
    page.on(try_words.click, retry_words, [chosen, words], [chosen], then=[pairs, box])
    page.on(close.click, close_retry, [], [chosen], then=[pairs, box])


# ── the plan ────────────────────────────────────────────────────────────────────────────────────


def fill_choices(desk: Desk, sources: list[str] | None, model: str | None) -> list[Any]:
    """Returns the choices of source pictures and editors for a plan."""
    store = desk.store
    usable = [each for each in store.select(Kind.SOURCE) if each.state is not Verdict.REJECT]
    choices = [(each.name or looks.describe(each) or each.id[:8], each.id) for each in usable]
    kept = [each for each in sources or [] if each in {value for _, value in choices}]
    editors = models(desk.workplace, "editor")
    return [
        gr.update(choices=choices, value=kept),
        gr.update(choices=editors, value=model or store.character.editor),
    ]


def make_plan(
    desk: Desk,
    tasks: Sequence[str],
    limit: float | None,
    seeds: float | None,
    aim: str,
    sources: Sequence[str] | None,
    model: str | None,
    *knobs: float | bool | None,
) -> EnrichPlan:
    """Returns the plan for the widgets' values; `knobs` are the values of KNOBS for every row. Raises: BadInput."""
    if not tasks:
        raise BadInput("No kind of edit is chosen.", "Tick at least one under “What to vary”.")
    return enrich.plan(
        desk,
        sources=list(sources or []) or None,
        tasks=list(tasks),
        seeds=1 if seeds is None else int(seeds),
        model=model or None,
        limit=24 if limit is None else int(limit),
        fill_gaps=aim == GAPS,
        knobs=given(KNOBS, knobs),
        aims=card.to_show(desk) if aim == MISSED else (),
    )


def draw_plan(desk: Desk, *knobs: Any) -> tuple[Markup, Markup]:
    """Returns the plan's cost and its rows."""
    store = desk.store
    if not store.select(Kind.SOURCE):
        add = looks.go("Add pictures in Curate", "Curate")
        return Markup(), looks.empty("Edits need pictures to start from.", add)
    plan = make_plan(desk, *knobs)
    rows = [
        [
            looks.picture(looks.thumb(store, row.source, store.images.get(row.source).crop), "source"),
            looks.esc(EditParams.from_json(row.params).headline()),
            looks.chip(row.task),
        ]
        for row in plan.rows[:PLAN_ROWS]
    ]
    listed = view("enrich", "plan", rows=rows, more=plan.count - PLAN_ROWS)
    absent = missing.card(desk.workplace, knobs[5] or store.character.editor)
    return absent + view("enrich", "cost", plan=plan), looks.panel("The plan", listed)


def run_plan(desk: Desk, *knobs: Any) -> None:
    """Queues the plan's edits. Raises: BadInput for an empty plan."""
    plan = make_plan(desk, *knobs)
    if not plan.rows:
        raise BadInput("The plan is empty.", "Choose more kinds of edits, or more sources.")
    enrich.demand_new(desk, plan.rows, knobs[5] or None)
    enrich.submit(desk, plan.rows, model=knobs[5] or None)


# ── the results ─────────────────────────────────────────────────────────────────────────────────


def draw_results(desk: Desk, chosen: str, shown: int) -> tuple[Markup, Markup]:
    """Returns the edits, newest first, each beside its source, and the progress of the running job."""
    store = desk.store
    busy = progress_line(active_job(desk, "enrich"))
    made = list(reversed(store.select(Kind.ENRICHED)))
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
    """Returns one edit: source, result, instruction, similarity and buttons; a click opens it large."""
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
    """Returns an edit's similarity to the character and its verdict."""
    scored, value = looks.latest_score(record)
    verdict, tone = looks.WORDS[record.state], looks.TONES[record.state]
    return view("enrich", "standing", scored=scored, value=value, verdict=verdict, tone=tone)


def instruction(record: ImageRecord) -> str:
    """Returns the instruction of an edit, or the caption of a picture that no edit made."""
    edited = record.params_kind == EditParams.__name__
    return EditParams.kept(record.params).headline() if edited else record.caption


def large(store: Store, record: ImageRecord) -> Markup:
    """Returns one edit and its source in one frame, with a handle between them."""
    words, result = looks.describe(record), looks.full(store, record.id)
    if record.parent:
        shown = looks.compare(looks.full(store, record.parent, record.source_crop), result, words)
    else:
        shown = looks.picture(result, words, classes="fl-hero")
    return view("enrich", "large", shown=shown, words=instruction(record), standing=standing(record))


def results_act(desk: Desk, data: dict[str, Any], chosen: str, shown: int) -> tuple[str, int]:
    """Handles a click on a result; returns the open edit and the number shown.

    An act opens an edit, queues it again with a new seed, or shows more."""
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
    """Returns the values of the retry panel: the open edit, large, and its instruction."""
    if not chosen:
        return [gr.update(visible=False), "", ""]
    store = desk.store
    record = store.images.get(chosen)
    return [gr.update(visible=True), large(store, record), instruction(record)]


def retry_words(desk: Desk, chosen: str, words: str) -> str:
    """Queues an edit again with another instruction and closes the panel. Raises: BadInput."""
    if not words.strip():
        raise BadInput("There are no words to try.", "Say what should change, and what should stay.")
    enrich.retry(desk, chosen, {"instruction": words.strip()})
    return ""


def close_retry(desk: Desk) -> str:
    """Closes the retry panel."""
    return ""


def cancel(desk: Desk, data: dict[str, Any]) -> None:
    """Cancels the job whose button was clicked."""
    desk.workplace.jobs.cancel(str(data.get("job", "")))
