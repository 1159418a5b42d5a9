"""Judging where nobody can tell: what is missing costs the judgement, never the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from engines.api.errors import ModelMissing
from engines.api.protocols import Embedding, NoFace
from engines.catalogue.registry import Registry
from engines.fake import FAKE_MODELS, FakeDevice, FakeScorer
from studio.flywheel import generate
from studio.judging.judge import Judge
from studio.open import open_workplace
from studio.records.event import Warned
from studio.records.job import JobState
from studio.settings import Settings
from tests.studio.conftest import World, present
from tests.tabs.waiting import ended


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


@pytest.mark.parametrize("originals", [0, 2])
def test_too_few_originals_set_nobody_aside(world: World, originals: int) -> None:
    """There is no floor to fall below, and nothing is called faceless for want of somebody to compare with."""
    world.store.trash(world.sources[originals:])
    job = world.finish(generate.submit(world.desk, generate.scene_items(world.desk, 3)))
    drawn = [world.store.images.get(image) for image in present(job.artifacts.images)]
    judge = Judge(world.context(job))

    assert judge.floor is None
    assert not any(image.filtered or image.advice for image in drawn)
