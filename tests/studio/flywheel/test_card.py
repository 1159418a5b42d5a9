"""The model card: 23 cells, axis by axis, machine and human apart."""

import pytest

from engines.errors import BadInput, NotFound
from studio.flywheel import card
from studio.nouns import CardRun, Kind


def _cell(cell: str, seed: int, verdict: str, human: bool | None = None, **axes: str) -> dict:
    return {"cell": cell, "seed": seed, "image": "", "axes": axes, "verdict": verdict, "human": human}


def _card(*cells: dict, seeds: tuple[int, ...] = (0, 1)) -> CardRun:
    return CardRun(id="c", version="", job="", seeds=seeds, cells=cells)


def test_a_card_has_every_cell_with_every_seed(world) -> None:
    """23 cells × seeds, each with a picture of kind card and an outcome on each axis that it asks for."""
    job = world.finish(card.submit(world.studio, world.id, seeds=(5, 6)))

    found = world.store.cards.get(job.artifacts["card"])
    assert len(found.cells) == 46
    assert [cell["seed"] for cell in found.cells] == [5] * 23 + [6] * 23
    assert {world.store.images.get(cell["image"]).kind for cell in found.cells} == {Kind.CARD}
    assert set(found.cells[0]["axes"]) == {"identity", "angle", "expression"}
    assert found.cells[-1]["axes"]["pose"] == "unknown"
    assert found.summary["first_try"]["n"] == 23


def test_an_axis_is_unknown_when_nobody_says() -> None:
    """No face and no tag are outcomes of their own, never failures."""
    asked = {"angle": "front", "expression": "sad"}

    assert card.axes_outcomes(asked, {"angle": "front"}, None, 0.5) == {
        "identity": "unknown",
        "angle": "pass",
        "expression": "unknown",
    }
    assert card.axes_outcomes(asked, {"angle": "half-left", "expression": "sad"}, 0.5, 0.5) == {
        "identity": "pass",
        "angle": "fail",
        "expression": "pass",
    }


def test_a_cell_passes_only_if_all_axes_pass() -> None:
    """One failure fails it; else one unknown leaves it unknown."""
    assert card.overall(["pass", "pass"]) == "pass"
    assert card.overall(["pass", "unknown"]) == "unknown"
    assert card.overall(["fail", "unknown"]) == "fail"


def test_first_try_counts_the_first_seed_alone() -> None:
    """Later seeds don't help, unknown doesn't count as right, and the interval is shown."""
    found = _card(_cell("a", 0, "pass"), _cell("b", 0, "unknown"), _cell("a", 1, "pass"), _cell("b", 1, "pass"))

    summary = card.summary(found)

    assert summary["first_try_rate"] == 0.5
    assert summary["first_try"]["low"] < 0.5 < summary["first_try"]["high"]
    assert summary["all_seeds"]["k"] == 3


def test_the_human_word_is_the_headline_and_the_machine_stays(world) -> None:
    """Setting and taking back a human's word changes the headline, never the machine's verdict."""
    job = world.finish(card.submit(world.studio, world.id, seeds=(0,)))
    before = world.store.cards.get(job.artifacts["card"])
    cell = before.cells[0]
    other = cell["verdict"] != "pass"

    after = card.set_human(world.studio, world.id, before.id, cell["cell"], 0, other)
    back = card.set_human(world.studio, world.id, before.id, cell["cell"], 0, None)

    assert card.verdict_of(after.cells[0]) == ("pass" if other else "fail")
    assert after.cells[0]["verdict"] == cell["verdict"]
    assert (after.summary["human"], after.summary["agreement"]) == (1, 0.0)
    assert back.summary == before.summary
    with pytest.raises(NotFound):
        card.set_human(world.studio, world.id, before.id, "no such cell", 0, True)


def test_two_cards_are_compared_pair_by_pair() -> None:
    """Only the pairs on which the cards differ speak, and only shared seeds count."""
    before = _card(*(_cell(str(n), 0, "fail") for n in range(10)), _cell("x", 1, "pass"))
    after = _card(*(_cell(str(n), 0, "pass") for n in range(10)), _cell("x", 2, "fail"))

    compared = card.compare(before, after)

    assert (compared["pairs"], compared["only_a"], compared["only_b"]) == (10, 0, 10)
    assert compared["p"] < 0.01
    with pytest.raises(BadInput, match="share no seed"):
        card.compare(before, _card(_cell("0", 9, "pass")))


def test_what_a_card_missed_is_what_to_draw_more_of(world) -> None:
    """The worst cell first, by the human's word; a version's own newest card counts, and without one the newest."""
    cells = (
        _cell("front sad", 0, "fail", human=True),
        _cell("sitting", 0, "pass"),
        _cell("T-pose", 0, "unknown"),
        _cell("sitting", 1, "fail"),
        _cell("T-pose", 1, "fail"),
    )
    assert len(card.missed(world.studio, world.id)) == 23
    world.store.cards.put(_card(*cells))

    missed = card.missed(world.studio, world.id, "v9")

    assert missed == [{"pose": pose, "framing": "full body"} for pose in ("T-pose", "sitting")]
    world.store.cards.put(CardRun(id="d", version="v9", job="", seeds=(0,), cells=(_cell("front sad", 0, "fail"),)))
    assert [each["expression"] for each in card.missed(world.studio, world.id, "v9")] == ["sad"]


def test_a_card_needs_a_seed(world) -> None:
    """No seed, no card."""
    with pytest.raises(BadInput, match="at least one seed"):
        card.submit(world.studio, world.id, seeds=())


def test_what_the_editor_should_show_is_what_the_version_in_use_missed(world) -> None:
    """Without a card, or where it missed nothing, there is nothing to show, and it says what to do instead."""
    with pytest.raises(BadInput, match="no model card yet"):
        card.to_show(world.studio, world.id)
    world.store.cards.put(_card(_cell("T-pose", 0, "fail"), _cell("front sad", 0, "pass")))

    assert card.to_show(world.studio, world.id) == [{"pose": "T-pose", "framing": "full body"}]

    world.store.cards.put(_card(_cell("T-pose", 0, "fail", human=True), _cell("front sad", 0, "pass")))
    with pytest.raises(BadInput, match="missed nothing"):
        card.to_show(world.studio, world.id)


def test_what_was_missed_is_shown_beside_what_it_was_taken_for() -> None:
    """A pose drawn wrong brings a pose that was right, a face the same head; another person's face brings nothing."""
    cells = (
        _cell("T-pose", 0, "fail", pose="fail", identity="pass"),
        _cell("standing", 0, "pass", pose="pass"),
        _cell("sitting", 0, "pass", pose="pass"),
        _cell("front sad", 0, "pass", expression="pass", angle="pass"),
        _cell("half-left angry", 0, "pass", expression="pass", angle="pass"),
        _cell("half-left sad", 0, "fail", expression="fail", angle="pass"),
        _cell("half-right sad", 0, "fail", expression="pass", angle="pass", identity="fail"),
    )
    poses = [{"pose": pose, "framing": "full body"} for pose in ("T-pose", "standing")]
    heads = [{"angle": a, "expression": e, "framing": "head"} for a, e in (("half-left", "sad"), ("half-right", "sad"))]

    found = card.lessons(_card(*cells))

    assert found[:3] == [poses[0], *heads]
    assert found[3:] == [poses[1], {**heads[0], "expression": "angry"}]


def test_what_the_card_missed_whole_is_shown_alone() -> None:
    """Where no cell beside it passed there is nothing to tell it apart from."""
    cells = [_cell(pose, 0, "fail", pose="fail") for pose in ("T-pose", "standing", "sitting")]

    assert card.lessons(_card(*cells)) == card.misses(_card(*cells))
