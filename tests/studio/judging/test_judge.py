"""Judging where nobody can tell: what is missing costs the judgement, never the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from PIL import Image

from engines.api.errors import ModelMissing
from engines.api.protocols import Embedding, NoFace
from engines.catalogue.registry import Registry
from engines.fake import FAKE_MODELS, FakeDevice, FakeScorer
from studio.flywheel import generate, review
from studio.judging.judge import Judge
from studio.open import open_workplace
from studio.records.event import Warned
from studio.records.image import Kind
from studio.records.job import JobState
from studio.records.outcome import Outcome
from studio.settings import Settings
from studio.workplace.context import Context
from tests.studio.conftest import World, present
from tests.tabs.waiting import ended

_BRIGHT = 300  # of the three channels together


class Faces(FakeScorer):
    """A scorer that finds a face only where a picture's left upper corner is bright, as in no profile."""

    version = "faces-1"

    def embed(self, images: Sequence[Image.Image]) -> list[Embedding | NoFace]:
        """Returns NoFace for a picture with a dark corner."""
        return [
            found if sum(cast(tuple[int, ...], image.convert("RGB").getpixel((0, 0)))) > _BRIGHT else NoFace()
            for image, found in zip(images, super().embed(images), strict=True)
        ]


class Unplugged(FakeScorer):
    """A scorer that finds only when it is used that its weights cannot be read."""

    def embed(self, images: Sequence[Image.Image]) -> list[Embedding | NoFace]:
        """Refuse."""
        raise ModelMissing("unplugged cannot read its weights.", "Get them whole.")


def test_a_scorer_that_fails_at_the_first_picture_costs_the_scores_alone(tmp_path: Path) -> None:
    """Without originals to embed, the weights are first wanted when a picture is drawn: it is kept, unscored."""
    fakes = {spec.role: spec for spec in reversed(FAKE_MODELS)}
    unplugged = replace(fakes["scorer"], name="unplugged", engine=f"{__name__}:Unplugged")
    registry = Registry(tmp_path / "assets", tmp_path / "models", (*FAKE_MODELS, unplugged))
    settings = Settings(data_root=tmp_path / "home", assets=tmp_path / "assets", device="fake")
    studio = open_workplace(settings, registry=registry, device=FakeDevice(24 << 30))
    models = {"generator": fakes["generator"].name, "editor": fakes["editor"].name, "scorer": "unplugged"}
    who = studio.library.create("Mira", **models).id
    job = generate.submit(studio.desk(who), generate.scene_items(studio.desk(who), 2))

    studio.jobs.start()
    job = ended(studio, job)

    assert job.state is JobState.DONE, job.error
    assert [studio.store(who).images.get(image).scores for image in present(job.artifacts.images)] == [{}, {}]
    told = [event.warning for event in studio.jobs.events(job.id)[0] if isinstance(event, Warned)]
    assert sum("not scored" in words for words in told) == 1
    studio.close()


@pytest.fixture
def profiles(tmp_path: Path) -> Iterator[Context]:
    """The context of a job of a character whose scorer looks for faces, and names another for pictures without one."""
    fakes = {spec.role: spec for spec in reversed(FAKE_MODELS)}
    other = {"faceless": fakes["scorer"].name}
    faces = replace(fakes["scorer"], name="faces", engine=f"{__name__}:Faces", options=other)
    lone = replace(faces, name="lone", options={"faceless": "unplugged"})
    unplugged = replace(faces, name="unplugged", engine=f"{__name__}:Unplugged", options={})
    registry = Registry(tmp_path / "assets", tmp_path / "models", (*FAKE_MODELS, faces, lone, unplugged))
    settings = Settings(data_root=tmp_path / "home", assets=tmp_path / "assets", device="fake")
    studio = open_workplace(settings, registry=registry, device=FakeDevice(24 << 30))
    models = {"generator": fakes["generator"].name, "editor": fakes["editor"].name, "scorer": "faces"}
    who = studio.library.create("Mira", **models).id
    store = studio.store(who)
    for n in range(4):
        store.add_image(_drawn(corner=255, shade=120 + 8 * n), kind=Kind.SOURCE)
    yield Context(generate.submit(studio.desk(who), generate.scene_items(studio.desk(who), 1)), studio)
    studio.close()


def test_a_picture_without_a_face_is_judged_as_a_whole(profiles: Context) -> None:
    """The second scorer judges it by a floor of its own; the figure of faces stays unknown, and stands last."""
    judge = Judge(profiles)

    like = present(judge.likeness(_drawn(corner=0, shade=150)))
    other = present(judge.likeness(Image.new("RGB", (64, 64), (0, 0, 80))))

    assert list(like.scores) == ["fake-identity-1", "faces-1"]
    assert judge.identity(like.scores) is None and like.nearest
    assert judge.outcome(like.scores) is Outcome.PASS and judge.advice(like.scores) == {}
    assert judge.outcome(other.scores) is Outcome.FAIL
    assert judge.below(other.scores, floor=-1.0) and not judge.below(like.scores, floor=1.0)


def test_a_face_is_never_judged_as_a_whole_picture(profiles: Context) -> None:
    """Where a face was found its similarity alone decides, however like the whole picture is."""
    judge = Judge(profiles)
    found = present(judge.likeness(_drawn(corner=255, shade=150)))

    assert list(found.scores) == ["faces-1"]
    assert judge.outcome({"faces-1": judge.gallery.floor - 0.01, "fake-identity-1": 1.0}) is Outcome.FAIL


def test_without_the_second_scorer_a_profile_stays_unknown(profiles: Context) -> None:
    """Its missing weights are told once; the picture neither passes nor fails."""
    profiles.workplace.library.update(profiles.store.character.id, scorer="lone")
    judge = Judge(profiles)

    found = [present(judge.likeness(_drawn(corner=0, shade=150))) for _ in range(2)]

    assert [each.scores for each in found] == [{"faces-1": None}] * 2
    assert judge.outcome(found[0].scores) is Outcome.UNKNOWN
    told = [event.warning for event in profiles.workplace.jobs.events(profiles.job.id)[0] if isinstance(event, Warned)]
    assert sum("without a face are not scored" in words for words in told) == 1


def test_review_tells_that_the_whole_picture_was_compared(profiles: Context) -> None:
    """The reason names the floor of whole pictures, not that of faces."""
    judge, store = Judge(profiles), profiles.store
    image = store.add_image(_drawn(corner=0, shade=150), kind=Kind.SYNTHETIC)
    likeness = present(judge.likeness(_drawn(corner=0, shade=150)))
    store.update_image(image.id, **likeness.replacing({}))

    why = review.explain(profiles.desk, image.id)

    assert why.score is None and why.compared == likeness.scores["fake-identity-1"]
    assert why.floor is not None and f"the floor {why.floor:.2f}" in why.words and "whole picture" in why.words


def _drawn(corner: int, shade: int) -> Image.Image:
    """Returns a picture of one person: like all others of it but for the corner in which a face would be."""
    picture = Image.new("RGB", (64, 64), (shade, 90, 40))
    picture.paste((corner, corner, corner), (0, 0, 2, 2))
    return picture


@pytest.mark.parametrize("originals", [0, 2])
def test_too_few_originals_set_nobody_aside(world: World, originals: int) -> None:
    """There is no floor to fall below, and nothing is called faceless for want of somebody to compare with."""
    world.store.trash(world.sources[originals:])
    job = world.finish(generate.submit(world.desk, generate.scene_items(world.desk, 3)))
    drawn = [world.store.images.get(image) for image in present(job.artifacts.images)]
    judge = Judge(world.context(job))

    assert judge.outcome({judge.gallery.version: 0.99}) is Outcome.UNKNOWN
    assert not any(image.filtered or image.advice for image in drawn)
