"""Generate: new scenes with a version, the identity filter, and the model card."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engines.api.params import GenerateParams
from engines.wording import words
from studio.flywheel import card, generate
from studio.flywheel.enrich import edits as enrich
from studio.records.card import CardRun, Cell
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.nouns import ANGLES, EXPRESSIONS, POSES
from studio.records.outcome import Rate
from studio.records.version import Version
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.knobs import first_block_cache, marked
from tabs.common.shell import Page, Said, active_job, html, progress_line

BASE, IN_USE = "base", "in use"
OWN, SCENES, GAPS = "My prompt", "New scenes", "Card gaps"
PAGE = 60
_MARKS = {"pass": ("✓", "good"), "fail": ("✗", "bad"), "unknown": ("?", "warn")}
_WORDS = {"right": True, "wrong": False}
_GOALS = {"met": ("good", "met"), "missed": ("warn", "not met"), "open": ("", "open")}


def build(page: Page) -> None:
    """Lay out the tab."""
    shown = gr.State(PAGE)
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=3, elem_classes="fl-side"):
            what = gr.Radio([OWN, SCENES, GAPS], value=OWN, label="What to draw", elem_id="generate-what")
            prompt = gr.Textbox(label="Prompt", lines=2, elem_id="generate-prompt")
            with gr.Row():
                version = gr.Dropdown([("in use", IN_USE)], value=IN_USE, label="Version", elem_id="generate-version")
                count = gr.Number(4, label="Pictures", precision=0, elem_id="generate-count")
            with gr.Accordion("Advanced", open=False):
                with gr.Row():
                    seed = gr.Number(0, label="First seed", precision=0)
                    steps = gr.Number(0, label="Steps (0: its own)", precision=0)
                    guidance = gr.Number(0, label="Guidance (0: its own)")
                skip = first_block_cache("generate-skip")
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

    knobs = [what, prompt, version, count, seed, steps, guidance, skip]
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
    page.act(cells, card_act, [which], then=[table])


# ── choices ─────────────────────────────────────────────────────────────────────────────────────


def fill_choices(desk: Desk, version: str | None, prompt: str, which: str | None, against: str | None) -> list[Any]:
    """Versions, a first prompt, and the cards there are."""
    store = desk.store
    names = [
        _in_use(desk),
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


def _in_use(desk: Desk) -> tuple[str, str]:
    """The choice that follows what is adopted, named by it."""
    adopted = desk.store.adopted(Role.CHARACTER)
    words = f"in use: {adopted.name}" if adopted else "in use: the base model"
    return (marked(desk.workplace, adopted.model if adopted else desk.store.character.generator, words), IN_USE)


def _version_id(store: Store, version: str | None) -> str:
    """The version that a choice means, "" for the base model."""
    if version in (None, "", IN_USE):
        adopted = store.adopted(Role.CHARACTER)
        return adopted.id if adopted else ""
    return "" if version == BASE else str(version)


def draw_about(desk: Desk, version: str | None) -> str:
    """Which model draws, and what it is."""
    store = desk.store
    spec = generate.model_spec(desk, _version_id(store, version))
    toy = looks.chip("embedded toy world", "", spec.note) if spec.toy else ""
    own = spec.params(GenerateParams)
    return (
        f'<p class="fl-quiet">{looks.esc(spec.name)} {toy} · {own.steps} steps · guidance {own.guidance:g} · '
        f"{own.width} × {own.height} · {looks.esc(spec.licence)}</p>"
    )


def draw_cost(desk: Desk, what: str, prompt: str, version: str | None, *knobs: float | None) -> str:
    """Time and memory, stage by stage, before anything starts."""
    chosen = _version_id(desk.store, version)
    items = make_items(desk, what, prompt or "a picture", chosen, *knobs)
    fit, seconds = generate.preflight(desk, items, chosen)
    time = f"about {looks.duration(seconds)}" if seconds else "time not measured yet"
    return (
        f'<div class="fl-line"><b class="fl-big">{looks.plural(len(items), "picture")}</b>'
        f"<span>{looks.esc(time)}</span>{looks.fit(fit)}</div>"
    )


# ── drawing ─────────────────────────────────────────────────────────────────────────────────────


def make_items(
    desk: Desk,
    what: str,
    prompt: str,
    version: str,
    count: float | None,
    seed: float | None,
    steps: float | None,
    guidance: float | None,
    skip: float | None = 0,
) -> list[GenerateParams]:
    """What the widgets ask for, one item a picture."""
    first, n = int(seed or 0), 1 if count is None else int(count)
    knobs: dict[str, Any] = {}
    if steps:
        knobs["steps"] = int(steps)
    if guidance:
        knobs["guidance"] = float(guidance)
    if skip:
        knobs["first_block_cache"] = float(skip)
    if what == SCENES:
        return generate.scene_items(desk, n, version, first, **knobs)
    if what == GAPS:
        aims = card.missed(desk, version)
        return generate.scene_items(desk, n, version, first, aims, **knobs)
    return generate.prompt_items(desk, [prompt.strip()], n, version, first, **knobs)


def draw_pictures(
    desk: Desk,
    what: str,
    prompt: str,
    version: str | None,
    count: float | None,
    *knobs: float | None,
) -> None:
    """Queue the pictures."""
    chosen = _version_id(desk.store, version)
    items = make_items(desk, what, prompt, chosen, count, *knobs)
    generate.submit(desk, items, chosen)


def start_card(desk: Desk, version: str | None) -> None:
    """Queue the model card of a version."""
    card.submit(desk, _version_id(desk.store, version))


def draw_results(desk: Desk, shown: int) -> tuple[str, str]:
    """What was drawn, newest first; what the filter set aside stays visible, dim."""
    store = desk.store
    busy = progress_line(active_job(desk, "generate", "card"))
    drawn = list(reversed(store.select(Kind.SYNTHETIC)))
    if not drawn:
        return looks.empty("Nothing drawn yet. “Generate” draws with the chosen version."), busy
    named = {each.id: each.name for each in _versions(store)}
    tiles = [
        looks.tile(each, looks.thumb(store, each.id), badges=_badges(each, named), pick=False) for each in drawn[:shown]
    ]
    aside = sum(each.filtered for each in drawn)
    waiting = sum(each.state is Verdict.PENDING and not each.filtered for each in drawn)
    words = f"{looks.plural(len(drawn), 'picture')}, {aside} set aside by the identity filter"
    link = looks.go(f"Review {waiting} ▸", "Review") if waiting else ""
    more = looks.button("Show more", "more") if len(drawn) > shown else ""
    head = f'<div class="fl-spread"><p class="fl-quiet">{words}</p>{link}</div>'
    return f"{head}{looks.grid(tiles, 'large')}{more}", busy


def _badges(record: ImageRecord, named: dict[str, str]) -> str:
    scored, value = looks.latest_score(record)
    parts = [looks.score(value)] if scored else []
    parts.append(looks.chip(named.get(record.version, "base")))
    if record.state is not Verdict.PENDING:
        parts.append(looks.chip(looks.WORDS[record.state], looks.TONES[record.state]))
    elif record.filtered:
        parts.append(looks.chip("set aside"))
    parts += [looks.chip(name.replace("_", " "), "warn", str(words)) for name, words in record.advice.items()]
    return "".join(parts)


def results_act(desk: Desk, data: dict[str, Any], shown: int) -> int:
    """Show more."""
    return shown + PAGE if data.get("act") == "more" else shown


def cancel(desk: Desk, data: dict[str, Any]) -> None:
    """Cancel the job whose button was clicked."""
    desk.workplace.jobs.cancel(str(data.get("job", "")))


# ── the identity filter ─────────────────────────────────────────────────────────────────────────


def read_floor(desk: Desk) -> Any:
    """Where the filter stands, once there is something to filter."""
    if not desk.store.select(Kind.SYNTHETIC):
        return gr.skip()
    return min(max(round(generate.threshold(desk), 2), 0.0), 1.0)


def move_floor(desk: Desk, floor: float) -> None:
    """Move the filter; pictures that nobody judged yet follow."""
    generate.set_threshold(desk, float(floor))


# ── the model card ──────────────────────────────────────────────────────────────────────────────


def draw_card(desk: Desk, which: str | None, against: str | None) -> str:
    """The 5 × 4 + 3 cells of a card, its first-try rate, and a paired comparison."""
    store = desk.store
    if not which:
        return looks.empty("The model card draws 23 standard pictures and says what the version can do. Run it once.")
    run = card.get(store, which)
    head = rate_line(run) + (compare_line(store, card.get(store, against), run) if against else "")
    show = looks.button("Let the editor show what it missed", "show", hint=f"{card.SHOWN} edits, for you to review")
    by_name = {cell.cell: cell for cell in run.cells if cell.seed == run.seeds[0]}
    parts = ["<span></span>", *(f"<span>{looks.esc(angle)}</span>" for angle in ANGLES)]
    for mood in EXPRESSIONS:
        parts.append(f"<span>{looks.esc(mood)}</span>")
        parts += [_cell(store, by_name.get(f"{angle} {mood}")) for angle in ANGLES]
    parts.append("<span>full body</span>")
    parts += [_cell(store, by_name.get(pose), pose) for pose in ("T-pose", *(p for p in POSES if p != "T-pose"))]
    axes = "".join(_axis(name, rate) for name, rate in card.summary(run).axes.items())
    buttons = axes + (show if card.misses(run) else "")
    return f'{head}<div class="fl-buttons">{buttons}</div><div class="fl-card">{"".join(parts)}</div>'


def rate_line(run: CardRun) -> str:
    """The first-try rate of the cells that could be judged, with its interval, against the target."""
    found = card.summary(run)
    first = found.first_try
    tone, reached = _GOALS[found.goal]
    notes = "".join(f'<p class="fl-quiet">{looks.esc(note)}</p>' for note in found.notes)
    return (
        f'<div class="fl-line"><span>right on the first try <b class="fl-big {tone}">{looks.share(first.rate)}</b>'
        f"</span><span>{looks.bar(first.rate or 0, 1, tone)}</span>"
        f"<small>{judged_words(first)}, 95 % interval {first.low:.0%}–{first.high:.0%} · "
        f"target {card.TARGET:.0%}: {reached}</small></div>{notes}"
    )


def judged_words(rate: Rate) -> str:
    """`18 of 20 judged cells right, 3 unknown`."""
    unknown = f", {rate.unknown} unknown" if rate.unknown else ""
    return f"{rate.k} of {rate.judged} judged cells right{unknown}"


def _axis(name: str, rate: Rate) -> str:
    unknown = f" · {rate.unknown} unknown" if rate.unknown else ""
    return looks.chip(f"{name} {rate.k}/{rate.judged}{unknown}", "", "right of what could be judged, first try")


def compare_line(store: Store, before: CardRun, after: CardRun) -> str:
    """Two cards on the same cells and seeds."""
    pair = card.compare(before, after)
    unknown = f" ({pair.unknown} more could not be judged on both)" if pair.unknown else ""
    why = "; the figure above counts the first seed alone" if pair.pairs > len(words.CARD_CELLS) else ""
    return (
        f'<p class="fl-quiet">{looks.esc(_card_name(store, before))} {looks.share(pair.rate_a)} → '
        f"{looks.esc(_card_name(store, after))} {looks.share(pair.rate_b)} on {pair.judged} pictures of the same "
        f"cell and seed{unknown}{why} · {pair.only_b} gained, {pair.only_a} lost · "
        f"{looks.esc(looks.chance(pair.p))}</p>"
    )


def _cell(store: Store, cell: Cell | None, label: str = "") -> str:
    """A picture with its verdict; `label` where its column does not say what it shows."""
    if cell is None:
        return '<div class="fl-cell"></div>'
    verdict = cell.headline
    mark, tone = _MARKS.get(verdict, ("?", "warn"))
    axes = ", ".join(f"{name}: {outcome}" for name, outcome in cell.axes.items())
    hint = f"{cell.cell} – {axes}"
    below = f"<em>{looks.esc(label)}</em>" if label else ""
    return (
        f'<div class="fl-cell {tone}" title="{looks.esc(hint)}">'
        f"{looks.picture(looks.thumb(store, cell.image), cell.cell)}<b class='{tone}'>{mark}</b>"
        f"{below}{_switch(cell)}</div>"
    )


def _switch(cell: Cell) -> str:
    """Two buttons for a human's word on a cell; the one that stands is lit, and takes it back."""
    human, buttons = cell.human, ""
    for word, says in _WORDS.items():
        stands = human is says
        hint = "You said so. Press again to take it back." if stands else f"Overrule: {cell.cell} is {word}."
        tone = "small on" if stands else "small"
        buttons += looks.button(word, "overrule", tone=tone, hint=hint, cell=cell.cell, seed=str(cell.seed), says=word)
    return f'<div class="fl-tight">{buttons}{looks.chip("by you") if human is not None else ""}</div>'


def card_act(desk: Desk, data: dict[str, Any], which: str | None) -> Said | None:
    """A click on a card: a cell's outcome overruled, or edits queued of all that it missed."""
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
    """A human's word on a cell; the same word again takes it back, and the machine's stands."""
    cells = desk.store.cards.get(which).cells
    human = next((each.human for each in cells if (each.cell, each.seed) == (cell, seed)), None)
    card.set_human(desk, which, cell, seed, None if human is right else right)
