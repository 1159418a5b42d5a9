"""The model card's sub-tab."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from engines.wording.cells import CARD_CELLS
from studio.flywheel.train import keeping
from studio.records.card import CardRun, Cell
from studio.records.character import Character
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind
from studio.records.outcome import Outcome
from studio.records.version import Version
from studio.workplace.desk import Workplace
from tabs import card
from tests.tabs.waiting import ended


def test_the_card_shows_cells_rate_and_interval(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Marks, rate and interval; and a click that has the editor show what was missed."""
    image = add(Kind.CARD).id
    cells = tuple(
        Cell(cell=name, seed=0, image=image, identity=0.5, axes={"angle": Outcome.FAIL}, verdict=Outcome.FAIL)
        for name in ("front neutral", "T-pose")
    )
    cards = studio.store(anna.id).cards
    cards.put(CardRun(id="c1", version="", job="j", seeds=(0,), cells=cells))
    shown = card.draw_card(studio.desk(anna.id), "c1", None)
    assert shown.count("✗") == 2
    assert "<span>T-pose</span><span>standing</span><span>sitting</span><span>full body</span>" in shown
    assert "0 of 2 judged cells right, 95 %" in shown
    assert "target 80%: not met" in shown
    add(Kind.SOURCE)
    card.card_act(studio.desk(anna.id), {"act": "show"}, "c1")
    (job,) = studio.jobs.list()
    assert {next(iter(row["asked"].items())) for row in job.payload["rows"]} >= {("pose", "T-pose")}


def _cell(image: str, name: str, seed: int, verdict: str) -> Cell:
    return Cell(cell=name, seed=seed, image=image, axes={}, verdict=Outcome(verdict))


def _put(studio: Workplace, anna: Character, name: str, cells: list[Cell], seeds: tuple[int, ...]) -> None:
    made = CardRun(id=name, version="", job="j", seeds=seeds, cells=tuple(cells), originals=4)
    studio.store(anna.id).cards.put(made)


def test_a_cell_is_overruled_by_its_own_buttons_and_says_so(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A click on the picture does nothing; right and wrong each stand until the same button takes them back."""
    _put(studio, anna, "c1", [_cell(add(Kind.CARD).id, "T-pose", 0, "unknown")], (0,))
    cards = studio.store(anna.id).cards
    shown = card.draw_card(studio.desk(anna.id), "c1", None)
    assert "fl-open" not in shown
    assert shown.count('data-act="overrule"') == 2
    assert "by you" not in shown and " on" not in shown.partition("fl-tight")[2]

    for says, human in (("right", True), ("wrong", False), ("wrong", None), ("right", True), ("right", None)):
        act = {"act": "overrule", "cell": "T-pose", "seed": "0", "says": says}
        card.card_act(studio.desk(anna.id), act, "c1")
        assert cards.get("c1").cells[0].human is human
        assert ("by you" in card.draw_card(studio.desk(anna.id), "c1", None)) is (human is not None)


def test_a_card_says_what_could_not_be_judged(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Unknown cells are beside the rate, leave the goal open, and what to do about them is said."""
    image = add(Kind.CARD).id
    verdicts = ["pass"] * 3 + ["unknown"] * 2
    names = ["front neutral", "front sad", "front angry", "profile-left sad", "profile-right sad"]
    cells = [_cell(image, name, 0, verdict) for name, verdict in zip(names, verdicts, strict=True)]
    _put(studio, anna, "c1", cells, (0,))

    shown = card.draw_card(studio.desk(anna.id), "c1", None)

    assert "3 of 3 judged cells right, 2 unknown" in shown
    assert "target 80%: open" in shown
    assert "2 of 5 cells could not be judged" in shown


def test_a_card_of_which_nothing_is_known_is_drawn(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """No rate is a question mark, alone and beside another card."""
    _put(studio, anna, "c1", [_cell(add(Kind.CARD).id, "T-pose", 0, "unknown")], (0,))
    shown = card.draw_card(studio.desk(anna.id), "c1", "c1")
    assert ">?</b>" in shown
    assert "0 of 0 judged cells right, 1 unknown" in shown
    assert "? → " in shown and "on 0 pictures" in shown


def test_two_cards_say_how_sure_their_difference_is_and_why_the_rates_differ(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A small p is never 0, and a comparison on every seed says that the figure above is of the first."""
    image, names = add(Kind.CARD).id, [cell.name for cell in CARD_CELLS]
    for run, verdict in (("c1", "fail"), ("c2", "pass")):
        cells = [_cell(image, name, seed, verdict) for seed in (0, 1) for name in names]
        _put(studio, anna, run, cells, (0, 1))

    shown = card.draw_card(studio.desk(anna.id), "c2", "c1")

    assert "p &lt; 0.001" in shown
    assert "0% → " in shown and "on 46 pictures" in shown
    assert "the figure above counts the first seed alone" in shown


def test_a_perfect_card_offers_no_lessons(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """Where nothing was missed, the editor has nothing to show."""
    _put(studio, anna, "c1", [_cell(add(Kind.CARD).id, "T-pose", 0, "pass")], (0,))
    assert "what it missed" not in card.draw_card(studio.desk(anna.id), "c1", None)


def test_a_card_says_before_what_it_takes(studio: Workplace, anna: Character) -> None:
    """Cells, seeds and pictures; the time once a drawing was measured. Nothing is queued by looking."""
    shown = card.draw_price(studio.desk(anna.id), None)
    assert "23 cells × 3 seeds = 69 pictures, time not measured yet" in shown
    assert studio.jobs.list() == []


def test_a_card_that_was_asked_for_shows_itself_when_it_is_done(studio: Workplace, anna: Character) -> None:
    """While it runs it is awaited; done, it is chosen, its sub-tab opens once, and it has a name one can read."""
    desk = studio.desk(anna.id)
    job = card.start(desk, None).values
    which, _, awaited, views = card.fill_cards(desk, None, None, job)
    assert (which["value"], awaited) == (None, job) and "selected" not in str(views)
    studio.jobs.start()
    ended(studio, studio.jobs.get(job))

    which, _, awaited, views = card.fill_cards(desk, None, None, job)

    assert (which["value"], awaited, views.selected) == (job, "", card.VIEW)
    (name, _), *_ = which["choices"]
    assert re.fullmatch(r"base model, (today|yesterday) \d\d:\d\d", name)


def test_moments_are_told_as_people_do() -> None:
    """Today and yesterday by name, else by day and month, another year with its number."""
    now = datetime.now().astimezone().replace(hour=12, minute=5)
    assert card.when(now) == "today 12:05"
    assert card.when(now - timedelta(days=1)) == "yesterday 12:05"
    assert card.when(datetime(2020, 3, 4, 9, 7).astimezone()) == "4 Mar 2020 09:07"


def test_without_a_card_the_tab_says_what_it_is_for(studio: Workplace, anna: Character) -> None:
    """One sentence."""
    assert "23 standard pictures" in card.draw_card(studio.desk(anna.id), None, None)


def test_a_card_keeps_its_versions_name(studio: Workplace, anna: Character) -> None:
    """Also while the version is in the trash; only a card without a version is the base model's."""
    store = studio.store(anna.id)
    store.versions.put(Version(id="c1", name="v1", role=Role.CHARACTER, model=anna.generator, adapter="a"))
    of_version, of_base = (CardRun(id=each, version=each, job="j", seeds=(0,), cells=()) for each in ("c1", ""))
    keeping.trash(studio.desk(anna.id), "c1")
    assert card.card_name(store, of_version).startswith("v1, today")
    assert card.card_name(store, of_base).startswith("base model, today")
