"""A studio with fakes, pictures to feed it, and a review link beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import assets
from engines.fake import fake_registry
from studio.open import open_workplace
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind
from studio.settings import Settings
from studio.workplace.desk import Workplace
from tabs import app
from tabs.serving import Running
from tabs.sharing import ReviewLink
from tests.tabs.colour_blocks import picture, png

ASSETS = Path(assets.__file__).parent


def studio_on_fakes(folder: Path) -> Workplace:
    """A studio in a folder of its own; its queue does not run until someone starts it."""
    settings = Settings(data_root=folder / "home", assets=ASSETS, device="fake", models_dir=folder / "models")
    return open_workplace(settings, registry=fake_registry(settings.assets, settings.models_dir))


def character_on_fakes(studio: Workplace, name: str) -> Character:
    """A character that stands on the fake models."""
    names = {role: studio.registry.role(role)[0].name for role in ("generator", "editor", "scorer")}
    return studio.library.create(name, trigger="ohwx", subject="person", **names)


@dataclass(frozen=True)
class House:
    """A served studio that tests look at from outside, each with a character of its own."""

    studio: Workplace
    running: Running

    @property
    def url(self) -> str:
        """Where it is served."""
        return self.running.url


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The studio's own app, served once: to launch it takes longer than all that is asked of it."""
    studio = studio_on_fakes(tmp_path_factory.mktemp("house"))
    running = app.launch(studio)
    yield House(studio, running)
    running.close()
    studio.close()


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Workplace]:
    """A studio of the test's own, not served."""
    made = studio_on_fakes(tmp_path)
    yield made
    made.close()


@pytest.fixture
def anna(studio: Workplace) -> Character:
    """A character in the test's own studio."""
    return character_on_fakes(studio, "Anna")


@pytest.fixture
def add(studio: Workplace, anna: Character) -> Callable[..., ImageRecord]:
    """Adds one picture to Anna's store; each is different."""
    counter = iter(range(1000))

    def add_one(kind: Kind = Kind.SOURCE, **fields: object) -> ImageRecord:
        number = next(counter)
        caption = f"ohwx person, number {number}" if kind is Kind.SOURCE else ""
        return studio.store(anna.id).add_image(
            png(picture(number)), kind=kind, **{"name": f"anna_{number}.png", "caption": caption, **fields}
        )

    return add_one


@contextmanager
def no_way_out() -> Iterator[None]:
    """No way to the tunnel's server, whatever this machine's network is."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment.setenv(name, "http://127.0.0.1:9")
        for name in ("no_proxy", "NO_PROXY"):
            environment.setenv(name, "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="module")
def vera(house: House) -> Character:
    """Whose pictures are shared."""
    return character_on_fakes(house.studio, "Vera")


@pytest.fixture(scope="module")
def link(house: House, vera: Character) -> Iterator[dict[str, Any]]:
    """An open review link beside the studio's app, and what it answers."""
    opened = ReviewLink(house.studio)
    with no_way_out():
        told = opened.start(vera.id, 1.0)
    yield told
    opened.stop()
