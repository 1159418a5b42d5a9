"""A studio on slow fakes, doing one kind of work, that tells what it has acknowledged until somebody kills it."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from PIL import Image

from engines.api.params import TrainParams
from engines.catalogue.registry import Registry
from engines.fake import FAKE_MODELS
from studio.flywheel import generate
from studio.flywheel.curate import importing
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.train import character as train
from studio.open import open_workplace
from studio.records.image import Kind, Verdict
from studio.records.job import Job
from studio.settings import Settings
from studio.workplace.desk import Workplace

MODELS = {"generator": "fake-flux", "editor": "fake-edit", "scorer": "fake-identity"}
PICTURES = 60


class SlowRegistry(Registry):
    """The fakes, with a pause at every step, so that a kill falls into the middle of the work."""

    def __init__(self, folder: Path, pause_s: float) -> None:
        super().__init__(folder, folder / "models", FAKE_MODELS)
        self._pause_s = pause_s

    def engine(self, name: str) -> Any:
        """A slow engine."""
        return _Slow(super().engine(name), self._pause_s)

    def trainer(self, name: str) -> Any:
        """A slow trainer."""
        return _Slow(super().trainer(name), self._pause_s)


class _Slow:
    def __init__(self, engine: Any, pause_s: float) -> None:
        self._engine = engine
        self._pause_s = pause_s

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        if name not in ("generate", "edit", "train"):
            return found

        def slowed(what: Any, lease: Any, on_step: Any) -> Any:
            def step(number: int, total: int, message: str = "") -> None:
                time.sleep(self._pause_s)
                on_step(number, total, message)

            return found(what, lease, step)

        return slowed


def open_studio(root: Path, pause_s: float = 0.0) -> Workplace:
    """A studio in `root` whose only character is made at the first call."""
    settings = Settings(data_root=root / "home", assets=root / "assets", device="fake")
    studio = open_workplace(settings, registry=SlowRegistry(root, pause_s))
    if not studio.library.characters():
        studio.library.create("Mira", **MODELS)
    return studio


def work(studio: Workplace, what: str, root: Path) -> Job | None:
    """Begin one kind of work on a fresh studio; answers its job, None for what has none."""
    who = studio.library.characters()[0].id
    if what == "import":
        return importing.submit_import(studio.desk(who), [_folder(root)])
    store = studio.store(who)
    pictures = [store.add_image(_picture(n), kind=Kind.SOURCE, caption="ohwx person, front view") for n in range(4)]
    if what == "edit":
        return enrich.submit(studio.desk(who), enrich.plan(studio.desk(who), limit=PICTURES, seeds=4).rows)
    if what == "generate":
        return generate.submit(studio.desk(who), generate.scene_items(studio.desk(who), PICTURES, "", seed=0))
    if what == "train":
        params = studio.registry.spec("fake-flux").params(TrainParams, steps=400, save_every=5, sample_every=50)
        return train.submit(studio.desk(who), params=params)
    for n in range(PICTURES):
        edit = store.add_image(_picture(100 + n), kind=Kind.ENRICHED, parent=pictures[0].id)
        store.decide(edit.id, (Verdict.GOOD, Verdict.REJECT)[n % 2])
        time.sleep(0.005)
    return None


def facts(studio: Workplace) -> dict[str, Any]:
    """What has been acknowledged by now."""
    store = studio.store(studio.library.characters()[0].id)
    return {
        "pictures": {image.id: image.state for image in store.images.all()},
        "decisions": [decision.id for decision in store.decisions.all()],
        "checkpoints": [each.step for job in studio.jobs.list() for each in job.artifacts.checkpoints or ()],
    }


def _picture(n: int) -> Image.Image:
    return Image.new("RGB", (32, 32), (n % 256, 255 - n % 256, 90 + n % 50))


def _folder(root: Path) -> Path:
    folder = root / "drop"
    folder.mkdir()
    for n in range(PICTURES):
        _picture(n).save(folder / f"{n:03d}.png")
    return folder


if __name__ == "__main__":
    opened = open_studio(Path(sys.argv[1]), pause_s=0.01)
    opened.jobs.start()
    threading.Thread(target=work, args=(opened, sys.argv[2], Path(sys.argv[1])), daemon=True).start()
    while True:
        print(json.dumps(facts(opened)), flush=True)
        time.sleep(0.02)
