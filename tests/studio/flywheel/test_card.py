"""The model card: 23 cells, axis by axis, machine and human apart."""

from __future__ import annotations

import pytest
from PIL import Image

from engines.api.errors import BadInput, NotFound
from studio.api.api import Api
from studio.flywheel import card
from studio.judging import outcomes
from studio.judging.gallery import score_images
from studio.records.base import now
from studio.records.card import CardRun, Cell
from studio.records.image import Kind
from studio.records.outcome import Outcome, Rate
from tests.studio.conftest import World, present


def _cell(cell: str, seed: int, verdict: str, human: bool | None = None, **axes: str) -> Cell:
    judged = {name: Outcome(outcome) for name, outcome in axes.items()}
    return Cell(cell=cell, seed=seed, image="", axes=judged, verdict=Outcome(verdict), human=human)


def _card(*cells: Cell, seeds: tuple[int, ...] = (0, 1)) -> CardRun:
    return CardRun(id="c", version="", job="", seeds=seeds, cells=cells)


def test_a_card_has_every_cell_with_every_seed(world: World) -> None:
    """23 cells × seeds, each with a picture of kind card and an outcome on each axis that it asks for."""
    job = world.finish(card.submit(world.desk, seeds=(5, 6)))

    found = world.store.cards.get(present(job.artifacts.card))
    assert len(found.cells) == 46
    assert [cell.seed for cell in found.cells] == [5] * 23 + [6] * 23
    assert {world.store.images.get(cell.image).kind for cell in found.cells} == {Kind.CARD}
    assert set(found.cells[0].axes) == {"identity", "angle", "expression"}
    assert found.cells[-1].axes["pose"] == "unknown"
    assert found.summary["first_try"]["n"] == 23


def test_an_axis_is_unknown_when_nobody_says() -> None:
    """No face and no tag are outcomes of their own, never failures."""
    asked = {"angle": "front", "expression": "sad"}

    assert outcomes.axes_outcomes(asked, {"angle": "front"}, Outcome.UNKNOWN) == {
        "identity": "unknown",
        "angle": "pass",
        "expression": "unknown",
    }
    assert outcomes.axes_outcomes(asked, {"angle": "half-left", "expression": "sad"}, Outcome.PASS) == {
        "identity": "pass",
        "angle": "fail",
        "expression": "pass",
    }


def test_a_cell_passes_only_if_all_axes_pass() -> None:
    """One failure fails it; else one unknown leaves it unknown."""
    assert outcomes.overall([Outcome.PASS, Outcome.PASS]) is Outcome.PASS
    assert outcomes.overall([Outcome.PASS, Outcome.UNKNOWN]) is Outcome.UNKNOWN
    assert outcomes.overall([Outcome.FAIL, Outcome.UNKNOWN]) is Outcome.FAIL


def _drawn_with(world: World, originals: int) -> CardRun:
    """A card drawn while so many of the four originals were there."""
    world.store.trash(world.sources[originals:])
    job = world.finish(card.submit(world.desk, seeds=(0,)))
    return card.get(world.store, present(job.artifacts.card))


@pytest.mark.parametrize("originals", [0, 1, 2])
def test_too_few_originals_recognise_nobody(world: World, originals: int) -> None:
    """Identity is unknown in every cell, no cell passes, the goal is not met, and the card and the job say why."""
    found = _drawn_with(world, originals)

    summary = card.summary(found)
    assert {cell.axes["identity"] for cell in found.cells} == {"unknown"}
    unjudged = Rate(k=0, n=23, judged=0, fail=0, unknown=23, rate=None, low=0, high=0)
    assert summary.axes["identity"].replace(low=0, high=0) == unjudged
    assert (summary.first_try.k, summary.met) == (0, False)
    assert any("Identity was not judged" in note for note in summary.notes)
    assert any("Identity is not judged" in words for words in world.warnings(found.job))


def test_three_originals_are_enough(world: World) -> None:
    """From three on everybody is judged, and nothing is said of it."""
    found = _drawn_with(world, 3)

    assert "unknown" not in {cell.axes["identity"] for cell in found.cells}
    assert not any("Identity" in note for note in card.summary(found).notes)


def test_originals_without_a_face_are_no_originals(world: World) -> None:
    """Two with a face and any number without are two."""
    for n in range(3):
        world.store.add_image(Image.new("RGB", (64, 60 + n)), kind=Kind.SOURCE)

    assert {cell.axes["identity"] for cell in _drawn_with(world, 2).cells} == {"unknown"}


def test_a_card_that_is_run_again_judges_the_same_pictures_anew(world: World) -> None:
    """Its pictures are the stored ones, and their likeness is that of the present scorer to the present originals."""
    world.studio.library.update(world.id, scorer="far-away")
    unscored = _drawn_with(world, 3)
    world.studio.library.update(world.id, scorer="fake-identity")
    of_three = _drawn_with(world, 3)
    world.store.restore(world.sources)
    of_four = _drawn_with(world, 4)

    pictures, identities = (
        [[getattr(cell, name) for cell in found.cells] for found in (unscored, of_three, of_four)]
        for name in ("image", "identity")
    )
    assert pictures[0] == pictures[1] == pictures[2]
    assert set(identities[0]) == {None} and None not in identities[1]
    assert identities[1] != identities[2]
    assert identities[2] == [world.store.images.get(image).likeness for image in pictures[2]]
    fresh = score_images(world.desk, pictures[2])
    assert identities[2] == [fresh[image] for image in pictures[2]]


def _older(world: World, *cells: Cell, created: str = "") -> CardRun:
    """A card as an older studio stored it: it does not say how many originals there were."""
    met = {"met": True}
    made = CardRun(id="old", version="", job="", seeds=(0,), cells=cells, summary=met, created=created or now())
    return world.store.cards.put(made)


def test_an_older_card_of_too_few_originals_is_no_longer_met(world: World) -> None:
    """It passed everybody then; its picture stays, its identity is unknown, a human's word on it still counts."""
    _older(
        world,
        _cell("front sad", 0, "pass", identity="pass", angle="pass"),
        _cell("T-pose", 0, "pass", human=True, identity="pass"),
        created="2000-01-01",
    )

    answer = Api(world.studio).card_get(world.id)

    assert [cell["axes"]["identity"] for cell in answer["card"]["cells"]] == ["unknown", "unknown"]
    assert (answer["summary"]["goal"], answer["card"]["summary"]["met"]) == ("open", False)
    assert (answer["summary"]["first_try"]["k"], answer["summary"]["first_try"]["judged"]) == (1, 1)


def test_an_older_card_that_recognised_somebody_stays(world: World) -> None:
    """With three originals by then, or a stranger refused, identity was judged: its figures stand."""
    cells = (_cell("front sad", 0, "pass", identity="pass"), _cell("T-pose", 0, "fail", identity="fail"))
    _older(world, *cells, created="2000-01-01")
    assert present(card.newest(world.store)).cells == cells
    _older(world, cells[0])
    assert card.summary(present(card.newest(world.store))).met


def test_a_humans_word_makes_an_unknown_cell_judged(world: World) -> None:
    """Rates count it, and as the machine said nothing, it neither agreed nor differed."""
    found = _drawn_with(world, 2)
    before = card.summary(found)
    unknown = next(cell for cell in found.cells if cell.verdict is Outcome.UNKNOWN)

    after = card.summary(card.set_human(world.desk, found.id, unknown.cell, 0, True))

    assert after.first_try.unknown == before.first_try.unknown - 1
    assert (after.first_try.k, after.human, after.agreement) == (1, 1, None)


def test_a_perfect_model_whose_profiles_show_no_face_has_neither_failed_nor_met_the_goal() -> None:
    """15 of 15 judged cells are right; the other eight decide, and the card says so until a human looked at them."""
    cells = [_cell(str(n), 0, "pass" if n < 15 else "unknown") for n in range(23)]

    summary = card.summary(_card(*cells))

    assert (summary.first_try_rate, summary.goal, summary.met) == (1.0, "open", False)
    assert any("8 of 23 cells" in note for note in summary.notes)
    seen = [_cell(str(n), 0, "pass" if n < 15 else "unknown", human=None if n < 15 else True) for n in range(23)]
    assert (card.summary(_card(*seen)).goal, card.summary(_card(*seen)).notes) == ("met", ())


def test_what_nobody_could_judge_was_not_missed(world: World) -> None:
    """Unknown cells are not what the next version should learn, nor what a missed one is shown beside."""
    cells = (
        _cell("T-pose", 0, "fail", pose="fail"),
        _cell("standing", 0, "unknown", pose="unknown"),
        _cell("sitting", 0, "pass", pose="pass"),
    )
    poses = [{"pose": pose, "framing": "full body"} for pose in ("T-pose", "sitting")]

    assert card.lessons(_card(*cells)) == poses
    world.store.cards.put(_card(cells[1]))
    with pytest.raises(BadInput, match="could be judged"):
        card.to_show(world.desk)


def test_cards_are_compared_on_the_cells_that_both_could_judge() -> None:
    """A cell that one of them leaves open is no gain of the other's."""
    before = _card(_cell("a", 0, "unknown"), _cell("b", 0, "fail"), _cell("c", 0, "pass"))
    after = _card(_cell("a", 0, "pass"), _cell("b", 0, "pass"), _cell("c", 0, "pass"))

    compared = card.compare(before, after)

    assert (compared.pairs, compared.judged, compared.unknown) == (3, 2, 1)
    assert (compared.rate_a, compared.rate_b, compared.only_b) == (0.5, 1.0, 1)


def test_first_try_counts_the_first_seed_alone() -> None:
    """Later seeds don't help, and the interval is shown."""
    found = _card(_cell("a", 0, "pass"), _cell("b", 0, "fail"), _cell("a", 1, "pass"), _cell("b", 1, "pass"))

    summary = card.summary(found)

    assert summary.first_try_rate == 0.5
    assert summary.first_try.low < 0.5 < summary.first_try.high
    assert summary.all_seeds.k == 3


def test_the_human_word_is_the_headline_and_the_machine_stays(world: World) -> None:
    """Setting and taking back a human's word changes the headline, never the machine's verdict."""
    job = world.finish(card.submit(world.desk, seeds=(0,)))
    before = world.store.cards.get(present(job.artifacts.card))
    cell = before.cells[0]
    other = cell.verdict is not Outcome.PASS

    after = card.set_human(world.desk, before.id, cell.cell, 0, other)
    back = card.set_human(world.desk, before.id, cell.cell, 0, None)

    assert after.cells[0].headline is (Outcome.PASS if other else Outcome.FAIL)
    assert after.cells[0].verdict == cell.verdict
    assert (after.summary["human"], after.summary["agreement"]) == (1, 0.0)
    assert back.summary == before.summary
    with pytest.raises(NotFound):
        card.set_human(world.desk, before.id, "no such cell", 0, True)


def test_two_cards_are_compared_pair_by_pair() -> None:
    """Only the pairs on which the cards differ speak, and only shared seeds count."""
    before = _card(*(_cell(str(n), 0, "fail") for n in range(10)), _cell("x", 1, "pass"))
    after = _card(*(_cell(str(n), 0, "pass") for n in range(10)), _cell("x", 2, "fail"))

    compared = card.compare(before, after)

    assert (compared.pairs, compared.only_a, compared.only_b) == (10, 0, 10)
    assert compared.p < 0.01
    with pytest.raises(BadInput, match="share no seed"):
        card.compare(before, _card(_cell("0", 9, "pass")))


def test_what_a_card_missed_is_what_to_draw_more_of(world: World) -> None:
    """The worst cell first, by the human's word; a version's own newest card counts, and without one the newest."""
    cells = (
        _cell("front sad", 0, "fail", human=True),
        _cell("sitting", 0, "pass"),
        _cell("T-pose", 0, "unknown"),
        _cell("sitting", 1, "fail"),
        _cell("T-pose", 1, "fail"),
    )
    assert len(card.missed(world.desk)) == 23
    world.store.cards.put(_card(*cells))

    missed = card.missed(world.desk, "v9")

    assert missed == [{"pose": pose, "framing": "full body"} for pose in ("T-pose", "sitting")]
    world.store.cards.put(CardRun(id="d", version="v9", job="", seeds=(0,), cells=(_cell("front sad", 0, "fail"),)))
    assert [each["expression"] for each in card.missed(world.desk, "v9")] == ["sad"]


def test_a_card_of_a_former_generator_counts_nowhere(world: World) -> None:
    """Neither as the base model's newest, nor for what was missed or is to be shown; a version's card stays its own."""
    image = world.picture(Kind.CARD, 0, model="former-flux")
    failed = _cell("T-pose", 0, "fail").replace(image=image)
    world.store.cards.put(_card(failed))
    assert card.newest(world.store) is card.newest(world.store, "") is None
    assert len(card.missed(world.desk)) == 23
    with pytest.raises(BadInput, match="no model card yet"):
        card.to_show(world.desk)
    world.store.cards.put(CardRun(id="d", version="v9", job="", seeds=(0,), cells=(failed,)))
    assert present(card.newest(world.store)).id == "d"
    assert len(card.to_show(world.desk)) == 1


def test_a_card_needs_a_seed(world: World) -> None:
    """No seed, no card."""
    with pytest.raises(BadInput, match="at least one seed"):
        card.submit(world.desk, seeds=())


def test_what_the_editor_should_show_is_what_the_version_in_use_missed(world: World) -> None:
    """Without a card, or where it missed nothing, there is nothing to show, and it says what to do instead."""
    with pytest.raises(BadInput, match="no model card yet"):
        card.to_show(world.desk)
    world.store.cards.put(_card(_cell("T-pose", 0, "fail"), _cell("front sad", 0, "pass")))

    assert card.to_show(world.desk) == [{"pose": "T-pose", "framing": "full body"}]

    world.store.cards.put(_card(_cell("T-pose", 0, "fail", human=True), _cell("front sad", 0, "pass")))
    with pytest.raises(BadInput, match="missed nothing"):
        card.to_show(world.desk)


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
