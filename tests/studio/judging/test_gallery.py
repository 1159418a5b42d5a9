"""Identity scores: similarity to originals, in terms of how alike the originals are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from PIL import Image

from engines.api.protocols import Embedding, NoFace
from engines.fake import FAKE_MODELS
from studio.judging import gallery as scoring
from studio.records.image import Kind, Verdict
from tests.studio.conftest import World, present


def unit(*values: float) -> tuple[float, ...]:
    """A vector of length one."""
    length = math.hypot(*values)
    return tuple(value / length for value in values)


def test_similarity_is_the_mean_of_the_three_closest() -> None:
    """Far originals don't pull a score down."""
    found = {str(n): unit(1, n) for n in range(3)} | {"far": unit(-1, 0)}
    reference = scoring.make_gallery("v", found)
    expected = (1 + 1 / math.sqrt(2) + 1 / math.sqrt(5)) / 3
    assert scoring.similarity(Embedding(unit(1, 0)), reference) == pytest.approx(expected)
    assert reference.nearest(Embedding(unit(1, 1))) == "1"


def test_floor_and_ceiling_are_those_of_the_originals() -> None:
    """Each original is held against the others; the least alike tenth gives the floor."""
    found = {str(n): unit(1, n / 10) for n in range(11)}
    reference = scoring.make_gallery("v", found)
    assert reference.calibrated
    assert reference.floor < reference.middle < reference.ceiling < 1.0


def test_the_floor_is_never_above_the_scorers_own_threshold() -> None:
    """Twelve pictures from one session are more alike than the same person need be; more alike is no duty."""
    found = {str(n): unit(1, n / 100) for n in range(11)}
    strict = scoring.make_gallery("v", found).floor
    assert strict > 0.99
    assert scoring.make_gallery("v", found, threshold=0.6).floor == 0.6
    assert scoring.make_gallery("v", found, threshold=0.9999).floor == strict


def test_two_originals_say_nothing_of_what_is_usual() -> None:
    """Too few originals let everything through, to a human."""
    reference = scoring.make_gallery("v", {"a": unit(1, 0), "b": unit(0, 1)})
    assert not reference.calibrated
    assert (reference.floor, reference.ceiling) == (-1.0, 1.0)
    assert scoring.similarity(Embedding(unit(1, 0)), reference) == pytest.approx(0.5)


def test_nothing_to_compare_is_no_score() -> None:
    """Without originals a similarity is None, never 0."""
    reference = scoring.make_gallery("v", {})
    assert scoring.similarity(Embedding(unit(1, 0)), reference) is None
    assert reference.nearest(Embedding(unit(1, 0))) == ""


def test_only_originals_that_nobody_rejected_are_in_the_gallery(world: World) -> None:
    """What was drawn never judges what is drawn."""
    world.picture(Kind.ENRICHED, 1, state=Verdict.GOOD)
    world.picture(Kind.SYNTHETIC, 1, state=Verdict.GOOD)
    world.store.decide(world.sources[0], Verdict.REJECT)
    world.store.decide(world.sources[1], Verdict.GOOD)
    world.store.trash([world.sources[2]])
    assert set(scoring.gallery(world.desk).ids) == {world.sources[1], world.sources[3]}


def test_no_face_leaves_the_gallery_and_scores_null(world: World) -> None:
    """An original without a face isn't compared with, a result without one has no score."""
    black = world.store.add_image(Image.new("RGB", (64, 64)), kind=Kind.SOURCE).id
    assert black not in scoring.gallery(world.desk).ids
    result = world.store.add_image(Image.new("RGB", (64, 60)), kind=Kind.ENRICHED).id
    assert scoring.score_images(world.desk, [result]) == {result: None}
    image = world.store.images.get(result)
    assert image.scores == {"fake-identity-1": None}
    assert scoring.score_of(image, "fake-identity-1") is None


def test_scores_of_other_versions_stay(world: World) -> None:
    """A new scorer adds its score beside the old one's."""
    image = world.picture(Kind.SYNTHETIC, 1, scores={"older-1": 0.5})
    scoring.score_images(world.desk, [image])
    scores = world.store.images.get(image).scores
    assert scores["older-1"] == 0.5
    assert 0.5 < present(scores["fake-identity-1"]) <= 1.0


class Counting:
    """A scorer that counts what it is asked to look at."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.spec = next(each for each in FAKE_MODELS if each.role == "scorer")
        self.threshold: float | None = None
        self.looked = 0

    def embed(self, images: Sequence[Image.Image]) -> list[Embedding | NoFace]:
        """The mean colour."""
        self.looked += len(images)
        return [Embedding(unit(*(1 + value for value in image.resize((1, 1)).tobytes()))) for image in images]


def test_originals_are_embedded_once_for_each_scorer_version(world: World) -> None:
    """Embeddings are kept with the store; a new version of the scorer looks again."""
    first = Counting("a-1")
    known = scoring.embeddings(world.store, first, world.sources)
    assert scoring.embeddings(world.store, first, world.sources) == known
    assert first.looked == 4
    more = [*world.sources, world.picture(Kind.SOURCE, 9)]
    scoring.embeddings(world.store, first, more)
    assert first.looked == 5
    second = Counting("a-2")
    scoring.embeddings(world.store, second, more)
    assert second.looked == 5


def test_a_broken_cache_is_made_again(world: World) -> None:
    """Embeddings can always be computed again, so a half-written file costs time alone."""
    scorer = Counting("a-1")
    known = scoring.embeddings(world.store, scorer, world.sources)
    for file in world.store.run_dir("embeddings").iterdir():
        file.write_text('{"half', encoding="utf-8")
    assert scoring.embeddings(world.store, scorer, world.sources) == known


def test_what_is_scored_is_what_was_cropped(world: World) -> None:
    """The gallery follows a crop, back and forth; each part is looked at once."""
    two = Image.new("RGB", (64, 64), (250, 20, 20))
    two.paste((20, 20, 250), (32, 0, 64, 64))
    image = world.store.add_image(two, kind=Kind.SOURCE).id
    scorer = Counting("a-1")

    def seen(crop: tuple[float, ...]) -> tuple[float, ...] | None:
        world.store.set_crop(image, crop)
        return scoring.embeddings(world.store, scorer, [image])[image]

    whole, left, right = seen(()), seen((0.0, 0.0, 0.5, 1.0)), seen((0.5, 0.0, 1.0, 1.0))

    assert left == pytest.approx(unit(251, 21, 21)) and right == pytest.approx(unit(21, 21, 251))
    assert (seen(()), seen((0.0, 0.0, 0.5, 1.0))) == (whole, left)
    assert scorer.looked == 3


def test_a_cropped_result_is_scored_by_its_crop(world: World) -> None:
    """Of an original and something else, what was cropped to the original is it."""
    beside = Image.new("RGB", (128, 64))
    beside.paste(world.store.open_image(world.sources[0]), (0, 0))
    image = world.store.add_image(beside, kind=Kind.ENRICHED).id
    whole = scoring.score_images(world.desk, [image])[image]
    world.store.set_crop(image, (0.0, 0.0, 0.5, 1.0))
    part = scoring.score_images(world.desk, [image])[image]
    assert whole is not None and part is not None and part > whole + 0.2


def test_the_person_most_like_the_originals_counts() -> None:
    """Of two people in a picture the smaller one may be the character; her likeness and nearest original count."""
    found = {"a": (1.0, 0.0, 0.0), "b": (0.8, 0.6, 0.0), "c": (0.6, 0.8, 0.0)}
    reference = scoring.make_gallery("x", found)
    alone = Embedding((0.8, 0.6, 0.0))
    beside = Embedding((0.0, 0.0, 1.0), others=((0.8, 0.6, 0.0),))
    assert scoring.similarity(beside, reference) == scoring.similarity(alone, reference)
    assert reference.nearest(beside) == reference.nearest(alone) == "b"
