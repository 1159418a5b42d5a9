"""The Generate tab's handlers."""

from collections.abc import Callable

import pytest

from engines.api.errors import UserError
from engines.wording.cells import CARD_CELLS
from studio.flywheel import card
from studio.records.card import CardRun, Cell
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind
from studio.records.outcome import Outcome
from studio.workplace.desk import Workplace
from tabs import generate


def test_each_way_of_asking_makes_items_with_seeds_of_their_own(studio: Workplace, anna: Character) -> None:
    """A prompt, scenes, or the card's gaps."""
    for what in (generate.OWN, generate.SCENES, generate.GAPS):
        items = generate.make_items(studio.desk(anna.id), what, "ohwx person", "", 3, 5, 0, 0)
        assert len(items) == 3
        assert [each.seed for each in items] == [5, 6, 7]
        assert all("ohwx" in each.prompt for each in items)


def test_skipping_is_off_unless_asked_for(studio: Workplace, anna: Character) -> None:
    """Whichever way pictures are asked for, the threshold goes with each; left alone it is the model's own."""
    for what in (generate.OWN, generate.SCENES, generate.GAPS):
        own, asked = (
            generate.make_items(studio.desk(anna.id), what, "ohwx person", "", 1, 5, 0, 0, skip)[0] for skip in (0, 0.1)
        )
        assert (own.first_block_cache, asked.first_block_cache) == (0.0, 0.1)


def test_the_cost_is_told_before_anything_starts(studio: Workplace, anna: Character) -> None:
    """Pictures, memory of each stage, and time once a job has been measured; nothing is queued by looking."""
    shown = generate.draw_cost(studio.desk(anna.id), generate.OWN, "", None, 3, 0, 0, 0)
    assert "3 pictures" in shown
    assert "encode 0.8 GiB · denoise 0.8 GiB · decode 0.7 GiB" in shown
    assert "not measured yet" in shown
    assert studio.jobs.list() == []


def test_an_empty_prompt_is_refused(studio: Workplace, anna: Character) -> None:
    """With the way out."""
    with pytest.raises(UserError, match="empty"):
        generate.draw_pictures(studio.desk(anna.id), generate.OWN, "  ", None, 1, 0, 0, 0)


def test_what_the_filter_set_aside_stays_visible(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Dim, with its score, and counted."""
    add(Kind.SYNTHETIC, filtered=True, scores={"fake": 0.2})
    add(Kind.SYNTHETIC, scores={"fake": 0.9})
    shown, _ = generate.draw_results(studio.desk(anna.id), 60)
    assert "1 set aside" in shown
    assert shown.count(" dim") == 1


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
    shown = generate.draw_card(studio.desk(anna.id), "c1", None)
    assert shown.count("✗") == 2
    assert "<em>T-pose</em>" in shown
    assert "0 of 2 judged cells right, 95 %" in shown
    assert "target 80%: not met" in shown
    add(Kind.SOURCE)
    generate.card_act(studio.desk(anna.id), {"act": "show"}, "c1")
    (job,) = studio.jobs.list()
    assert {next(iter(row["asked"].items())) for row in job.payload["rows"]} >= {("pose", "T-pose")}


def _cell(image: str, name: str, seed: int, verdict: str) -> Cell:
    return Cell(cell=name, seed=seed, image=image, axes={}, verdict=Outcome(verdict))


def _put(studio: Workplace, anna: Character, name: str, cells: list[Cell], seeds: tuple[int, ...]) -> None:
    made = CardRun(id=name, version="", job="j", seeds=seeds, cells=tuple(cells), originals=4)
    studio.store(anna.id).cards.put(made)


def test_a_click_on_a_cell_enlarges_and_changes_nothing(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The card itself overrules nobody; where a human did, in the viewer, it says so."""
    image = add(Kind.CARD).id
    _put(studio, anna, "c1", [_cell(image, "T-pose", 0, "unknown")], (0,))
    shown = generate.draw_card(studio.desk(anna.id), "c1", None)
    assert f'data-view="{image}"' in shown
    assert 'data-act="overrule"' not in shown and "by you" not in shown

    card.set_human(studio.desk(anna.id), "c1", "T-pose", 0, True)
    assert "by you" in generate.draw_card(studio.desk(anna.id), "c1", None)


def test_the_settings_of_a_picture_come_back(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Prompt, version and first seed; a picture without a version is the base model's."""
    made = {"params": {"prompt": "ohwx person, sad", "seed": 9}, "params_kind": "GenerateParams", "seed": 9}
    values = generate.use_settings(studio.desk(anna.id), add(Kind.SYNTHETIC, **made).id)
    assert (values[0], values[1], values[3]) == (generate.OWN, "ohwx person, sad", 9)
    assert values[2]["value"] == generate.BASE and generate.BASE in [value for _, value in values[2]["choices"]]


def test_a_card_says_what_could_not_be_judged(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Unknown cells are beside the rate, leave the goal open, and what to do about them is said."""
    image = add(Kind.CARD).id
    verdicts = ["pass"] * 3 + ["unknown"] * 2
    names = ["front neutral", "front sad", "front angry", "profile-left sad", "profile-right sad"]
    cells = [_cell(image, name, 0, verdict) for name, verdict in zip(names, verdicts, strict=True)]
    _put(studio, anna, "c1", cells, (0,))

    shown = generate.draw_card(studio.desk(anna.id), "c1", None)

    assert "3 of 3 judged cells right, 2 unknown" in shown
    assert "target 80%: open" in shown
    assert "2 of 5 cells could not be judged" in shown


def test_a_card_of_which_nothing_is_known_is_drawn(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """No rate is a question mark, alone and beside another card."""
    _put(studio, anna, "c1", [_cell(add(Kind.CARD).id, "T-pose", 0, "unknown")], (0,))
    shown = generate.draw_card(studio.desk(anna.id), "c1", "c1")
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

    shown = generate.draw_card(studio.desk(anna.id), "c2", "c1")

    assert "p &lt; 0.001" in shown
    assert "0% → " in shown and "on 46 pictures" in shown
    assert "the figure above counts the first seed alone" in shown


def test_without_a_card_the_tab_says_what_it_is_for(studio: Workplace, anna: Character) -> None:
    """One sentence."""
    assert "23 standard pictures" in generate.draw_card(studio.desk(anna.id), None, None)
