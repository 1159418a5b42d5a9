"""Review: the order in which pictures are shown, and what follows from a verdict."""

from __future__ import annotations

import pytest
from PIL import Image

from engines.api.errors import NotFound
from studio.flywheel import review
from studio.judging.gallery import gallery
from studio.records.image import Kind, Verdict
from tests.studio.conftest import World, present

SCORER = "fake-identity-1"


def waiting(world: World, *scores: float | None) -> list[str]:
    """Results with these scores, pending."""
    first = len(world.store.images.all())
    return [world.picture(Kind.SYNTHETIC, first + n, scores={SCORER: score}, seed=n) for n, score in enumerate(scores)]


def decided(world: World, count: int, good_from: float) -> None:
    """Results that a human called good when they scored at least so much."""
    for n, image in enumerate(waiting(world, *(i / count for i in range(count)))):
        world.store.decide(image, Verdict.GOOD if n / count >= good_from else Verdict.REJECT)


def order(world: World, count: int = 1000) -> list[str]:
    """Ids in the order of the queue."""
    return [image.id for image in review.next(world.desk, count=count)]


def test_an_empty_queue_is_empty(world: World) -> None:
    """Nothing to review is no error."""
    assert review.next(world.desk) == []


def test_the_least_certain_comes_first(world: World) -> None:
    """Before there are labels, what lies nearest the floor is asked first."""
    floor = gallery(world.desk).floor
    far, near, middle = waiting(world, floor + 0.4, floor + 0.01, floor - 0.2)
    assert order(world) == [near, middle, far]


def test_no_face_is_uncertain(world: World) -> None:
    """A picture that couldn't be scored goes to a human early, not last."""
    sure, unknown = waiting(world, 0.0, None)
    assert order(world) == [unknown, sure]


def test_labels_calibrate_the_order(world: World) -> None:
    """From sixty verdicts on, the pictures a human might call either way come first."""
    decided(world, 60, good_from=0.7)
    low, edge, high = waiting(world, 0.2, 0.7, 1.0)
    assert order(world)[0] == edge
    reason = review.explain(world.desk, edge)
    assert reason.p_good == pytest.approx(0.5, abs=0.2)
    ends = [present(review.explain(world.desk, image).p_good) for image in (low, high)]
    assert ends[0] < 0.1 < 0.8 < ends[1]


def test_every_tenth_is_drawn_at_random(world: World) -> None:
    """The tenth decision is an audit, whatever the scores, and the queue still holds everything once."""
    floor = gallery(world.desk).floor
    images = waiting(world, *(floor + n / 100 for n in range(30)))
    found = order(world)
    assert sorted(found) == sorted(images)
    uncertain = [image for n, image in enumerate(found) if n % 10 != 9]
    assert uncertain == [image for image in images if image in uncertain]
    assert found != images


def test_the_audit_comes_round_one_by_one_too(world: World) -> None:
    """Asked for one picture at a time, a reviewer sees the same order as asked for all at once."""
    waiting(world, *(n / 40 for n in range(25)))
    wanted, seen, audits = order(world), [], []
    while found := review.next(world.desk):
        seen.append(found[0].id)
        audits.append(review.explain(world.desk, found[0].id).audit)
        review.decide(world.desk, found[0].id, Verdict.REJECT)
    assert seen == wanted
    assert [n for n, audit in enumerate(audits) if audit] == [9, 19]


def test_the_order_repeats(world: World) -> None:
    """The same queue gives the same order."""
    waiting(world, *(n / 40 for n in range(25)))
    assert order(world) == order(world)


def test_what_the_filter_set_aside_is_not_asked(world: World) -> None:
    """Filtered pictures stay out of the queue."""
    image, kept = waiting(world, 0.1, 0.2)
    world.store.update_image(image, filtered=True)
    assert order(world) == [kept]


@pytest.mark.parametrize(
    ("score", "words"), [(None, "no score"), (-0.5, "below the floor"), (1.0, "above the copy ceiling")]
)
def test_a_reason_is_told(world: World, score: float | None, words: str) -> None:
    """Why a picture is shown is said in figures and words."""
    image, *_ = waiting(world, score, 0.5, 0.6)
    assert words in review.explain(world.desk, image).words


def test_with_too_few_originals_no_score_is_surer_than_another(world: World) -> None:
    """There is no floor to lie near: pictures come as drawn by lot, with the reason and without marks."""
    world.store.trash(world.sources[2:])
    images = waiting(world, 0.9, 0.1, None, 0.5)
    before = order(world)
    for image, score in zip(images, (0.1, 0.9, 0.5, None), strict=True):
        world.store.update_image(image, scores={SCORER: score})

    assert order(world) == before
    reason = review.explain(world.desk, images[0])
    assert (reason.floor, reason.ceiling) == (None, None)
    assert "too few originals" in reason.words


def test_without_the_scorers_weights_review_goes_on(world: World) -> None:
    """What cannot be scored is shown to the human all the same."""
    world.studio.library.update(world.id, scorer="far-away")
    images = waiting(world, 0.1, 0.2)

    assert sorted(order(world)) == sorted(images)
    assert review.explain(world.desk, images[0]).floor is None


def test_the_tally_follows_verdicts_and_their_undoing(world: World) -> None:
    """Counts are those of the store at this moment."""
    first, second, _third = waiting(world, 0.1, 0.2, 0.3)
    review.decide(world.desk, first, Verdict.GOOD)
    review.decide(world.desk, second, Verdict.REJECT, reviewer="ann", reasons=["identity"])
    assert review.tally(world.desk) == review.Tally(1, 1, 0, 1)
    assert review.tally(world.desk, "ann").decided == 1
    assert review.undo(world.desk, reviewer="ann").image == second
    assert review.tally(world.desk) == review.Tally(2, 1, 0, 0)
    with pytest.raises(NotFound):
        review.undo(world.desk, reviewer="ann")


def test_a_correction_is_a_golden_lesson(world: World) -> None:
    """The mended picture is good, the wrong one needs correction, and the editor has a lesson."""
    edit = world.picture(Kind.ENRICHED, 1, parent=world.sources[0], params_kind="EditParams", params={"seed": 1})
    triplet = review.correct(world.desk, edit, Image.new("RGB", (64, 64), "red"), reason="artifact")
    assert (triplet.golden, triplet.source, triplet.wrong) == (True, world.sources[0], edit)
    assert world.store.images.get(triplet.result).state is Verdict.GOOD
    assert review.tally(world.desk).needs_correction == 1


def wrong_edit(world: World, number: int, **fields: object) -> str:
    """An edit that a human found wrong."""
    made = {"params": {"instruction": "smile"}, "params_kind": "EditParams", "asked": {"expression": "smiling"}}
    image = world.picture(Kind.ENRICHED, number, parent=world.sources[0], **{**made, **fields})
    review.decide(world.desk, image, Verdict.NEEDS_CORRECTION)
    return image


def new_try(world: World, number: int, wrong: str, words: str, **fields: object) -> str:
    """A new try at it."""
    made = {"params": {"instruction": words}, "params_kind": "EditParams"}
    return world.picture(Kind.ENRICHED, number, parent=world.sources[0], mends=wrong, **made, **fields)


def test_an_approved_try_with_other_words_is_golden_and_closes_the_case(world: World) -> None:
    """It is a lesson of the new words; undo opens the case again."""
    wrong = wrong_edit(world, 20)
    tried = new_try(world, 21, wrong, "smile with closed lips")
    assert [each.id for each in review.to_mend(world.desk)] == [wrong]
    assert [each.id for each in review.new_tries(world.desk, wrong)] == [tried]
    review.decide(world.desk, tried, Verdict.GOOD)
    triplet = present(world.store.triplets.peek(tried))
    assert (triplet.golden, triplet.wrong, triplet.held_out) == (True, wrong, False)
    assert triplet.params == {"instruction": "smile with closed lips"}
    assert review.to_mend(world.desk) == []
    assert review.new_tries(world.desk, wrong) == []
    review.undo(world.desk)
    assert [each.id for each in review.to_mend(world.desk)] == [wrong]


def test_an_approved_try_with_another_seed_closes_the_case_but_is_not_golden(world: World) -> None:
    """Luck is an approved edit like others; a painted area is a human's work."""
    lucky, painted = wrong_edit(world, 20), wrong_edit(world, 21)
    again, inside = new_try(world, 22, lucky, "smile"), new_try(world, 23, painted, "smile", area="masks/aa/aa.png")
    for each in (again, inside):
        review.decide(world.desk, each, Verdict.GOOD)
    assert review.to_mend(world.desk) == []
    assert [present(world.store.triplets.peek(each)).golden for each in (again, inside)] == [False, True]


def test_tries_at_tries_are_one_case(world: World) -> None:
    """A try that needs correction stands for its case; what is good in the end closes all of it."""
    first = wrong_edit(world, 20)
    second = wrong_edit(world, 21, mends=first, params={"instruction": "smile a little"})
    assert [each.id for each in review.to_mend(world.desk)] == [second]
    third = new_try(world, 22, second, "smile a little")
    review.decide(world.desk, third, Verdict.GOOD)
    assert present(world.store.triplets.peek(third)).golden  # the words were changed on the way
    assert review.to_mend(world.desk) == []
    review.undo(world.desk)
    review.correct(world.desk, second, Image.new("RGB", world.store.open_whole(second).size, "red"))
    assert review.to_mend(world.desk) == []
