"""Tournaments on the Enrich tab: contestants and tasks are chosen, their matrix is shown, and each task is routed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput
from studio.flywheel.enrich import contest, routes
from studio.flywheel.tournament import asking, matrix
from studio.flywheel.tournament.matrix import Compared, Matrix
from studio.housekeeping import loras
from studio.records.image import Verdict
from studio.records.plan import StackedLora
from studio.records.tournament import MOST_ORIGINALS, Contestant, Contested
from studio.workplace.desk import Desk
from tabs.card import when_words
from tabs.common import exports, looks
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, cancel, html, progress_line, queued
from tabs.planning import IN_USE, TASKS, chosen_sources, editor_of, fill_editors

SHOWN = 4  # thumbnails of a cell; the viewer walks through the rest, too
_FILES = {"csv": ("a table", matrix.save_csv), "png": ("a picture", matrix.save_png)}


def lay_out(page: Page, picked: gr.Textbox, plan: Render) -> tuple[list[Render], list[Render]]:
    """Lays out the tournament in an accordion and connects it.

    `picked` holds the chosen originals, `plan` renders the plan, which the routes change. Returns the render functions
    of the parts that change with the store, and those that also change with every step of a job.
    """
    entered = gr.Textbox("[]", visible="hidden")
    with gr.Accordion("Tournament: which editor for which task", open=False, elem_id="enrich-tournament"):
        gr.HTML(view("tournament", "introduction"), apply_default_css=False)
        tasks = gr.CheckboxGroup(list(TASKS), value=["angle", "expression"], label="Tasks", elem_id="tournament-tasks")
        with gr.Row(elem_classes="fl-own"):
            editor = gr.Dropdown([(IN_USE, IN_USE)], value=IN_USE, label="Contestant", elem_id="tournament-editor")
            stack = gr.Dropdown([], value=[], multiselect=True, label="with LoRAs", elem_id="tournament-loras")
            weight = gr.Number(1.0, label="Strength", step=0.05, elem_id="tournament-weight")
            few = gr.Checkbox(False, label="Few steps", elem_id="tournament-few")
            add = gr.Button("Add the contestant", elem_id="tournament-add", size="sm")
        listed = html(elem_id="tournament-entered")
        with gr.Row(elem_classes="fl-own"):
            seeds = gr.Number(asking.SEEDS, label="Seeds each", precision=0, elem_id="tournament-seeds")
            start = gr.Button("Hold the tournament", elem_id="tournament-start")
        cost = html(elem_id="tournament-cost")
        busy = html()
        which = gr.Dropdown([], label="Results of", elem_id="tournament-which")
        table = html(elem_id="tournament-matrix")
        written = html(elem_id="tournament-written", elem_classes="fl-answer")
    knobs: list[Any] = [tasks, entered, picked, seeds]
    price: Render = (draw_cost, knobs, [cost])
    names: Render = (draw_entered, [entered], [listed])
    offered: Render = (fill_loras, [editor, stack], [stack])
    results: Render = (draw_matrix, [which], [table])
    known: Render = (fill_tournaments, [which], [which])
    page.redraw([editor.change], offered)
    page.redraw([each.change for each in knobs], price)
    page.redraw([which.change], results)
    page.on(add.click, add_contestant, [entered, editor, stack, weight, few], [entered], then=[names, price])
    page.act(listed, drop_contestant, [entered], [entered], then=[names, price])
    page.on(start.click, start_tournament, knobs, [which], then=[known, results])
    page.act(table, matrix_act, [which, picked, seeds], [written], then=[known, results, plan])
    page.act(busy, cancel)
    page.act(written, exports.put_away, [], [written])
    return [(fill_editors, [editor], [editor]), offered, names, price, known, results], [(draw_busy, [], [busy])]


def fill_loras(desk: Desk, editor: str | None, chosen: Sequence[str] | None) -> Any:
    """Returns an update of the choice of LoRAs: those on this machine that the chosen editor can use."""
    usable = [each.record for each in loras.shown(desk.workplace, editor_of(desk, editor)[0]) if each.here]
    known = [(each.name, each.id) for each in usable]
    ids = [value for _, value in known]
    return gr.update(choices=known, value=[each for each in chosen or () if each in ids])


def contestants(entered: str) -> list[Contestant]:
    """Returns the contestants that the page holds as a JSON list."""
    return [Contestant.from_json(each) for each in json.loads(entered)]


def add_contestant(
    desk: Desk, entered: str, editor: str | None, stack: Sequence[str] | None, weight: float | None, few: bool
) -> str:
    """Adds a contestant to those that the page holds, and returns them as a JSON list.

    `editor` is the value of the dropdown of editors, `stack` are ids of LoRAs, `weight` the strength of each, `few`
    whether it draws in few steps. Raises: BadInput for one that is there already, or takes part anyway.
    """
    model, version = editor_of(desk, editor)
    own = (routes.in_use(desk).version if version is None else version) or ""
    strength = 1.0 if weight is None else float(weight)
    uses = tuple(StackedLora(lora=each, weight=strength) for each in stack or ())
    made = Contestant(model=model, version=own, loras=uses, few_steps=bool(few))
    if made in contestants(entered):
        raise BadInput("This contestant is entered already.", "Change its editor, LoRAs, strength or steps.")
    if made == routes.in_use(desk):
        raise BadInput("The editor in use takes part anyway.", "Add another: with a LoRA, few steps, or another model.")
    return json.dumps([each.to_json() for each in [*contestants(entered), made]])


def drop_contestant(desk: Desk, data: Mapping[str, Any], entered: str) -> str:
    """Takes the clicked contestant out, and returns the others as a JSON list."""
    at = int(data.get("at", -1))
    return json.dumps([each.to_json() for number, each in enumerate(contestants(entered)) if number != at])


def draw_entered(desk: Desk, entered: str) -> Markup:
    """Returns the contestants as HTML, that in use first."""
    names = [contest.label(desk, each) for each in contestants(entered)]
    return view("tournament", "entered", used=contest.label(desk, routes.in_use(desk)), names=names)


def draw_cost(desk: Desk, tasks: Sequence[str], entered: str, picked: str, seeds: float | None) -> Markup:
    """Returns as HTML what the tournament takes: edits, looks at most and expected, time; empty without contestants.

    Raises: BadInput and others where it cannot be held so.
    """
    if not contestants(entered):
        return Markup()
    return view("tournament", "cost", plan=asking.plan(desk, *asked(desk, tasks, entered, picked, seeds)))


def asked(
    desk: Desk, tasks: Sequence[str], entered: str, picked: str, seeds: float | None
) -> tuple[list[Contested], list[Contestant], list[str] | None, int]:
    """Returns the arguments of `asking.plan` for the values of the page's widgets."""
    named = [Contested(task=task) for task in TASKS if task in tasks]
    chosen = chosen_sources(desk, picked)[:MOST_ORIGINALS] or None
    return named, contestants(entered), chosen, asking.SEEDS if seeds is None else int(seeds)


def start_tournament(desk: Desk, tasks: Sequence[str], entered: str, picked: str, seeds: float | None) -> Said:
    """Queues the tournament; returns a notice, and nothing chosen, which shows the newest. Raises: as `asking.plan`."""
    return queued(asking.submit(desk, *asked(desk, tasks, entered, picked, seeds)))


def fill_tournaments(desk: Desk, which: str | None) -> Any:
    """Returns an update of the dropdown of tournaments; the newest is chosen where none is."""
    known = [
        (f"{when_words(each.created)}: {', '.join(contest.in_tasks(each))}", each.id)
        for each in matrix.tournaments(desk)
    ]
    ids = [value for _, value in known]
    return gr.update(choices=known, value=which if which in ids else next(iter(ids), None))


def draw_busy(desk: Desk) -> Markup:
    """Returns the progress of the tournament that is drawn as HTML, "" where none is."""
    jobs = [job for job in desk.workplace.jobs.list(desk.id) if job.kind == asking.KIND and job.state.is_under_way]
    return progress_line(next(iter(jobs), None), next((job.message for job in jobs if job.message), ""))


def draw_matrix(desk: Desk, which: str | None) -> Markup:
    """Returns as HTML a tournament's matrix, the routes of the tasks, and the offer for a new own version.

    `which` is the tournament's id; None is the newest.
    """
    routed = view("tournament", "routes", routes=list(routes.routes(desk).values()), offered=matrix.challenge(desk))
    if not matrix.tournaments(desk):
        return routed + looks.empty("No tournament yet. Add a contestant, and hold one: you judge its edits in Review.")
    found = matrix.matrix(desk, which or "")
    rows = []
    for key, name in found.names.items():
        of_key = {each.task: each for each in found.cells if each.contestant == key}
        rows.append((name, [cell(desk, found, of_key[each.task]) for each in found.tasks]))
    return routed + view("tournament", "matrix", found=found, rows=rows)


def cell(desk: Desk, found: Matrix, shown: Compared) -> Markup:
    """Returns one cell of the matrix as HTML: rate with interval, test, measures, and its pictures for the viewer."""
    thumbs = []
    for image in shown.images:
        record = desk.store.images.get(image)
        tone = "good" if record.state is Verdict.GOOD else "bad"
        thumbs.append((image, tone, looks.picture(looks.thumb(desk.store, image), looks.describe(record))))
    best = {each.task: each.best for each in found.tasks if each.done}
    return view(
        "tournament", "cell", cell=shown, thumbs=thumbs, few=SHOWN, best=best.get(shown.task) == shown.contestant
    )


def matrix_act(desk: Desk, data: Mapping[str, Any], which: str | None, picked: str, seeds: float | None) -> Any:
    """Handles a click on the matrix, and returns what is shown below it, mostly with a notice.

    It saves the matrix as a file, lets the editor in use make a task's edits, takes that back, or queues the offered
    tournament. `data` is what the clicked button sends. Raises: UserError where it is refused.
    """
    act, task = str(data.get("act")), str(data.get("task", ""))
    if act in _FILES:
        name, save = _FILES[act]
        return exports.written(name, save(desk, which or ""))
    if act in ("overrule", "follow"):
        return Said(reroute(desk, act, task), Markup())
    offered = matrix.challenge(desk)
    if act == "challenge" and offered is not None:
        originals = chosen_sources(desk, picked)[:MOST_ORIGINALS] or None
        count = asking.SEEDS if seeds is None else int(seeds)
        job = asking.submit(desk, matrix.challenged(offered), (offered.contestant,), originals, count)
        return queued(job, Markup())
    raise BadInput("There is no such button any more.", "Reload the page.")


def reroute(desk: Desk, act: str, task: str) -> str:
    """Overrules the route of a task, or takes that back, and returns a notice. Raises: NotFound."""
    if act == "overrule":
        routes.choose(desk, task, None)
        return f"The editor in use makes the edits of {task} again."
    route = routes.follow(desk, task)
    return f"{task}: {route.name} makes the edits." if route else f"{task}: the editor in use makes the edits."
