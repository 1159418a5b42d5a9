"""The model card's part of the Generate tab: 23 standard pictures of a version, and what they say of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.axes import ANGLES, EXPRESSIONS
from engines.wording.cells import CARD_CELLS, CARD_POSES
from studio.flywheel import card, generate
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.next_step import next_step
from studio.records.card import CardRun, Cell
from studio.records.job import JobState
from studio.records.outcome import Rate
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Page, Said, html
from tabs.common.versions import version_id, versions

VIEW = "card"  # the id of its sub-tab
_WORDS = {"right": True, "wrong": False}
_GOALS = {"met": ("good", "met"), "missed": ("warn", "not met"), "open": ("", "open")}


@dataclass(frozen=True)
class CardView:
    """Holds the widgets of the model card's sub-tab.

    `which` is the shown model card, `against` the one to compare with; `awaited` holds the id of a job that was started
    on this page and whose model card is not shown yet.
    """

    which: gr.Dropdown
    against: gr.Dropdown
    cells: gr.HTML
    awaited: gr.Textbox

    @classmethod
    def lay_out(cls) -> CardView:
        """Lays out the sub-tab at the present place of the page and returns its widgets."""
        with gr.Row():
            which = gr.Dropdown([], label="Model card of", elem_id="card-which")
            against = gr.Dropdown([], label="Compare with", elem_id="card-against")
        return cls(which, against, html(looks.waiting(), elem_id="card-cells"), gr.Textbox(visible="hidden"))

    def wire(self, page: Page, views: gr.Tabs, run: gr.Button, price: gr.HTML, version: gr.Dropdown) -> None:
        """Connects the sub-tab with its handlers.

        `views` are the sub-tabs; the button `run` starts a model card of the chosen `version`; `price` shows what it
        costs.
        """
        chosen = [self.which, self.against]
        known = [*chosen, self.awaited]
        table = (draw_card, chosen, [self.cells])
        told = (draw_price, [version], [price])
        page.show([(fill_cards, known, [*known, views]), table, told])
        page.redraw([version.change], told)
        page.redraw([each.change for each in chosen], table)
        page.on(run.click, start, [version], [self.awaited])
        page.act(self.cells, card_act, [self.which], then=[table])


def fill_cards(desk: Desk, which: str | None, against: str | None, awaited: str = "") -> list[Any]:
    """Returns updates: both choices of model cards, the awaited job's id, and the sub-tab to open.

    When the job `awaited` is done, its model card is chosen and its sub-tab opens. Until then the chosen ones stay.
    """
    store = desk.store
    cards = [(card_name(store, each), each.id) for each in reversed(store.cards.all())]
    ids = [value for _, value in cards]
    job = next((each for each in desk.workplace.jobs.list(desk.id) if each.id == awaited), None)
    arrived = job is not None and job.artifacts.card in ids
    ended = job is not None and job.state not in (JobState.QUEUED, JobState.RUNNING)
    now = awaited if arrived else which if which in ids else (ids[0] if ids else None)
    return [
        gr.update(choices=cards, value=now),
        gr.update(choices=[("nothing", ""), *cards], value=against if against in ids else ""),
        "" if arrived or ended else awaited,
        gr.Tabs(selected=VIEW) if arrived else gr.skip(),
    ]


def card_name(store: Store, run: CardRun) -> str:
    """Returns a model card's version and time as text: `v2, today 02:22`."""
    named = {each.id: each.name for each in versions(store)}
    return f"{named.get(run.version, 'base model')}, {when(datetime.fromisoformat(run.created))}"


def when(moment: datetime) -> str:
    """Returns a moment as text in this machine's time zone: `today 14:05`, `yesterday 23:10`, `28 Nov 09:00`."""
    local, today = moment.astimezone(), datetime.now().astimezone().date()
    days = {today: "today", today - timedelta(days=1): "yesterday"}
    year = "" if local.year == today.year else f" {local.year}"
    return f"{days.get(local.date(), f'{local.day} {local:%b}{year}')} {local:%H:%M}"


def draw_price(desk: Desk, version: str | None) -> Markup:
    """Returns as HTML how many pictures a version's model card draws, and about how long that takes."""
    chosen = version_id(desk.store, version)
    items = card.card_items(desk, chosen)
    _, seconds = generate.preflight(desk, items, chosen)
    found = desk.store.versions.peek(chosen)
    return view(
        "generate",
        "card_price",
        name=found.name if found else "the base model",
        cells=len(CARD_CELLS),
        seeds=len(card.SEEDS),
        count=len(items),
        seconds=seconds,
    )


def start(desk: Desk, version: str | None) -> str:
    """Queues the model card of the chosen version and returns the id of the job."""
    return card.submit(desk, version_id(desk.store, version)).id


def draw_card(desk: Desk, which: str | None, against: str | None) -> Markup:
    """Returns a model card as HTML: its first-try rate, the rate of each axis, and its 5 × 4 + 3 cells.

    `which` is the id of the model card, None for none; `against` is that of another one to compare with, "" for none.
    Above it stands the offer of a version's model card where that is the next step.
    """
    store, step = desk.store, next_step(desk)
    wanted = store.versions.peek(step.version)
    asked = view("generate", "card_wanted", version=wanted, words=step.words) if wanted else Markup()
    if not which:
        told = looks.empty("The model card draws 23 standard pictures and says what the version can do. Run it once.")
        return asked + told
    run = card.get(store, which)
    head = rate_line(run) + (compare_line(store, card.get(store, against), run) if against else Markup())
    by_name = {cell.cell: cell for cell in run.cells if cell.seed == run.seeds[0]}
    return asked + view(
        "generate",
        "card",
        head=head,
        next=step.step == "Model card" and not wanted,
        axes=list(card.summary(run).axes.items()),
        show=card.SHOWN if card.misses(run) else 0,
        angles=ANGLES,
        rows=[(mood, [_cell(store, by_name.get(f"{angle} {mood}")) for angle in ANGLES]) for mood in EXPRESSIONS],
        poses=CARD_POSES,
        bodies=[_cell(store, by_name.get(pose)) for pose in CARD_POSES],
    )


def rate_line(run: CardRun) -> Markup:
    """Returns as HTML a model card's first-try rate, with its 95 % interval and the target."""
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
    """Returns as HTML how two model cards differ on the cells and seeds that both have."""
    pair = card.compare(before, after)
    names = {"before": card_name(store, before), "after": card_name(store, after)}
    return view("generate", "compared", **names, pair=pair, many=pair.pairs > len(CARD_CELLS))


def _cell(store: Store, cell: Cell | None) -> Markup:
    """Returns a cell's picture with its outcome as HTML; a blank for None."""
    if cell is None:
        return view("generate", "no_cell")
    mark, tone = looks.MARKS[cell.headline]
    axes = ", ".join(f"{name}: {outcome}" for name, outcome in cell.axes.items())
    return view(
        "generate",
        "cell",
        cell=cell,
        picture=looks.picture(looks.thumb(store, cell.image), cell.cell, enlarge=cell.image),
        mark=mark,
        tone=tone,
        hint=f"{cell.cell} – {axes}",
        words=_WORDS,
    )


def card_act(desk: Desk, data: dict[str, Any], which: str | None) -> Said | None:
    """Handles a click on the model card `which`: overrules a cell's outcome, or queues edits of what was missed.

    The edits show the angles, expressions and poses of the failed cells; they wait for review. The act `run` queues a
    version's model card.
    """
    if data.get("act") == "run":
        job = card.submit(desk, str(data.get("version", "")))
        return Said(f"{job.title} is in the queue. It appears here when it is done.")
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
    """Sets the user's verdict on a cell of a model card; the same verdict again removes it.

    Without a user's verdict the judge's holds.
    """
    cells = desk.store.cards.get(which).cells
    human = next((each.human for each in cells if (each.cell, each.seed) == (cell, seed)), None)
    card.set_human(desk, which, cell, seed, None if human is right else right)
