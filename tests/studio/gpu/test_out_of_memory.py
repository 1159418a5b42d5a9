"""Memory that runs out anywhere in a job of the embedded family: the job goes on, the picture is the same."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import assets
from engines.api.params import EditParams, GenerateParams
from engines.api.protocols import EditItem
from engines.catalogue.models import MODELS
from engines.catalogue.registry import Registry
from engines.fake import FakeCard
from studio.flywheel import generate
from studio.open import open_workplace
from studio.records.job import Job, JobError, JobState
from studio.records.payload import DrawPayload
from studio.settings import Settings
from studio.workplace.context import Context
from studio.workplace.desk import Workplace

pytestmark = pytest.mark.slow

SOURCE = Path(assets.__file__).parent / "sample" / "robin-01.png"


def _kept(_index: int, image: Image.Image, _item: object) -> Any:
    """A picture as its hash, so that equal ones are seen to be equal."""
    return SimpleNamespace(id=hashlib.sha256(image.tobytes()).hexdigest())


def _draw(ctx: Context) -> None:
    generate.draw(ctx, _kept)


def _edit(ctx: Context) -> None:
    """Edit what is not edited yet."""
    asked = DrawPayload.of(ctx.job)
    images = list(ctx.job.artifacts.images or ())
    engine = ctx.workplace.engine(asked.model)
    source = Image.open(SOURCE).convert("RGB")
    items = [EditItem(source, EditParams.from_json(item)) for item in asked.items][len(images) :]
    with ctx.lease(engine.plan(items)) as lease:
        for image in engine.edit(items, lease, ctx.step):
            ctx.keep(images=(*(ctx.job.artifacts.images or ()), _kept(0, image, None).id))


@dataclass
class House:
    """A studio on a card whose every allocation can fail."""

    studio: Workplace
    card: FakeCard
    character: str

    def run(self, kind: str, payload: DrawPayload) -> Job:
        """Run a job to its end."""
        self.studio.jobs.start()
        job = self.studio.jobs.submit(kind, self.character, payload, title=kind)
        while (job := self.studio.jobs.get(job.id)).state in (JobState.QUEUED, JobState.RUNNING):
            threading.Event().wait(0.002)
        return job


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The embedded family on a card so small that every stage is copied in anew, its masters in RAM."""
    home = tmp_path_factory.mktemp("home")
    card = FakeCard(int(0.7 * (1 << 30)) + (80 << 20))  # the manager's reserve, and the hungriest stage
    settings = Settings(data_root=home, assets=Path(assets.__file__).parent, device="cpu")
    forgetful = [replace(spec, options={**spec.options, "encoding_cache_bytes": 0}) for spec in MODELS]
    registry = Registry(settings.assets, settings.models_dir, forgetful)  # so that every job asks for its encoders
    with open_workplace(settings, registry, device=card, runners={"draw": _draw, "edit": _edit}) as studio:
        yield House(studio, card, studio.library.characters()[0].id)


DRAW = DrawPayload(
    model="mini-flux",
    version="",
    items=tuple(GenerateParams(prompt="person", steps=1, width=64, height=height).to_json() for height in (64, 32)),
)
EDIT = DrawPayload(
    model="mini-qwen-edit",
    items=tuple(EditParams(instruction="turn the head", steps=n, true_cfg=1.0, seed=n).to_json() for n in (2,)),
)


@pytest.mark.parametrize(("kind", "payload"), [("draw", DRAW), ("edit", EDIT)])
def test_running_out_at_any_point_changes_no_picture(house: House, kind: str, payload: DrawPayload) -> None:
    """Each part and each block in turn finds no memory the first time it asks, and at the very end one does again: the
    job goes on by itself, with the same pictures to the bit; only what the manager knows is left on the card."""
    house.run(kind, payload)  # what is loaded now is loaded for all that follow
    house.card.asked.clear()
    plain = house.run(kind, payload)
    asked = house.card.asked.copy()
    assert (plain.state, plain.error) == (JobState.DONE, JobError())
    assert len(set(plain.artifacts.images or ())) == len(payload.items)

    points = sorted({asked.index(who) for who in asked} | {len(asked) - 1})
    for point in points:
        house.card.fail_at = frozenset({house.card.puts + point + 1})
        job = house.run(kind, payload)
        assert (job.state, job.error) == (JobState.DONE, JobError())
        assert job.artifacts.images == plain.artifacts.images
        assert house.card.used == house.studio.gpu.status().used
        assert house.card.litter == 0
    assert len(points) > 20


@pytest.mark.parametrize(("kind", "payload"), [("draw", DRAW)])
def test_no_room_at_all_is_told_with_the_numbers(house: House, kind: str, payload: DrawPayload) -> None:
    """A card that fails at every allocation from some point on ends the job as out of memory, not as a bug, and leaves
    nothing half-loaded; with memory back the same job, resumed, draws the same pictures."""
    house.studio.gpu.unload_all()
    house.card.fail_at = frozenset()
    plain = house.run(kind, payload)
    house.studio.gpu.unload_all()
    house.card.fail_at = frozenset(range(house.card.puts + 12, house.card.puts + 10_000))
    failed = house.run(kind, payload)
    assert (failed.state, failed.error.code) == (JobState.FAILED, "out_of_memory")
    assert " needs " in failed.error.message
    assert house.card.used == house.studio.gpu.status().used

    house.card.fail_at = frozenset()
    house.studio.gpu.unload_all()
    house.studio.jobs.resume(failed.id)
    while (job := house.studio.jobs.get(failed.id)).state in (JobState.QUEUED, JobState.RUNNING):
        threading.Event().wait(0.002)

    assert job.artifacts.images == plain.artifacts.images
