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
from studio.records.outcome import Rate
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, html
from tabs.common.versions import version_id

VIEW = "card"  # the id of its sub-tab
_WORDS = {"right": True, "wrong": False}
_GOALS = {"met": ("good", "met"), "missed": ("warn", "not met"), "open": ("", "open")}


@dataclass(frozen=True)
class CardView:
    """Holds the widgets of the sub-tab that shows a model card, the evaluation of a LoRA version.

    `which` chooses the model card, `against` another one to compare with; `cells` is the block of HTML that shows them.
    `awaited` is a hidden field with the id of the job that was started on this page, "" once the job has ended.
    """

    which: gr.Dropdown
    against: gr.Dropdown
    cells: gr.HTML
    awaited: gr.Textbox

    @classmethod
    def lay_out(cls) -> CardView:
        """Creates the sub-tab's widgets at the present place of the Gradio layout and returns them."""
        with gr.Row():
            which = gr.Dropdown([], label="Model card of", elem_id="card-which")
            against = gr.Dropdown([], label="Compare with", elem_id="card-against")
        return cls(which, against, html(looks.waiting(), elem_id="card-cells"), gr.Textbox(visible="hidden"))

    def wire(self, page: Page, views: gr.Tabs, run: gr.Button, price: gr.HTML, version: gr.Dropdown) -> list[Render]:
        """Connects the sub-tab's widgets with their handlers; returns the functions that fill them, for `Page.show`.

        Each function comes with its input and output widgets. `views` are the sub-tabs, so that this one can be opened.
        `run` is the button that starts a model card, `version` the drop-down of the version to evaluate, `price` the
        block that tells how long it will take.
        """
        chosen = [self.which, self.against]
        known = [*chosen, self.awaited]
        table: Render = (draw_card, chosen, [self.cells])
        told: Render = (draw_price, [version], [price])
        page.redraw([version.change], told)
        page.redraw([each.change for each in chosen], table)
        page.on(run.click, start, [version], [self.awaited])
        page.act(self.cells, card_act, [self.which], then=[table])
        return [(fill_cards, known, [*known, views]), table, told]


def fill_cards(desk: Desk, which: str | None, against: str | None, awaited: str = "") -> list[Any]:
    """Returns four Gradio updates: the drop-downs `which` and `against`, the awaited job's id, and the open sub-tab.

    `which` and `against` are the ids of the chosen model cards; `awaited` is the id of a job that makes a model card,
    "" for none. Once that model card exists, it is chosen and the sub-tab of model cards opens. The job's id is then
    replaced by "", and also when the job ends without a model card.
    """
    store = desk.store
    cards = [(card_name(store, each), each.id) for each in reversed(store.cards.all())]
    ids = [value for _, value in cards]
    job = next((each for each in desk.workplace.jobs.list(desk.id) if each.id == awaited), None)
    arrived = job is not None and job.artifacts.card in ids
    ended = job is not None and not job.state.is_under_way
    now = awaited if arrived else which if which in ids else (ids[0] if ids else None)
    return [
        gr.update(choices=cards, value=now),
        gr.update(choices=[("nothing", ""), *cards], value=against if against in ids else ""),
        "" if arrived or ended else awaited,
        gr.Tabs(selected=VIEW) if arrived else gr.skip(),
    ]


def card_name(store: Store, run: CardRun) -> str:
    """Returns a model card's label for the user: the version's name and the card's time, such as `v2, today 02:22`."""
    version = store.versions.peek(run.version)
    return f"{version.name if version else 'base model'}, {when(datetime.fromisoformat(run.created))}"


def when_words(created: str) -> str:
    """Returns the time of a record, which is ISO 8601 in UTC, as text in this machine's time zone (see `when`)."""
    return when(datetime.fromisoformat(created))


def when(moment: datetime) -> str:
    """Returns a moment as text in this machine's time zone: `today 14:05`, `yesterday 23:10`, `28 Nov 09:00`."""
    local, today = moment.astimezone(), datetime.now().astimezone().date()
    days = {today: "today", today - timedelta(days=1): "yesterday"}
    year = "" if local.year == today.year else f" {local.year}"
    return f"{days.get(local.date(), f'{local.day} {local:%b}{year}')} {local:%H:%M}"


def draw_price(desk: Desk, version: str | None) -> Markup:
    """Returns as HTML how many pictures the model card of a version draws, and the predicted time where it is known.

    `version` is a choice of the drop-down: a version's id, or a word for the version in use or the base model.
    """
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


def start(desk: Desk, version: str | None) -> Said:
    """Queues a job that makes the model card of a version, and returns a notice with the job's id.

    `version` is a choice of the drop-down: a version's id, or a word for the version in use or the base model.
    """
    job = card.submit(desk, version_id(desk.store, version))
    return Said(f"{job.title} is in the queue. It appears here when it is done.", job.id)


def draw_card(desk: Desk, which: str | None, against: str | None) -> Markup:
    """Returns a model card as HTML: its first-try rate, the rate of each axis such as identity, and all its pictures.

    The first-try rate is the share of right pictures among those of the first seed. `which` is the id of the model
    card, None for none; `against` is the id of another one to compare with, None or "" for none. Where the user's next
    step is to make the model card of a version, a button for that stands at the top.
    """
    store, step = desk.store, next_step(desk)
    wanted = store.versions.peek(step.version)
    asked = view("generate", "card_wanted", version=wanted, words=step.words) if wanted else Markup()
    if not which:
        told = looks.empty("The model card draws 23 standard pictures and says what the version can do. Run it once.")
        return asked + told
    run = card.get(store, which)
    head = rate_line(desk, run) + (compare_line(store, card.get(store, against), run) if against else Markup())
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


def rate_line(desk: Desk, run: CardRun) -> Markup:
    """Returns as HTML a model card's first-try rate, with its 95 % interval, the target, and what read the pictures.

    The first-try rate is the share of right pictures among those of the first seed that could be judged.
    """
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
        notes=(*found.notes, *card.reading_notes(desk, run)),
    )


def judged_words(rate: Rate) -> str:
    """Returns a model card's rate as text, such as `18 of 20 judged cells right, 3 unknown`.

    A cell is one of the standard pictures of a model card.
    """
    unknown = f", {rate.unknown} unknown" if rate.unknown else ""
    return f"{rate.k} of {rate.judged} judged cells right{unknown}"


def compare_line(store: Store, before: CardRun, after: CardRun) -> Markup:
    """Returns as HTML how the rates of two model cards differ, over the pictures that both have.

    `before` and `after` are the model cards. Pictures are matched by their standard prompt (cell) and seed.
    """
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
    """Handles a click on a model card and returns a notice of what was queued, None where nothing was.

    `data` comes from the clicked element: its `act` is `run` (queue a version's model card), `overrule` (set the user's
    own verdict on a cell) or `show` (queue edits that show the angles, expressions and poses that failed). `which` is
    the id of the model card, None for none.
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
    """Sets the user's verdict on one picture of a model card: right or not; giving the same verdict again removes it.

    `which` is the id of the model card. `cell`, the name of the picture's standard prompt, and `seed` tell which
    picture it is. Without a user's verdict the automatic one counts.
    """
    cells = desk.store.cards.get(which).cells
    human = next((each.human for each in cells if (each.cell, each.seed) == (cell, seed)), None)
    card.set_human(desk, which, cell, seed, None if human is right else right)
