"""The story of versions: one chapter each, two compared cell by cell, and drift that is told only with reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from engines.api.errors import BadInput
from engines.wording.cells import CARD_CELLS
from studio.flywheel import card, history
from studio.flywheel.train import character as train
from studio.flywheel.train import keeping
from studio.judging.gallery import gallery
from studio.records.card import CardRun, Cell
from studio.records.dataset import Role
from studio.records.image import Kind, Verdict
from studio.records.outcome import Axes, Outcome
from studio.records.version import Comparison, Metrics, Pair, Side, Version
from tests.studio.conftest import World

PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN
Put = Callable[..., CardRun]


@pytest.fixture
def put(world: World) -> Put:
    """Stores a card of a version: each seed's cells in order, with outcomes and similarities that repeat."""
    numbers = iter(range(100_000))

    def put_one(
        version: str,
        outcomes: Sequence[Outcome] = (PASS,),
        likeness: Sequence[float] = (0.7,),
        seeds: Sequence[int] = (0, 1, 2),
        scorer: str = "",
    ) -> CardRun:
        scorer, cells = scorer or gallery(world.desk).version, []
        for seed in seeds:
            for at, cell in enumerate(CARD_CELLS):
                value = likeness[at % len(likeness)]
                image = world.picture(Kind.CARD, next(numbers), scores={scorer: value}, model="fake-flux")
                axes = {"identity": outcomes[at % len(outcomes)]}
                verdict = outcomes[at % len(outcomes)]
                cells.append(Cell(cell=cell.name, seed=seed, image=image, identity=value, axes=axes, verdict=verdict))
        made = CardRun(
            id=f"card-{next(numbers)}", version=version, job="", seeds=tuple(seeds), cells=tuple(cells), originals=4
        )
        return world.store.cards.put(made)

    return put_one


def trained(world: World, count: int = 2) -> list[Version]:
    """Returns so many versions, the first of which is in use."""
    for seed in range(count):
        world.finish(train.submit(world.desk, world.train_params(steps=4, sample_every=4, seed=seed)))
    return world.store.kept_versions(Role.CHARACTER)


def test_each_version_has_a_chapter_and_the_base_model_the_last(world: World, put: Put) -> None:
    """Newest first, with figures and intervals, on one seed for all; what is in the trash is left out."""
    one, two = trained(world)
    for name, seeds in (("", (0, 1)), (one.id, (5, 1)), (two.id, (1, 0))):
        put(name, [PASS, FAIL], [0.6, 0.8], seeds)

    story = history.story(world.desk)

    assert [each.name for each in story] == ["v2", "v1", "base model"]
    assert [each.seed for each in story] == [1, 1, 1]
    assert [[face.label for face in each.faces] for each in story] == [list(history.FACES)] * 3
    first, likeness = story[0].first_try, story[0].likeness
    assert first and likeness
    assert (first.k, first.n, likeness.n) == (12, 23, 46)
    assert first.low < 12 / 23 < first.high
    assert likeness.low < likeness.middle < likeness.high
    assert (story[0].parent, story[0].start, story[1].parent) == ("v1", "", "")

    keeping.trash(world.desk, two.id)
    assert [each.name for each in history.story(world.desk)] == ["v1", "base model"]


def test_a_version_without_a_card_shows_its_last_training_samples(world: World) -> None:
    """Those of its last step; the base model has none."""
    trained(world, 1)
    version, base = history.story(world.desk)
    assert version.card is None and version.faces
    assert all(world.store.images.get(face.image).kind is Kind.PREVIEW for face in version.faces)
    assert (base.faces, base.first_try, base.likeness) == ((), None, None)


def test_the_base_models_card_is_of_the_present_generator(world: World, put: Put) -> None:
    """A card that another model drew says nothing of this one."""
    put("")
    world.studio.library.update(world.id, generator="far-away")
    (base,) = history.story(world.desk)
    assert base.card is None


def test_what_a_version_learned_from_is_counted_by_origin(world: World) -> None:
    """Originals, edits, scenes and corrections, from the dataset that was frozen, each picture once."""
    (edit, wrong) = world.review(approved=1, corrected=1)
    scene = world.picture(Kind.SYNTHETIC, 7)
    world.store.decide(scene, Verdict.GOOD)
    (version,) = trained(world, 1)

    found = {group.name: group.images for group in history.groups(world.store, version)}

    assert set(found["yours"]) == set(world.sources)
    assert found["edits"] == (edit,) and found["scenes"] == (scene,)
    assert len(found["corrections"]) == 1 and wrong not in found["corrections"]


def test_two_cards_are_compared_pair_by_pair(world: World, put: Put) -> None:
    """Gained, lost, right and wrong in both, and those that could not be judged on one side."""
    before = put("", [FAIL, PASS, PASS, FAIL, UNKNOWN])
    after = put("", [PASS, FAIL, PASS, FAIL, PASS], [0.75])

    seen = history.difference(world.store, before, after)

    assert [each.turn for each in seen.twins[:5]] == ["gained", "lost", "right", "wrong", "unknown"]
    assert (len(seen.twins), seen.first, seen.seeds) == (69, 0, (0, 1, 2))
    turns = [each.turn for each in seen.twins]
    assert (turns.count("gained"), turns.count("lost")) == (seen.paired.only_b, seen.paired.only_a)
    assert seen.likeness and seen.likeness.middle == pytest.approx(0.05)
    with pytest.raises(BadInput, match="share no seed"):
        history.difference(world.store, put("", seeds=(7,)), after)


def signs(world: World) -> list[tuple[str, bool]]:
    """Returns what is said of drift, and whether it is an alarm."""
    return [(each.words, each.alarm) for each in history.drift(world.store, history.story(world.desk))]


def test_no_alarm_without_reason(world: World, put: Put) -> None:
    """Differences that chance explains are told as such; with one card or none nothing is said of drift."""
    one, two = trained(world)
    assert signs(world) == []
    put(one.id, [PASS, PASS, FAIL], [0.71, 0.55, 0.86])
    put(two.id, [PASS, PASS, FAIL], [0.70, 0.57, 0.84])
    assert signs(world) == [
        ("v2 and v1 are about as good on the card (70% → 70% of 69 pictures).", False),
        ("v2 is about as like the originals as v1 (0.70 → 0.70, which may be chance).", False),
    ]


def test_what_got_worse_is_told(world: World, put: Put) -> None:
    """Fewer cells right, less alike, more near copies, and too few originals, each with its figures."""
    one, two = trained(world)
    put(one.id, [PASS], [0.71])
    put(two.id, [FAIL, PASS], [0.64])
    found = signs(world)
    assert ("Fewer cells are right with v2 than with v1 (100% → 48% of 69 pictures).", True) in found
    assert ("v2 is less like the originals than v1 (0.71 → 0.64).", True) in found

    put(two.id, [PASS], [1.5])
    more = "v2 draws more near copies of the originals (0% → 100%)."
    assert (more, True) in signs(world)
    world.store.versions.put(two.replace(metrics=Metrics(real_share=0.21)))
    assert any(words.startswith("Only 21% of what v2 saw") and alarm for words, alarm in signs(world))


def test_what_is_told_of_likeness_is_of_the_pictures_that_both_drew(world: World, put: Put) -> None:
    """Pictures of other seeds change neither the words nor the figures beside them."""
    one, two = trained(world)
    put(one.id, [PASS], [0.71], seeds=(0,))
    after = put(two.id, [PASS], [0.64], seeds=(0, 1))
    for cell in after.cells[len(CARD_CELLS) :]:
        scores = dict.fromkeys(world.store.images.get(cell.image).scores, 0.9)
        world.store.update_image(cell.image, scores=scores)

    assert ("v2 is less like the originals than v1 (0.71 → 0.64).", True) in signs(world)


def test_the_likeness_of_a_card_is_that_of_one_scorer(world: World, put: Put) -> None:
    """Of the one that measured most of its pictures last; what another one said of the rest is not averaged with it."""
    (one,) = trained(world, 1)
    run = put(one.id, likeness=[0.7], seeds=(0,))
    first, second, *others = (cell.image for cell in run.cells)
    (scorer,) = world.store.images.get(first).scores
    world.store.update_image(first, scores={"former": 0.1})
    world.store.update_image(second, scores={scorer: 0.7, "former": 0.1})

    chapter = history.story(world.desk)[0]

    assert chapter.scorer == scorer and chapter.likeness
    assert (chapter.likeness.n, round(chapter.likeness.middle, 4)) == (len(others) + 1, 0.7)


def test_scores_of_two_scorers_are_not_compared(world: World, put: Put) -> None:
    """It is said instead; so is it where two cards share no seed."""
    one, two = trained(world)
    put(one.id)
    put(two.id, likeness=[0.2], scorer="s2")
    assert "measured by different scorers" in signs(world)[-1][0]
    put(two.id, seeds=(8,))
    assert "share no seed" in signs(world)[0][0]


def test_improved_edits_come_first(world: World) -> None:
    """Then those that got worse, then those that came out alike, each with its source and both outcomes."""
    (edit,) = world.review(approved=1)
    triplet = world.store.triplets.get(edit)
    rows: list[tuple[Outcome, Outcome]] = [(PASS, PASS), (PASS, FAIL), (FAIL, PASS)]
    was, now = ([_axes(pair[side]) for pair in rows] for side in (0, 1))
    pairs = tuple(Pair(triplet=triplet.id, task="expression", before=str(at), after=str(at)) for at in range(3))
    edits = Comparison(n=3, originals=4, before=Side(outcomes=tuple(was)), after=Side(outcomes=tuple(now)), pairs=pairs)
    version = Version(id="e", role=Role.EDITOR, name="v1", model="m", adapter="a", metrics=Metrics(edits=edits))

    found = history.redone(world.store, version)

    assert [(each.before, each.was, each.now) for each in found] == [
        ("2", FAIL, PASS),
        ("1", PASS, FAIL),
        ("0", PASS, PASS),
    ]
    assert {each.source for each in found} == {world.sources[0]}
    assert history.redone(world.store, version.replace(metrics=Metrics())) == []


def _axes(outcome: Outcome) -> Axes:
    return {"expression": outcome}


def test_a_card_that_was_run_is_in_the_story(world: World) -> None:
    """From the queue to the faces, with the newest card of each version."""
    (version,) = trained(world, 1)
    job = world.finish(card.submit(world.desk, version.id, seeds=(3,)))
    chapter = history.story(world.desk)[0]
    assert chapter.card and chapter.card.id == job.artifacts.card
    assert chapter.seed == 3
    assert all(world.store.images.get(face.image).kind is Kind.CARD for face in chapter.faces)
