"""The jobs of the real models that are played in shapes, and the models' folders; imports no card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from engines.api.params import CaptionParams, EditParams, GenerateParams, TrainParams
from engines.api.protocols import EditItem, Lease, ModelSpec, Plan, TrainItem, TrainRun
from engines.catalogue.models import MODELS
from engines.catalogue.registry import load_class
from engines.catalogue.shapes import PUBLISHED
from engines.weights import components
from tests.card import hollow

SIDE, WORDS = 1024, "make the person smile " * 20
Job = tuple[Plan, Callable[[Lease], object]]  # a plan, and what runs it under a lease


@dataclass(frozen=True)
class Work:
    """The jobs of one model, whose folder has no weights: 1024 × 1024 pixels, one picture at a time."""

    spec: ModelSpec
    folder: Path

    def jobs(self) -> Mapping[str, Callable[[int], Job]]:
        """Returns name -> a function of the number of steps, which returns the job."""
        if self.spec.role == "editor":
            return {"edit": self.edit, "caption": self.caption, "train": self.train}
        return {"generate": self.generate, "train": self.train}

    def generate(self, steps: int) -> Job:
        """Draws a picture."""
        engine = load_class(self.spec.engine)(self.spec, self.folder)
        items = [self.spec.params(GenerateParams, prompt="ohwx person, smiling", steps=steps, width=SIDE, height=SIDE)]
        return engine.plan(items), lambda lease: list(engine.generate(items, lease, _quiet))

    def edit(self, steps: int) -> Job:
        """Edits a picture."""
        engine = load_class(self.spec.engine)(self.spec, self.folder)
        items = [EditItem(_picture(), self.spec.params(EditParams, instruction=WORDS, steps=steps))]
        return engine.plan(items), lambda lease: list(engine.edit(items, lease, _quiet))

    def caption(self, steps: int) -> Job:
        """Describes a picture in eight tokens a step."""
        captioner, params = load_class(self.spec.captioner)(self.spec, self.folder), CaptionParams(max_tokens=8 * steps)
        plan = captioner.plan(1, params)
        return plan, lambda lease: list(captioner.caption([_picture()], params, lease, _quiet))

    def train(self, steps: int) -> Job:
        """Trains a LoRA, with a preview before and after."""
        trainer, editor = load_class(self.spec.loop)(self.spec, self.folder), self.spec.role == "editor"
        file, home = self.folder / "picture.png", self.folder / f"run-{len(list(self.folder.glob('run-*')))}"
        _picture().save(file)
        shown: EditItem | GenerateParams = self.spec.params(
            GenerateParams, prompt="ohwx person", steps=2, width=SIDE, height=SIDE
        )
        if editor:
            shown = EditItem(_picture(), self.spec.params(EditParams, instruction=WORDS, steps=2))
        knobs = {"rank": 16, "alpha": 16.0, "optimizer": "adamw8bit", "save_every": 0, "sample_every": 0}
        params = self.spec.params(TrainParams, steps=steps, resolution=SIDE, gradient_checkpointing=True, **knobs)
        items = (TrainItem(file, f"ohwx person, {WORDS}", (file,) if editor else ()),)
        run = TrainRun(home, items, params, previews=(shown,), trigger="ohwx")
        return trainer.plan(run), lambda lease: list(trainer.train(run, lease, _quiet))


def row(name: str, form: str) -> ModelSpec:
    """Returns a model's registry row with its large parts in a form."""
    return components.in_form(next(spec for spec in MODELS if spec.name == name), form)


def hollow_work(name: str, form: str, home: Path, parts: int = 0) -> Work:
    """Returns the jobs of a model without weights; `parts`: of its transformer, all where it is 0."""
    spec, layout = hollow.without_sizes(row(name, form)), PUBLISHED[name]
    folder = home / f"{name}-{form}-{parts}"
    if not folder.is_dir():
        hollow.build(spec, hollow.shallow(layout, parts or hollow.units(layout)), folder)
    return Work(spec, folder)


def leaner(plan: Plan, count: int) -> Plan:
    """Returns a plan with each stage that many forms below the planned one, or in its leanest form."""
    stages = []
    for stage in plan.stages:
        forms = [stage]
        while forms[-1].leaner:
            forms.append(forms[-1].leaner)
        stages.append(forms[min(count, len(forms) - 1)])
    return replace(plan, stages=tuple(stages))


def _picture() -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), (90, 120, 150))


def _quiet(step: int, total: int, message: str = "") -> None:
    """Does nothing; the jobs report their steps to it."""
