"""The Editor Refinement tab: the triplets from reviews, the editor's LoRA training, and its comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.params import EditParams, TrainParams
from studio.flywheel import history
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import practice
from studio.flywheel.history import Redone
from studio.flywheel.refine import beginning
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import runs
from studio.records.dataset import Lesson, Role
from studio.records.review import Triplet
from studio.records.version import Version
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import exports, looks, lora_cards, missing, preflight, run, training
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, html, jobs_of, queued

FORM = training.Form("refine", training.EDITOR)
SHOWN = {"All": None, "Golden": True, "Positive": False}
PAGE = 30
NEW = "a new LoRA"


def build(page: Page) -> None:
    """Lays out the Editor Refinement tab and connects its handlers."""
    shown, filled = gr.State(PAGE), gr.Textbox(visible="hidden")
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=5):
            counts = html(elem_id="refine-counts")
            practised = html(elem_id="refine-practised")
            cards, library, coming = lora_cards.lay_out(page, "refine", draw_loras)
            versions = html(elem_id="refine-versions")
            kind = gr.Radio(list(SHOWN), value="All", label="Show", elem_id="refine-kind")
            browser = html(looks.waiting(), elem_id="refine-triplets")
            written = html(elem_id="refine-written", elem_classes="fl-answer")
        with gr.Column(scale=4, elem_classes="fl-side"):
            told = "a LoRA of the library that is trained on; its rank is then the training's"
            begin = gr.Dropdown([(NEW, "")], value="", label="Begin with", info=told, elem_id="refine-begin")
            steps = FORM.steps()
            chosen = html(elem_id="refine-chosen")
            with gr.Accordion("Advanced", open=False):
                fold = FORM.fold()
            live = html(elem_id="refine-live")
            longer = run.longer(page, "refine")
            ready = html(looks.waiting(), elem_id="refine-preflight")
            with gr.Row(elem_classes="fl-launch"):
                verdict = html(elem_id="refine-verdict")
                start = gr.Button("Train editor", elem_id="refine-start")
    lessons = (draw_triplets, [kind, shown], [browser])
    knobs = [steps, *fold]
    size, sizes = (knobs[FORM.names.index(name)] for name in ("resolution", "resolutions"))
    check: Render = (draw_preflight, [begin, *knobs], [ready, chosen, verdict, start])
    offered: Render = (fill_begin, [begin], [begin])
    preset: Render = (fill_knobs, [filled], [filled, *knobs])
    drawn: list[Render] = [(draw_counts, [], [counts]), lessons, preset, offered, check]
    page.show([*drawn, longer, (draw_versions, [], [versions]), library], live=[(draw_live, [], [live]), coming])
    page.act(cards, lora_cards.act, then=[library])
    page.redraw([kind.change], lessons)
    page.redraw([size.input], (fill_sizes, [size, sizes], [sizes]))
    page.redraw([each.change for each in (begin, *knobs)], check)
    page.on(start.click, start_training, [begin, *knobs])
    page.act(browser, more, [shown], [shown], then=[lessons])
    page.act(chosen, chosen_act, [], knobs)
    page.act(live, live_act)
    missing.wire(page, ready)
    page.act(counts, counts_act, [], [practised])
    page.act(versions, versions_act, [], [written])
    for block in (written, practised):
        page.act(block, exports.put_away, [], [block])


def draw_loras(desk: Desk, chosen: str | None) -> Markup:
    """Returns the LoRA library as HTML, as the character's editor can use it; `chosen` is what to show of it."""
    return lora_cards.draw(desk, chosen, desk.store.character.editor)


# ── triplets from reviews ─────────────────────────────────────────────────────────────────────────


def draw_counts(desk: Desk) -> Markup:
    """Returns as HTML the numbers of training examples for the editor, and how often its edits were accepted.

    An example is a triplet: source, instruction, result. The numbers are those of golden triplets (a human corrected
    the result), positive ones (a human approved it) and held-out ones (not trained on). The accepted edits are counted
    for each kind of edit, see `draw_standings`. Buttons export the triplets for other training tools.
    """
    lessons = refine.lessons(desk)
    figures = view(
        "refine",
        "counts",
        golden=len(lessons.golden),
        positive=len(lessons.positive),
        held_out=len(lessons.held_out),
        enough=refine.ENOUGH_GOLDEN,
        standings=draw_standings(desk),
        save=Markup(exports.elsewhere(Role.EDITOR) if lessons.learned else ""),
    )
    return looks.panel("What your reviews taught", figures)


def draw_standings(desk: Desk) -> Markup:
    """Returns as HTML how many of each task's reviewed edits were accepted, the weakest task first.

    A task is a kind of edit, such as pose or lighting. A button queues new edits of the weak tasks for review. Empty
    where no edit was reviewed.
    """
    found = practice.standings(desk)
    if not found:
        return Markup()
    rows = [
        [
            looks.esc(each.task),
            looks.bar(each.accepted, each.reviewed, "warn" if each.refused else "good"),
            looks.esc(f"{each.accepted} of {each.reviewed}"),
        ]
        for each in found
    ]
    refused = [each.task for each in found if each.refused]
    practise = f"Practise {refused[0]}" if len(refused) == 1 else "Practise the weakest" if refused else ""
    hint = f"{practice.EDITS} new edits of what was refused most, for you to review and mend"
    return view("refine", "standings", rows=rows, practise=practise, hint=hint)


def counts_act(desk: Desk, data: dict[str, Any]) -> str:
    """Handles a click on a button in the HTML of `draw_counts`: queues edits for practice, or exports the triplets.

    Edits for practice are new edits of the kinds that were refused in review before. `data` is what the clicked button
    sends; for an export it names the training tool. Returns a note as HTML: what was queued, or a link to the file.
    Raises: BadInput, for example where these edits are queued already.
    """
    if data.get("act") != "practise":
        return exports.export_pictures(desk, data, Role.EDITOR, refine.dataset(desk))
    rows = practice.plan(desk).rows
    enrich.demand_new(desk, rows)
    job = enrich.submit(desk, rows)
    return view("refine", "practising", title=job.title)


def draw_triplets(desk: Desk, kind: str, shown: int) -> Markup:
    """Returns the triplets as HTML, newest first: source, wrong edit where there is one, right result, instruction.

    `kind` is a key of SHOWN: all triplets, golden ones (corrected by a human) or positive ones (approved). `shown` is
    the largest number of triplets.
    """
    store = desk.store
    wanted = SHOWN[kind]
    found = [each for each in refine.triplets(desk) if wanted is None or each.golden is wanted]
    if not found:
        words = "Every edit that you approve or correct in Review teaches the editor."
        return looks.empty(words, looks.go("Open Review", "Review"))
    cards = [triplet_card(store, each) for each in list(reversed(found))[:shown]]
    return view("refine", "triplets", cards=cards, more=len(found) > shown)


def triplet_card(store: Store, triplet: Triplet) -> Markup:
    """Returns one triplet as HTML: its source, its wrong edit where there is one, its right result, its instruction."""
    edited = store.images.get(triplet.result).source_crop
    shots = [
        (triplet.source, edited, "source"),
        (triplet.wrong, (), "wrong"),
        (triplet.result, (), "corrected" if triplet.wrong else "result"),
    ]
    return view(
        "refine",
        "triplet",
        triplet=triplet,
        shots=[(image, looks.thumb(store, image, crop), name) for image, crop, name in shots if image],
        words=EditParams.kept(triplet.params).headline() if triplet.params else "",
    )


def more(desk: Desk, data: dict[str, Any], shown: int) -> int:
    """Returns the number of triplets to show after a click in their list.

    `shown` is the number before the click. The button “Show more” adds one page to it; any other click changes nothing.
    """
    return shown + PAGE if data.get("act") == "more" else shown


# ── training ────────────────────────────────────────────────────────────────────────────────────


def fill_knobs(desk: Desk, filled: str) -> list[Any]:
    """Returns a list: the name of the character's editor, then a Gradio update for each training setting.

    The updates fill in the editor's defaults. `filled` is the name of the editor that the settings were filled for
    last; while this is still the editor, the updates change nothing, so that typed values stay.
    """
    name = desk.store.character.editor
    fresh = FORM.shown(desk.workplace.registry.spec(name)) if filled != name else [gr.skip()] * len(FORM.names)
    return [name, *fresh]


def chosen_act(desk: Desk, data: dict[str, Any]) -> list[Any]:
    """Handles a click on a preset length of training, or on a button that resets settings to the editor's defaults.

    `data` is what the clicked button sends. Returns a list with a Gradio update for each training setting; see
    `Form.act`. Raises: BadInput.
    """
    return FORM.act(desk.workplace.registry.spec(desk.store.character.editor), data)


def fill_sizes(desk: Desk, resolution: float | None, chosen: Sequence[int]) -> Any:
    """Returns a Gradio update of the checkboxes of further training sizes, all of them smaller than `resolution`.

    A training can use several sizes; at a size of n, pictures have about n × n pixels. `resolution` is the largest of
    them; with None no size is offered. `chosen` are the sizes ticked now; those smaller than `resolution` stay ticked.
    """
    return training.smaller_sizes(resolution, chosen)


def settle(desk: Desk, *values: Any) -> tuple[str, TrainParams]:
    """Returns the name of the character's editor, and the training parameters that the fields ask for.

    `values` are those of the fields in the order of FORM; empty ones leave the editor's default. Raises: BadInput.
    """
    name = desk.store.character.editor
    return name, FORM.settle(desk.workplace.registry.spec(name), values)


def fill_begin(desk: Desk, chosen: str | None) -> Any:
    """Returns a Gradio update of the dropdown of LoRAs that the training may begin with; `chosen` stays if it can."""
    found = beginning.choices(desk.workplace, desk.store.character.editor)
    offered = [(NEW, ""), *((f"{each.name} (licence {each.licence})", each.id) for each in found)]
    return gr.update(choices=offered, value=chosen if chosen in [lora for _, lora in offered] else "")


def draw_preflight(desk: Desk, begin: str | None, *values: Any) -> tuple[Markup, Markup, Markup, Any]:
    """Returns what the tab shows before a training: three pieces of HTML, and an update of the button that trains.

    The HTML is the pre-flight (the checks before a training), the settings that differ from the editor's defaults, and
    the verdict whether the training can start. `begin` is the library's LoRA to begin with, "" for a new one; `values`
    as in `settle`. Raises: BadInput.
    """
    name, params = settle(desk, *values)
    found = refine.preflight(desk, params, name, begin or "")
    golden = sum(entry.kind is Lesson.GOLDEN for entry in found.entries)
    spec = desk.workplace.registry.spec(name)
    shown = missing.card(desk.workplace, name) + preflight.panel(
        found,
        spec,
        looks.plural(len(found.entries), "edit"),
        [f"{golden} golden, each seen {refine.GOLDEN_WEIGHT} times"] if golden else [],
        f"a LoRA of {name} · {FORM.told(params)}",
    )
    return shown, FORM.chosen(spec, params), *preflight.launch(desk, found, Role.EDITOR, "refine")


def start_training(desk: Desk, begin: str | None, *values: Any) -> Said:
    """Queues the editor's training with the fields' values, and returns a notice.

    Arguments as in `draw_preflight`. Raises: BadInput, NotFound or LoraMismatch for the LoRA to begin with.
    """
    name, params = settle(desk, *values)
    return queued(refine.submit(desk, params, name, start=begin or ""))


def draw_live(desk: Desk) -> str:
    """Returns the newest editor training as HTML, with its progress and loss; "" where there is none."""
    jobs = jobs_of(desk, "refine")
    return run.panel(desk.workplace, jobs[0], runs.progress(desk.workplace, jobs[0].id)) if jobs else ""


def live_act(desk: Desk, data: dict[str, Any]) -> Said | None:
    """Handles a click on “cancel”, “resume”, or “stop and keep” in the panel of a training.

    `data` is what the clicked button sends. “Stop and keep” makes a version of what was trained so far. Returns a
    notice, None for any other click.
    """
    return run.act(desk.workplace, data)


# ── versions ────────────────────────────────────────────────────────────────────────────────────


def draw_versions(desk: Desk) -> Markup:
    """Returns the LoRA versions of the editor as HTML, newest first; empty where there is none.

    Each version has export buttons, and a comparison of edits made without and with its LoRA. These edits were not used
    for training.
    """
    panels = []
    for version in reversed(desk.store.kept_versions(Role.EDITOR)):
        compared, files = before_after(desk.store, version), exports.buttons(desk, version.id)
        words, tone = run.STATES[version.state]
        aside = view("refine", "state", words=words, tone=tone, decisions=run.decisions(desk.store, version))
        panels.append(
            looks.panel(f"Editor {version.name}", view("refine", "version", compared=compared, exports=files), aside)
        )
    return Markup().join(panels)


def before_after(store: Store, version: Version) -> Markup:
    """Returns as HTML the held-out edits of a version, made without and with its LoRA on the same seeds.

    Held-out edits were not trained on. Those that the LoRA improved come first, then those that it made worse, then the
    others. Where nothing was compared yet, the HTML says so.
    """
    edits = refine.as_judged(store, version).metrics.edits
    if edits is None or not edits.n:
        return view("refine", "not_compared", words=(edits and edits.note) or "Not compared yet.")
    pairs = [pair_card(store, each) for each in history.redone(store, version)]
    return view("refine", "compared", name=version.name, edits=edits, pairs=pairs)


def pair_card(store: Store, each: Redone) -> Markup:
    """Returns one held-out edit as HTML: its source, and its results without and with the version's LoRA.

    Each result has a mark that tells whether the edit was done as asked. `each` holds the ids of the two results and
    their marks.
    """
    redone = store.images.peek(each.after)
    shots = [
        ("without", each.before, looks.thumb(store, each.before), looks.MARKS[each.was][0]),
        ("with", each.after, looks.thumb(store, each.after), looks.MARKS[each.now][0]),
    ]
    if redone and redone.parent:
        shots.insert(0, ("source", redone.parent, looks.thumb(store, redone.parent, redone.source_crop), ""))
    words = EditParams.kept(redone.params).headline() if redone and redone.params else ""
    return view("refine", "pair", turn=each.turn, shots=shots, words=words, task=each.task)


def versions_act(desk: Desk, data: dict[str, Any]) -> str | Said:
    """Handles a click on a version of the editor: takes it into use, retires it, or exports its LoRA.

    `data` is what the clicked button sends: the action and the version's id. Returns a notice, or a link to the
    exported file as HTML. Raises: NotFound for an unknown version, BadInput for an unknown action or format.
    """
    return exports.export(desk, data) if data.get("act") == exports.ACT else run.decide(desk, data)
