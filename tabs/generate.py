"""The Generate tab: draws pictures with a version, filters them by identity, and runs the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.axes import ANGLES, EXPRESSIONS
from engines.api.params import GenerateParams
from engines.wording.cells import CARD_CELLS, CARD_POSES
from studio.flywheel import card, generate
from studio.flywheel.enrich import edits as enrich
from studio.records.card import CardRun, Cell
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.outcome import Rate
from studio.records.version import Version
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import looks, missing
from tabs.common.knobs import Knob, first_block_cache, given, lay_out, marked, number
from tabs.common.looks import view
from tabs.common.shell import Page, Said, active_job, html, progress_line

KNOBS = (  # fields of GenerateParams in the order of the layout
    (
        Knob("seed", number("First seed", precision=0)),
        Knob("steps", number("Steps (0: its own)", precision=0)),
        Knob("guidance", number("Guidance (0: its own)")),
    ),
    (Knob("first_block_cache", first_block_cache),),
)
BASE, IN_USE = "base", "in use"
OWN, SCENES, GAPS = "My prompt", "New scenes", "Card gaps"
PAGE = 60
_MARKS = {"pass": ("✓", "good"), "fail": ("✗", "bad"), "unknown": ("?", "warn")}
_WORDS = {"right": True, "wrong": False}
_GOALS = {"met": ("good", "met"), "missed": ("warn", "not met"), "open": ("", "open")}


def build(page: Page) -> None:
    """Lays out the tab and connects its handlers."""
    shown = gr.State(PAGE)
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=3, elem_classes="fl-side"):
            what = gr.Radio([OWN, SCENES, GAPS], value=OWN, label="What to draw", elem_id="generate-what")
            prompt = gr.Textbox(label="Prompt", lines=2, elem_id="generate-prompt")
            with gr.Row():
                version = gr.Dropdown([("in use", IN_USE)], value=IN_USE, label="Version", elem_id="generate-version")
                count = gr.Number(4, label="Pictures", precision=0, elem_id="generate-count")
            with gr.Accordion("Advanced", open=False):
                drawn_with = lay_out(KNOBS, "generate")
            about = html()
            cost = html()
            with gr.Row():
                go = gr.Button("Generate", variant="primary", elem_id="generate-go")
                run_card = gr.Button("Run model card", elem_id="card-go")
            busy = html()
        with gr.Column(scale=5), gr.Tabs():
            with gr.TabItem("Pictures"):
                floor = gr.Slider(0, 1, value=0.5, step=0.01, label="Set aside below this likeness", elem_id="floor")
                results = html(looks.waiting(), elem_id="generate-results")
            with gr.TabItem("Model card"):
                with gr.Row():
                    which = gr.Dropdown([], label="Card")
                    against = gr.Dropdown([], label="Compare with")
                cells = html(looks.waiting(), elem_id="card-cells")

    knobs = [what, prompt, version, count, *drawn_with]
    choices = [version, prompt, which, against]
    price = (draw_cost, knobs, [cost])
    drawn = (draw_results, [shown], [results, busy])
    table = (draw_card, [which, against], [cells])
    page.show(
        [(fill_choices, choices, choices), (draw_about, [version], [about]), price, table, (read_floor, [], [floor])],
        live=[drawn],
    )
    page.redraw([version.change], (draw_about, [version], [about]))
    page.redraw([each.change for each in knobs], price)
    page.redraw([which.change, against.change], table)
    page.on(floor.release, move_floor, [floor])
    page.on(go.click, draw_pictures, knobs)
    page.on(run_card.click, start_card, [version])
    page.act(results, results_act, [shown], [shown], then=[drawn])
    page.act(busy, cancel)
    missing.wire(page, cost)
    page.act(cells, card_act, [which], then=[table])


# ── choices ─────────────────────────────────────────────────────────────────────────────────────


def fill_choices(desk: Desk, version: str | None, prompt: str, which: str | None, against: str | None) -> list[Any]:
    """Returns the choices of versions and cards, and a first prompt where the field is empty."""
    store = desk.store
    adopted = store.adopted(Role.CHARACTER)
    in_use = f"in use: {adopted.name}" if adopted else "in use: the base model"
    names = [
        (marked(desk.workplace, adopted.model if adopted else store.character.generator, in_use), IN_USE),
        *(
            (marked(desk.workplace, each.model, f"{each.name} ({each.state.value})"), each.id)
            for each in reversed(_versions(store))
        ),
        (marked(desk.workplace, store.character.generator, "base model, no LoRA"), BASE),
    ]
    chosen = version if version in [value for _, value in names] else IN_USE
    words = prompt or f"{store.character.trigger} {store.character.subject}, smiling, front view"
    cards = [(_card_name(store, each), each.id) for each in reversed(store.cards.all())]
    ids = [value for _, value in cards]
    now = which if which in ids else (ids[0] if ids else None)
    other = against if against in ids else None
    return [
        gr.update(choices=names, value=chosen),
        words,
        gr.update(choices=cards, value=now),
        gr.update(choices=[("nothing", ""), *cards], value=other or ""),
    ]


def _versions(store: Store) -> list[Version]:
    return [each for each in store.versions.all() if each.role is Role.CHARACTER]


def _card_name(store: Store, run: CardRun) -> str:
    named = {each.id: each.name for each in _versions(store)}
    when = run.created[5:16].replace("T", " ")
    return f"{named.get(run.version, 'base model')} · {when}"


def _version_id(store: Store, version: str | None) -> str:
    """Returns the id of a chosen version, "" for the base model."""
    if version in (None, "", IN_USE):
        adopted = store.adopted(Role.CHARACTER)
        return adopted.id if adopted else ""
    return "" if version == BASE else str(version)


def draw_about(desk: Desk, version: str | None) -> Markup:
    """Returns the description of the model that a version draws with."""
    spec = generate.model_spec(desk, _version_id(desk.store, version))
    return view("generate", "about", spec=spec, own=spec.params(GenerateParams))


def draw_cost(desk: Desk, what: str, prompt: str, version: str | None, *knobs: float | None) -> Markup:
    """Returns the time and the memory of each stage for the widgets' values, before a job starts."""
    chosen = _version_id(desk.store, version)
    items = make_items(desk, what, prompt or "a picture", chosen, *knobs)
    fit, seconds = generate.preflight(desk, items, chosen)
    absent = missing.card(desk.workplace, generate.model_spec(desk, chosen).name)
    return absent + view("generate", "cost", count=len(items), seconds=seconds, fit=fit)


# ── drawing ─────────────────────────────────────────────────────────────────────────────────────


def make_items(
    desk: Desk, what: str, prompt: str, version: str, count: float | None, *knobs: float | None
) -> list[GenerateParams]:
    """Returns the items to draw for the widgets' values, one per picture; `knobs` are the values of KNOBS."""
    n, asked = 1 if count is None else int(count), given(KNOBS, knobs)
    if what == SCENES:
        return generate.scene_items(desk, n, version, **asked)
    if what == GAPS:
        return generate.scene_items(desk, n, version, aims=card.missed(desk, version), **asked)
    return generate.prompt_items(desk, [prompt.strip()], n, version, **asked)


def draw_pictures(desk: Desk, what: str, prompt: str, version: str | None, *knobs: float | None) -> None:
    """Queues the pictures for the widgets' values."""
    chosen = _version_id(desk.store, version)
    generate.submit(desk, make_items(desk, what, prompt, chosen, *knobs), chosen)


def start_card(desk: Desk, version: str | None) -> None:
    """Queues the model card of a version."""
    card.submit(desk, _version_id(desk.store, version))


def draw_results(desk: Desk, shown: int) -> tuple[Markup, Markup]:
    """Returns the drawn pictures, newest first, and the running job's progress; pictures set aside are shown dimmed."""
    store = desk.store
    busy = progress_line(active_job(desk, "generate", "card"))
    drawn = list(reversed(store.select(Kind.SYNTHETIC)))
    if not drawn:
        return looks.empty("Nothing drawn yet. “Generate” draws with the chosen version."), busy
    named = {each.id: each.name for each in _versions(store)}
    tiles = [
        looks.tile(each, looks.thumb(store, each.id), badges=_badges(each, named), pick=False) for each in drawn[:shown]
    ]
    made = view(
        "generate",
        "results",
        count=len(drawn),
        aside=sum(each.filtered for each in drawn),
        waiting=sum(each.state is Verdict.PENDING and not each.filtered for each in drawn),
        tiles=tiles,
        more=len(drawn) > shown,
    )
    return made, busy


def _badges(record: ImageRecord, named: Mapping[str, str]) -> Markup:
    scored, value = looks.latest_score(record)
    return view(
        "generate",
        "badges",
        record=record,
        scored=scored,
        value=value,
        drawn_by=named.get(record.version, "base"),
        tone=looks.TONES[record.state],
        verdict="" if record.state is Verdict.PENDING else looks.WORDS[record.state],
    )


def results_act(desk: Desk, data: dict[str, Any], shown: int) -> int:
    """Handles the button that shows more pictures; returns the number to show."""
    return shown + PAGE if data.get("act") == "more" else shown


def cancel(desk: Desk, data: dict[str, Any]) -> None:
    """Cancels the job whose button was clicked."""
    desk.workplace.jobs.cancel(str(data.get("job", "")))


# ── the identity filter ─────────────────────────────────────────────────────────────────────────


def read_floor(desk: Desk) -> Any:
    """Returns the identity filter's threshold, once there are pictures to filter."""
    if not desk.store.select(Kind.SYNTHETIC):
        return gr.skip()
    return min(max(round(generate.threshold(desk), 2), 0.0), 1.0)


def move_floor(desk: Desk, floor: float) -> None:
    """Sets the identity filter's threshold and applies it to the pictures without a verdict."""
    generate.set_threshold(desk, float(floor))


# ── the model card ──────────────────────────────────────────────────────────────────────────────


def draw_card(desk: Desk, which: str | None, against: str | None) -> Markup:
    """Returns the 5 × 4 + 3 cells of a card, its first-try rate, and its comparison with the card `against`."""
    store = desk.store
    if not which:
        return looks.empty("The model card draws 23 standard pictures and says what the version can do. Run it once.")
    run = card.get(store, which)
    head = rate_line(run) + (compare_line(store, card.get(store, against), run) if against else Markup())
    by_name = {cell.cell: cell for cell in run.cells if cell.seed == run.seeds[0]}
    return view(
        "generate",
        "card",
        head=head,
        axes=list(card.summary(run).axes.items()),
        show=card.SHOWN if card.misses(run) else 0,
        angles=ANGLES,
        rows=[(mood, [_cell(store, by_name.get(f"{angle} {mood}")) for angle in ANGLES]) for mood in EXPRESSIONS],
        poses=[_cell(store, by_name.get(pose), pose) for pose in CARD_POSES],
    )


def rate_line(run: CardRun) -> Markup:
    """Returns the first-try rate of the judged cells, with its interval and the target."""
    found = card.summary(run)
    tone, reached = _GOALS[found.goal]
    return view(
        "generate",
        "rate",
        first=found.first_try,
        tone=tone,
        words=judged_words(found.first_try),
        target=looks.share(card.TARGET),
        reached=reached,
        notes=found.notes,
    )


def judged_words(rate: Rate) -> str:
    """Returns a rate as text: `18 of 20 judged cells right, 3 unknown`."""
    unknown = f", {rate.unknown} unknown" if rate.unknown else ""
    return f"{rate.k} of {rate.judged} judged cells right{unknown}"


def compare_line(store: Store, before: CardRun, after: CardRun) -> Markup:
    """Returns the comparison of two cards on the same cells and seeds."""
    pair = card.compare(before, after)
    names = {"before": _card_name(store, before), "after": _card_name(store, after)}
    return view("generate", "compared", **names, pair=pair, many=pair.pairs > len(CARD_CELLS))


def _cell(store: Store, cell: Cell | None, label: str = "") -> Markup:
    """Returns a cell's picture with its outcome; `label` names the cell where its column does not."""
    if cell is None:
        return view("generate", "no_cell")
    mark, tone = _MARKS.get(cell.headline, ("?", "warn"))
    axes = ", ".join(f"{name}: {outcome}" for name, outcome in cell.axes.items())
    return view(
        "generate",
        "cell",
        cell=cell,
        picture=looks.picture(looks.thumb(store, cell.image), cell.cell),
        mark=mark,
        tone=tone,
        hint=f"{cell.cell} – {axes}",
        label=label,
        words=_WORDS,
    )


def card_act(desk: Desk, data: dict[str, Any], which: str | None) -> Said | None:
    """Handles a click on a card: overrules a cell's outcome, or queues edits that show what the card missed."""
    if which and data.get("act") == "overrule":
        overrule(desk, which, str(data["cell"]), int(data["seed"]), _WORDS[str(data["says"])])
    elif which and data.get("act") == "show":
        aims = card.lessons(card.get(desk.store, which))
        rows = enrich.plan(desk, limit=card.SHOWN, aims=aims).rows
        enrich.demand_new(desk, rows)
        job = enrich.submit(desk, rows)
        return Said(f"{job.title} of what the card missed, in the queue. Review them, then train the next version.")
    return None


def overrule(desk: Desk, which: str, cell: str, seed: int, right: bool) -> None:
    """Sets a human's verdict on a cell; the same verdict again removes it, so that the judge's holds."""
    cells = desk.store.cards.get(which).cells
    human = next((each.human for each in cells if (each.cell, each.seed) == (cell, seed)), None)
    card.set_human(desk, which, cell, seed, None if human is right else right)
