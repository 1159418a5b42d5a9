"""A job that draws pictures one by one, and a process to kill in the middle of it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from engines.api.params import GenerateParams
from engines.fake import FAKE_MODELS, FakeDevice, FakeGenerator
from studio.gpu.manager import GpuManager
from studio.jobs.queue import Jobs
from studio.records.image import ImageRecord, Kind
from studio.records.job import Job
from studio.records.payload import DrawPayload, Payload
from studio.store import Library, Store
from studio.workplace.context import Context
from studio.workplace.desk import Desk


@dataclass(frozen=True, kw_only=True)
class Numbered(Payload):
    """Holds a number alone, for jobs whose request does not matter."""

    n: int = 0


@dataclass(frozen=True, kw_only=True)
class DrawSlowly(DrawPayload):
    """Names the pictures to draw, and whether to pause after each."""

    slow: bool = False


@dataclass
class House:
    """As much of a studio as a context needs."""

    library: Library
    jobs: Jobs = field(init=False)
    gpu: GpuManager = field(default_factory=lambda: GpuManager(FakeDevice(1 << 40), 1 << 40, {}))

    def store(self, character_id: str) -> Store:
        """A character's store."""
        return self.library.open(character_id)

    def desk(self, character_id: str) -> Desk:
        """A character's desk."""
        return Desk(self, character_id)  # type: ignore[arg-type]  # it has what a context asks for


def items(count: int) -> list[GenerateParams]:
    """As many different wishes."""
    return [GenerateParams(prompt="a hill", seed=seed, steps=1, width=16, height=16) for seed in range(count)]


def draw(ctx: Context) -> None:
    """Draw what is not drawn yet, and say on stdout what is acknowledged."""
    done = {record.seed for record in drawn(ctx.store, ctx.job)}
    asked = DrawSlowly.of(ctx.job)
    wanted = [GenerateParams.from_json(item) for item in asked.items]
    left = [item for item in wanted if item.seed not in done]
    engine = FakeGenerator(FAKE_MODELS[0], Path())
    kept: list[str] = []
    with ctx.lease(engine.plan(left)) as lease:
        pictures = engine.generate(left, lease, lambda step, total, message="": None)
        for number, (item, picture) in enumerate(zip(left, pictures, strict=True), len(done) + 1):
            ctx.step(number, len(wanted))
            record = ctx.save(picture, kind=Kind.SYNTHETIC, item=item)
            kept.append(record.id)
            print(record.id, flush=True)
            if asked.slow:
                time.sleep(0.01)
    ctx.keep(images=tuple(kept))


def drawn(store: Store, job: Job) -> list[ImageRecord]:
    """A job's pictures."""
    return store.images.find(job=job.id)


def open_jobs(library: Library) -> Jobs:
    """A queue that can draw."""
    house = House(library)
    house.jobs = Jobs(library, {"draw": lambda job: draw(Context(job, house))})  # type: ignore[arg-type]
    return house.jobs


if __name__ == "__main__":
    with Library(Path(sys.argv[1])) as opened:
        character = opened.create("Mira")
        queue = open_jobs(opened)
        payload = DrawSlowly(items=tuple(item.to_json() for item in items(500)), slow=True)
        queue.submit("draw", character.id, payload, title="Draw 500", here=True)
