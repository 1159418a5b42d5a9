"""A small world on fakes: a studio with one character, its sources, and a worker to be stopped at a step."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from PIL import Image

from engines.api.params import EditParams, TrainParams
from engines.api.protocols import ModelSpec
from engines.catalogue.registry import Registry
from engines.fake import FAKE_MODELS, FakeDevice
from engines.wording.drawn import DRAWN
from studio.open import RUNNERS, open_workplace
from studio.records.event import Warned
from studio.records.image import Kind, Verdict
from studio.records.job import Job, JobState
from studio.settings import Settings
from studio.store import Library, Store
from studio.workplace.context import Context, Runner
from studio.workplace.desk import Desk, Workplace
from tests.studio.jobs.queueing import Bench

T = TypeVar("T")
_ENDED = {JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED}
_FAR_AWAY = ModelSpec(
    name="far-away",
    label="far-away",
    role="generator",
    family="fake",
    engine="engines.fake:FakeGenerator",
    source="nobody/far-away",
    licence="none",
    trainer="engines.fake:FakeTrainer",
    loop="engines.fake:FakeTrainer",
)
_FAR_EDITOR = dataclasses.replace(_FAR_AWAY, name="far-edit", role="editor", engine="engines.fake:FakeEditor")


def present(found: T | None) -> T:
    """Returns a value that may be None, such as an artifact of a job; fails the test where it is None."""
    assert found is not None
    return found


class WatchedRegistry(Registry):
    """The fake models; `watch` is called at every step of any engine, before the job's own on_step."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, folder / "models", (*FAKE_MODELS, _FAR_AWAY, _FAR_EDITOR))
        self.watch: Callable[[int], object] = lambda step: None

    def engine(self, name: str) -> Any:
        """The row's engine, watched."""
        return _Watched(super().engine(name), self)

    def trainer(self, name: str) -> Any:
        """The row's trainer, watched."""
        return _Watched(super().trainer(name), self)


class _Watched:
    def __init__(self, engine: Any, registry: WatchedRegistry) -> None:
        self._engine = engine
        self._registry = registry

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        if name not in ("generate", "edit", "train"):
            return found

        def watched(what: Any, lease: Any, on_step: Any) -> Any:
            def step(number: int, total: int, message: str = "") -> None:
                self._registry.watch(number)
                on_step(number, total, message)

            return found(what, lease, step)

        return watched


class World:
    """What a test does in one line."""

    def __init__(self, studio: Workplace, registry: WatchedRegistry) -> None:
        self.studio = studio
        self._registry = registry
        models = {"generator": "fake-flux", "editor": "fake-edit", "scorer": "fake-identity"}
        self.id = studio.library.create("Mira", **models).id
        self.store = studio.store(self.id)
        caption = {"caption": "ohwx person, front view, neutral", "caption_by": "human"}
        self.sources = [self.picture(Kind.SOURCE, n, name=f"{n}.png", **caption) for n in range(4)]

    @property
    def desk(self) -> Desk:
        """The character's desk in the studio that is open now."""
        return self.studio.desk(self.id)

    def picture(self, kind: Kind, n: int, **fields: Any) -> str:
        """A picture of the character, the n-th of its kind."""
        bytes_ = hashlib.sha512(f"{kind} {n}".encode()).digest()[:48]
        grid = Image.blend(Image.new("RGB", (4, 4), (200, 90, 40)), Image.frombytes("RGB", (4, 4), bytes_), 0.3)
        words = {"caption": f"ohwx person, {kind} {n}"}
        return self.store.add_image(grid.resize((64, 64)), kind=kind, **{**words, **fields}).id

    def review(self, approved: int = 0, corrected: int = 0) -> list[str]:
        """Edits of the first source that a human approved or mended."""
        task = next(task for task in DRAWN.edit_tasks() if task.value == "smiling")
        edits = []
        for n in range(approved + corrected):
            params = self.studio.registry.spec("fake-edit").worded(EditParams, task.words, seed=n)
            made = {"params": params.to_json(), "params_kind": "EditParams", "asked": dict(task.expects)}
            edits.append(self.picture(Kind.ENRICHED, n, parent=self.sources[0], **made))
        for edit in edits[:approved]:
            self.store.decide(edit, Verdict.GOOD)
        for n, edit in enumerate(edits[approved:]):
            self.store.correct(edit, Image.new("RGB", (64, 64), (200, 90, 40 + n)), reviewer="owner")
        return edits

    def train_params(self, **changes: Any) -> TrainParams:
        """The fake model's own, with changes."""
        return self.studio.registry.spec("fake-flux").params(TrainParams, **changes)

    def warnings(self, job_id: str) -> list[str]:
        """Returns the warnings among a job's events, oldest first."""
        return [event.warning for event in self.studio.jobs.events(job_id)[0] if isinstance(event, Warned)]

    def context(self, job: Job) -> Context:
        """What the job's runner saw."""
        return Context(job, self.studio)

    def finish(self, job: Job, state: JobState = JobState.DONE) -> Job:
        """Wait for a job's end, and say why it ended otherwise than expected."""
        self.studio.jobs.start()
        while (job := self.studio.jobs.get(job.id)).state not in _ENDED:
            time.sleep(0.005)
        assert job.state is state, job.error
        return job

    def cancel_at(self, job: Job, step: int) -> Job:
        """Let a job run until an engine's step, cancel it there, wait for its end."""
        self.watch(lambda number: number == step and self.studio.jobs.cancel(job.id))
        return self.finish_cancelled(job)

    def cancel_when(self, job: Job, ripe: Callable[[Job], bool]) -> Job:
        """The same at the first step at which the job looks ripe."""
        self.watch(lambda _: ripe(self.studio.jobs.get(job.id)) and self.studio.jobs.cancel(job.id))
        return self.finish_cancelled(job)

    def reopen(self, **runners: Runner) -> None:
        """Close the studio and open it again on the same folder, as after a restart; `runners` replace its own."""
        self.studio.close()
        self.studio = open_workplace(
            self.studio.settings,
            registry=self._registry,
            device=FakeDevice(24 << 30),
            runners={**RUNNERS, **runners},
        )
        self.store = self.studio.store(self.id)

    def watch(self, each_step: Callable[[int], object]) -> None:
        """Have something called, in the worker's thread, at every step of any engine."""
        self._registry.watch = each_step

    def finish_cancelled(self, job: Job) -> Job:
        """Wait for a job that the watch cancels, and stop watching."""
        ended = self.finish(job, JobState.CANCELLED)
        self.watch(lambda step: None)
        return ended


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One character with four captioned sources, on fakes."""
    registry = WatchedRegistry(tmp_path / "assets")
    settings = Settings(data_root=tmp_path / "home", assets=tmp_path / "assets", device="fake")
    studio = open_workplace(settings, registry=registry, device=FakeDevice(24 << 30))
    made = World(studio, registry)
    yield made
    made.studio.close()


@pytest.fixture
def bench(library: Library, store: Store) -> Iterator[Bench]:
    """A queue with one character, its worker not started."""
    made = Bench(library, store.character.id)
    yield made
    made.jobs.close()
