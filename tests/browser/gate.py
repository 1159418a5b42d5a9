"""A studio served in the test's own process, whose engines go on only as far as the test lets them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import assets
from engines.fake import FakeDevice
from studio.open import open_workplace
from studio.records.image import Kind
from studio.settings import Settings
from studio.store import Store
from studio.workplace.desk import Workplace
from tabs import app
from tests.studio.conftest import WatchedRegistry
from tests.tabs.colour_blocks import picture, png

PATIENCE_S = 120.0


class Gate:
    """Called at every step of every engine; a step beyond those that were let through waits."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._let = self._passed = 0
        self._open = False

    def __call__(self, step: int) -> None:
        with self._moved:
            self._moved.wait_for(lambda: self._open or self._passed < self._let)
            self._passed += 1
            self._moved.notify_all()

    def let(self, steps: int) -> None:
        """Let so many more steps through, without waiting for them."""
        with self._moved:
            self._let = self._passed + steps
            self._moved.notify_all()

    def settled(self) -> None:
        """Wait until all steps that were let through are done."""
        with self._moved:
            assert self._moved.wait_for(lambda: self._passed >= self._let, PATIENCE_S)

    def shut(self) -> None:
        """Let nothing through any more."""
        with self._moved:
            self._open, self._let = False, self._passed

    def open(self) -> None:
        """Let everything through from now on."""
        with self._moved:
            self._open = True
            self._moved.notify_all()


@dataclass(frozen=True)
class Gated:
    """A served studio with one character, Anna, and the gate of its engines."""

    studio: Workplace
    url: str
    gate: Gate
    anna: str

    @property
    def store(self) -> Store:
        """Anna's."""
        return self.studio.store(self.anna)

    def character(self, name: str, pictures: int = 0) -> str:
        """Another character, with captioned pictures. Returns its id."""
        models = {role: self.studio.registry.role(role)[0].name for role in ("generator", "editor", "scorer")}
        made = self.studio.library.create(name, trigger="ohwx", subject="person", **models).id
        for n in range(pictures):
            words = {"caption": f"ohwx person, front view, number {n}", "caption_by": "human", "name": f"{n}.png"}
            self.studio.store(made).add_image(png(picture(n)), kind=Kind.SOURCE, **words)
        return made


@contextmanager
def gated(folder: Path) -> Iterator[Gated]:
    """Serve a studio on fakes, its engines held at their first step."""
    registry = WatchedRegistry(folder / "assets")
    gate = registry.watch = Gate()
    settings = Settings(data_root=folder / "home", assets=Path(assets.__file__).parent, device="fake")
    studio = open_workplace(settings, registry=registry, device=FakeDevice(24 << 30))
    running = app.launch(studio)
    made = Gated(studio, running.url, gate, "anna")
    assert made.character("Anna", 10) == "anna"
    try:
        yield made
    finally:
        gate.open()
        running.close()
        studio.close()
