"""Enrich: a plan of edits, its cost before it starts, and results beside their sources as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from engines.api.errors import BadInput
from engines.api.params import EditParams
from studio.flywheel import card
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich.edits import EnrichPlan
from studio.records.image import ImageRecord, Kind, Verdict
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.knobs import first_block_cache, models
from tabs.common.shell import Page, active_job, html, progress_line

TASKS = ("angle", "expression", "pose", "background", "lighting", "outfit", "style")
GAPS, MISSED, VARIETY = "Coverage gaps", "Card gaps", "Variety"
PAIRS = 24
PLAN_ROWS = 40


def build(page: Page) -> None:
    """Lay out the tab."""
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
                few = gr.Checkbox(False, label="Few steps: drafts, several times faster", elem_id="enrich-few")
                with gr.Row():
                    steps = gr.Number(0, label="Steps (0: the model's own)", precision=0)
                    cfg = gr.Number(0, label="True CFG (0: the model's own)")
                skip = first_block_cache("enrich-skip")
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

    knobs = [tasks, limit, seeds, aim, sources, model, steps, cfg, few, skip]
    plan = (draw_plan, knobs, [cost, planned])
    pairs = (draw_results, [chosen, shown], [results, busy])
    box = (fill_retry, [chosen], [retry_box, about, words])
    page.show([(fill_choices, [sources, model], [sources, model]), plan], live=[pairs])
    page.redraw([each.change for each in knobs], plan)
    page.on(run.click, run_plan, knobs)
    page.act(results, results_act, [chosen, shown], [chosen, shown], then=[pairs, box])
    page.act(busy, cancel)
    page.on(try_words.click, retry_words, [chosen, words], [chosen], then=[pairs, box])
    page.on(close.click, close_retry, [], [chosen], then=[pairs, box])


# ── the plan ────────────────────────────────────────────────────────────────────────────────────


def fill_choices(desk: Desk, sources: list[str] | None, model: str | None) -> list[Any]:
    """The pictures and editors that a plan can be made of."""
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
    steps: float | None,
    cfg: float | None,
    few: bool = False,
    skip: float | None = 0,
) -> EnrichPlan:
    """The plan that the widgets describe, with the knobs written into each row."""
    if not tasks:
        raise BadInput("No kind of edit is chosen.", "Tick at least one under “What to vary”.")
    given = {"few_steps": few, "steps": steps and int(steps), "true_cfg": cfg, "first_block_cache": skip}
    return enrich.plan(
        desk,
        sources=list(sources or []) or None,
        tasks=list(tasks),
        seeds=1 if seeds is None else int(seeds),
        model=model or None,
        limit=24 if limit is None else int(limit),
        fill_gaps=aim == GAPS,
        knobs={name: value for name, value in given.items() if value},
        aims=card.to_show(desk) if aim == MISSED else (),
    )


def draw_plan(desk: Desk, *knobs: Any) -> tuple[str, str]:
    """What the plan would cost, and its rows."""
    store = desk.store
    if not store.select(Kind.SOURCE):
        return "", looks.empty("Edits need pictures to start from.", looks.go("Add pictures in Curate", "Curate"))
    plan = make_plan(desk, *knobs)
    rows = [
        [
            looks.picture(looks.thumb(store, row.source, store.images.get(row.source).crop), "source"),
            looks.esc(EditParams.from_json(row.params).headline()),
            looks.chip(row.task),
        ]
        for row in plan.rows[:PLAN_ROWS]
    ]
    more = f'<p class="fl-quiet">and {plan.count - PLAN_ROWS} more</p>' if plan.count > PLAN_ROWS else ""
    table = looks.table(["source", "words", "for"], rows)
    listed = f'<div class="fl-scroll" tabindex="0" role="region" aria-label="the plan">{table}</div>{more}'
    return cost_line(desk, plan), looks.panel("The plan", listed)


def cost_line(desk: Desk, plan: EnrichPlan) -> str:
    """Count, time, disk and fit, before anything starts."""
    time = f"about {looks.duration(plan.seconds)}" if plan.seconds else "time not measured yet"
    return (
        f'<div class="fl-line"><b class="fl-big">{looks.plural(plan.count, "edit")}</b>'
        f"<span>{looks.esc(time)}</span><span>{looks.amount(plan.disk_bytes)} on disk</span>{looks.fit(plan.fit)}</div>"
    )


def run_plan(desk: Desk, *knobs: Any) -> None:
    """Queue the plan."""
    plan = make_plan(desk, *knobs)
    if not plan.rows:
        raise BadInput("The plan is empty.", "Choose more kinds of edits, or more sources.")
    enrich.demand_new(desk, plan.rows, knobs[5] or None)
    enrich.submit(desk, plan.rows, model=knobs[5] or None)


# ── the results ─────────────────────────────────────────────────────────────────────────────────


def draw_results(desk: Desk, chosen: str, shown: int) -> tuple[str, str]:
    """Newest first: each result beside its source, with its likeness."""
    store = desk.store
    busy = progress_line(active_job(desk, "enrich"))
    made = list(reversed(store.select(Kind.ENRICHED)))
    if not made:
        words = "Results appear here as they are made." if busy else "No edits yet. “Run plan” makes the first ones."
        return looks.empty(words), busy
    pairs = "".join(pair(store, each, each.id == chosen) for each in made[:shown])
    waiting = sum(each.state is Verdict.PENDING for each in made)
    link = looks.go(f"Review {waiting} ▸", "Review") if waiting else ""
    head = f'<div class="fl-spread"><p class="fl-quiet">{looks.plural(len(made), "edit")} so far</p>{link}</div>'
    more = looks.button("Show more", "more") if len(made) > shown else ""
    return f'{head}<div class="fl-pairs">{pairs}</div>{more}', busy


def pair(store: Store, record: ImageRecord, chosen: bool = False) -> str:
    """One edit: source | result, words, likeness, and what can be done with it; a click opens it large."""
    result = looks.picture(looks.thumb(store, record.id), looks.describe(record), classes="fl-shot")
    shots = f"<figure>{result}<span>result</span></figure>"
    if record.parent:
        source = looks.picture(looks.thumb(store, record.parent, record.source_crop), "source", classes="fl-shot")
        shots = f"<figure>{source}<span>source</span></figure>{shots}"
    buttons = looks.button("New seed", "seed", tone="small", hint="the same words, another seed", id=record.id)
    buttons += looks.button(
        "Compare", "open", tone="small", hint="large, and with other words", scroll="#retry", id=record.id
    )
    classes = f"fl-pair {looks.TONES[record.state]}{' chosen' if chosen else ''}"
    return (
        f'<article class="{classes}"><button type="button" class="fl-both" data-act="open" '
        f'data-id="{looks.esc(record.id)}" data-scroll="#retry" title="compare with the source">{shots}</button>'
        f'<div class="fl-under"><p>{looks.esc(instruction(record))}</p>'
        f'<div class="fl-spread"><span>{standing(record)}</span><span>{buttons}</span></div></div></article>'
    )


def standing(record: ImageRecord) -> str:
    """How like the character it is, and what a human said of it."""
    scored, value = looks.latest_score(record)
    likeness = looks.score(value) if scored else ""
    return f"{likeness} {looks.chip(looks.WORDS[record.state], looks.TONES[record.state])}"


def instruction(record: ImageRecord) -> str:
    """The words of an edit, or the caption of what came in as a correction."""
    edited = record.params_kind == EditParams.__name__
    return EditParams.kept(record.params).headline() if edited else record.caption


def large(store: Store, record: ImageRecord) -> str:
    """One edit over its source, with a handle between them."""
    shown = (
        looks.compare(
            looks.full(store, record.parent, record.source_crop), looks.full(store, record.id), looks.describe(record)
        )
        if record.parent
        else looks.picture(looks.full(store, record.id), looks.describe(record), classes="fl-hero")
    )
    words = f"<span>{looks.esc(instruction(record))}</span><span>{standing(record)}</span>"
    return f'{shown}<div class="fl-under fl-spread">{words}</div>'


def results_act(desk: Desk, data: dict[str, Any], chosen: str, shown: int) -> tuple[str, int]:
    """A click on a result: again with a new seed, with other words, or show more."""
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
    """The edit that was opened, large, with its words to be bettered."""
    if not chosen:
        return [gr.update(visible=False), "", ""]
    store = desk.store
    record = store.images.get(chosen)
    return [gr.update(visible=True), large(store, record), instruction(record)]


def retry_words(desk: Desk, chosen: str, words: str) -> str:
    """Try an edit again with other words."""
    if not words.strip():
        raise BadInput("There are no words to try.", "Say what should change, and what should stay.")
    enrich.retry(desk, chosen, {"instruction": words.strip()})
    return ""


def close_retry(desk: Desk) -> str:
    """Nothing is to be tried again."""
    return ""


def cancel(desk: Desk, data: dict[str, Any]) -> None:
    """Cancel the job whose button was clicked."""
    desk.workplace.jobs.cancel(str(data.get("job", "")))
