"""The Generate tab's handlers."""

from collections.abc import Callable

import pytest

from engines.errors import UserError
from studio.nouns import CardRun, Character, ImageRecord, Kind
from studio.studio import Studio
from tabs import generate


def test_each_way_of_asking_makes_items_with_seeds_of_their_own(studio: Studio, anna: Character) -> None:
    """A prompt, scenes, or the card's gaps."""
    for what in (generate.OWN, generate.SCENES, generate.GAPS):
        items = generate.make_items(studio, anna.id, what, "ohwx person", "", 3, 5, 0, 0)
        assert len(items) == 3
        assert [each.seed for each in items] == [5, 6, 7]
        assert all("ohwx" in each.prompt for each in items)


def test_skipping_is_off_unless_asked_for(studio: Studio, anna: Character) -> None:
    """Whichever way pictures are asked for, the threshold goes with each; left alone it is the model's own."""
    for what in (generate.OWN, generate.SCENES, generate.GAPS):
        own, asked = (
            generate.make_items(studio, anna.id, what, "ohwx person", "", 1, 5, 0, 0, skip)[0] for skip in (0, 0.1)
        )
        assert (own.first_block_cache, asked.first_block_cache) == (0.0, 0.1)


def test_the_cost_is_told_before_anything_starts(studio: Studio, anna: Character) -> None:
    """Pictures, memory of each stage, and time once a job has been measured; nothing is queued by looking."""
    shown = generate.draw_cost(studio, anna.id, generate.OWN, "", None, 3, 0, 0, 0)
    assert "3 pictures" in shown
    assert "encode 0.8 GiB · denoise 0.8 GiB · decode 0.7 GiB" in shown
    assert "not measured yet" in shown
    assert studio.jobs.list() == []


def test_an_empty_prompt_is_refused(studio: Studio, anna: Character) -> None:
    """With the way out."""
    with pytest.raises(UserError, match="empty"):
        generate.make_items(studio, anna.id, generate.OWN, "  ", "", 1, 0, 0, 0)


def test_what_the_filter_set_aside_stays_visible(
    studio: Studio, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Dim, with its score, and counted."""
    add(Kind.SYNTHETIC, filtered=True, scores={"fake": 0.2})
    add(Kind.SYNTHETIC, scores={"fake": 0.9})
    shown, _ = generate.draw_results(studio, anna.id, 60)
    assert "1 set aside" in shown
    assert shown.count(" dim") == 1


def test_the_card_shows_cells_rate_and_interval(
    studio: Studio, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A human's click overrules a cell: pass, fail, the machine's word again; another has the editor show the rest."""
    image = add(Kind.CARD).id
    cells = tuple(
        {
            "cell": name,
            "seed": 0,
            "image": image,
            "identity": 0.5,
            "axes": {"angle": "fail"},
            "verdict": "fail",
            "human": None,
        }
        for name in ("front neutral", "T-pose")
    )
    cards = studio.store(anna.id).cards
    cards.put(CardRun(id="c1", version="", job="j", seeds=(0,), cells=cells))
    shown = generate.draw_card(studio, anna.id, "c1", None)
    assert shown.count("✗") == 2
    assert "0 of 2" in shown
    act = {"act": "overrule", "cell": "front neutral", "seed": "0"}
    for expected in (True, False, None):
        generate.card_act(studio, anna.id, act, "c1")
        assert cards.get("c1").cells[0]["human"] is expected
    add(Kind.SOURCE)
    generate.card_act(studio, anna.id, {"act": "show"}, "c1")
    (job,) = studio.jobs.list()
    assert {next(iter(row["asked"].items())) for row in job.payload["rows"]} >= {("pose", "T-pose")}


def test_without_a_card_the_tab_says_what_it_is_for(studio: Studio, anna: Character) -> None:
    """One sentence."""
    assert "23 standard pictures" in generate.draw_card(studio, anna.id, None, None)
