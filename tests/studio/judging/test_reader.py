"""What reads a picture: questions where they are trusted, words elsewhere, and what is kept of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from engines.catalogue.registry import Registry
from engines.fake.asking import FakeAsker
from engines.fake.device import FakeDevice
from engines.fake.models import FAKE_MODELS
from studio.flywheel import card
from studio.flywheel.curate import captions
from studio.judging import faces
from studio.open import open_workplace
from studio.records.image import Kind
from studio.records.reading import ReadBy
from studio.settings import Settings
from tests.studio.conftest import World

TRUSTED = ("expression",)


@pytest.fixture
def trusting(tmp_path: Path) -> Iterator[World]:
    """A character whose editor's answers were measured on the expression."""
    assets = tmp_path / "assets"
    rows = [replace(row, options={"trusted_axes": TRUSTED}) if row.role == "editor" else row for row in FAKE_MODELS]
    settings = Settings(data_root=tmp_path / "home", assets=assets, device="fake")
    with open_workplace(settings, registry=Registry(assets, tmp_path, rows), device=FakeDevice(24 << 30)) as workplace:
        yield World(workplace, workplace.registry)  # type: ignore[arg-type]  # nothing here watches the engines


def test_trusted_answers_count_and_words_fill_the_rest(trusting: World) -> None:
    """The expression is read by its question, the angle from the caption, and the card says which."""
    world = trusting
    job = world.finish(card.submit(world.desk, seeds=(0,)))
    run = world.store.cards.get(str(job.artifacts.card))
    image = world.store.images.get(run.cells[0].image)
    assert image.read_by == {"angle": ReadBy.CAPTION, "expression": ReadBy.QUESTION}
    logs = image.answers[FakeAsker.version]["expression"]
    assert image.tags["expression"] == max(logs, key=lambda value: logs[value])
    assert set(image.answers[FakeAsker.version]) == {"angle", "expression", "framing"}
    assert run.judge["expression"].trusted
    told = " ".join(card.reading_notes(world.desk, run))
    assert "by questions with a probability: expression." in told
    assert "words of a caption: angle, pose." in told


def test_an_old_card_says_that_captions_read_it(world: World) -> None:
    """A card without a word on its judge opens and is labelled as read from captions."""
    job = world.finish(card.submit(world.desk, seeds=(0,)))
    run = world.store.cards.get(str(job.artifacts.card)).replace(judge={})
    for cell in run.cells:
        world.store.update_image(cell.image, answers={}, read_by={})
    assert card.reading_notes(world.desk, run) == ("Read from the words of a caption: angle, expression, pose.",)
    assert "judge" not in run.to_json()
    assert "answers" not in world.store.images.get(run.cells[0].image).to_json()


def test_an_answer_without_a_side_only_denies(world: World) -> None:
    """Half turned is another angle than the front; which side it is stays unknown."""
    picture = Image.new("RGB", (64, 64))
    for wanted, told in (("front", {"angle": ""}), ("half-left", {}), ("profile-right", {"angle": ""}), ("", {})):
        assert faces.measured(None, picture, {"angle": "half"}, wanted) == told
    assert faces.measured(None, picture, {"angle": "front"}, "half-left") == {"angle": "front"}


def test_captioned_pictures_keep_their_answers(trusting: World) -> None:
    """Coverage counts the trusted answer, and the record keeps all of them beside the caption."""
    image = trusting.picture(Kind.SOURCE, 100, caption="")
    trusting.finish(captions.submit_caption(trusting.desk, [image]))
    kept = trusting.store.images.get(image)
    assert kept.read_by["expression"] is ReadBy.QUESTION
    assert set(kept.answers[FakeAsker.version]) == {"angle", "expression", "framing", "pose"}
    assert kept.caption_by == "fake-edit"
