"""A studio with fakes, and pictures to feed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import assets
from engines.fake import fake_registry
from studio.nouns import Character, ImageRecord, Kind
from studio.settings import Settings
from studio.studio import Studio
from tests.tabs.colour_blocks import picture, png

ASSETS = Path(assets.__file__).parent


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """A studio on fakes in a folder of its own; its queue does not run until a test starts it."""
    settings = Settings(data_root=tmp_path / "home", assets=ASSETS, device="fake", models_dir=tmp_path / "models")
    made = Studio(settings, registry=fake_registry(settings.assets, settings.models_dir))
    yield made
    made.close()


@pytest.fixture
def anna(studio: Studio) -> Character:
    """A character that stands on the fake models."""
    names = {role: studio.registry.role(role)[0].name for role in ("generator", "editor", "scorer")}
    return studio.library.create("Anna", trigger="ohwx", subject="person", **names)


@pytest.fixture
def add(studio: Studio, anna: Character) -> Callable[..., ImageRecord]:
    """Adds one picture to Anna's store; each is different."""
    counter = iter(range(1000))

    def add_one(kind: Kind = Kind.SOURCE, **fields: object) -> ImageRecord:
        number = next(counter)
        caption = f"ohwx person, number {number}" if kind is Kind.SOURCE else ""
        return studio.store(anna.id).add_image(
            png(picture(number)), kind=kind, **{"name": f"anna_{number}.png", "caption": caption, **fields}
        )

    return add_one
