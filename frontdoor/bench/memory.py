"""The memory of the real models: computed from their published shapes, and measured where there is a GPU."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from engines.api.forms import ROWS
from engines.api.params import CaptionParams, EditParams, GenerateParams, TrainParams
from engines.api.protocols import EditItem, Editor, Generator, ModelSpec, Plan, Stage, Trainer, TrainRun
from engines.api.seeing import Asker, Captioner
from engines.catalogue.models import MODELS
from engines.catalogue.registry import load_class
from engines.catalogue.shapes import LAYOUTS, write_layout
from engines.device.devices import cuda_count
from frontdoor.bench.rows import Row

GIB = 1 << 30
BUDGET = int(22.5 * GIB)
SIDE, RANK = 1024, 16
# Goals of peaks on a card in GiB, by model, job and stage; the computed figures do not prove them.
GOALS: Mapping[tuple[str, str, str], float] = {
    ("FLUX.1-dev", "generate", "denoise"): 15.0,
    ("Qwen-Image-Edit-2511", "edit", "denoise"): 14.0,
    ("Qwen-Image-Edit-2511", "caption", "caption"): 9.0,
}
# The same for training at rank 16, by model and form: picture side -> GiB; the editor is shown one reference as large.
TRAINING: Mapping[tuple[str, str], Mapping[int, float]] = {
    ("FLUX.1-dev", "nf4"): {512: 9.0, 768: 10.0, 1024: 12.0},
    ("Qwen-Image-Edit-2511", "nf4"): {768: 13.5, 1024: 17.0},
    ("Qwen-Image-Edit-2511", "int8"): {1024: 22.0},
}


def measure(options: argparse.Namespace) -> list[Row]:
    """Computes the memory of the full-size models, and measures it where torch finds a GPU; returns the report's rows.

    The rows are in GiB: for the models' components, for the stages of their jobs, for trainings, and for training
    steps. `options.peer` is the path of diffusers' training script; where it is None, the script is not measured.
    """
    rows = [*parts(), *stages(), *trainings(), *step_bytes()]
    if cuda_count():
        rows += load_class("frontdoor.bench.memory_on_card:measure")(options.peer)
    return rows


def parts() -> Iterator[Row]:
    """Yields a report row for each component of each full-size model in each form of its weights.

    The row's value is the size of the weights in GiB. Of several models with equal sizes only the first is listed.
    """
    for spec in _real():
        for held, size in spec.component_bytes.items():
            name, _, form = held.partition(".")
            yield Row(name=f"{spec.name} {name} {form or 'bf16'} (computed)", value=size / GIB, unit="GiB")


def stages() -> Iterator[Row]:
    """Yields a report row for each stage of each full-size model's jobs, at 1024 px and with quantised weights.

    A job runs in stages, for example text encoding and denoising. The row's value is the GPU memory in GiB that the
    memory plan gives the stage: its weights, and the bytes that it declares for computing.
    """
    for spec in _real():
        for form in ROWS:
            for job, plan in plans(load_class("engines.weights.components:in_form")(spec, form)):
                yield from (_row(spec, form, job, stage) for stage in plan.stages)


def trainings() -> Iterator[Row]:
    """Yields report rows with the computed memory in GiB of trainings of the full-size models.

    The first rows are the GPU memory of the training steps, for each model, form of weights and picture size in
    TRAINING. The last rows are host memory: some models are trained with a table of the outputs of their modulation
    layers, and these rows are the size of that table for each such model.
    """
    for (name, form), goals in TRAINING.items():
        spec = load_class("engines.weights.components:in_form")(_named(name), form)
        for side, goal in goals.items():
            (stage,) = (each for job, plan in plans(spec, side) if job == "train" for each in plan.stages[1:])
            total = _resident(stage) + stage.working_bytes
            yield Row(
                name=f"{name} {form} train {side} px (computed)",
                value=total / GIB,
                unit="GiB",
                peer=f"of it weights {_resident(stage) / GIB:.2f}",
                ratio=_resident(stage) / total,
                goal=f"≤ {goal:g} GiB, not measured",
            )
    for spec in _real():
        if spec.options.get("modulation"):
            config, dtype = LAYOUTS[spec.name]["transformer"][2], load_class("torch:bfloat16")
            held: int = load_class("engines.weights.modulation:grid_bytes")(config, dtype)
            name = f"{spec.name} modulation table while it trains, host (computed)"
            yield Row(name=name, value=held / GIB, unit="GiB")


def step_bytes() -> Iterator[Row]:
    """Yields a report row for each model and picture size: the GiB that one training step takes beside the weights.

    The bytes are counted on tensors that have shapes and no contents (see `step_bytes.count`), and are compared with
    the bytes that the trainer declares.
    """
    sizes = sorted({(name, side) for (name, _), goals in TRAINING.items() for side in goals})
    for name, side in sizes:
        spec = _named(name)
        params = _params(spec, side)
        with tempfile.TemporaryDirectory() as home:
            folder = write_layout(LAYOUTS[name], Path(home))
            counted: int = load_class("frontdoor.bench.step_bytes:count")(spec, folder, params)
            declared: int = load_class(spec.trainer)(spec, folder).working_bytes(params)
        yield Row(
            name=f"{name} a step at {side} px beside the weights (counted)", value=counted / GIB, unit="GiB",
            peer=f"declared {declared / GIB:.2f}", ratio=counted / declared, goal="≤ 1 ×", ok=counted <= declared,
        )  # fmt: skip


def plans(spec: ModelSpec, side: int = SIDE) -> list[tuple[str, Plan]]:
    """Returns a memory plan for each job of a model, as pairs (name of the job, plan).

    The jobs of a generator are generate and train, those of an editor are edit, caption, questions and train. Pictures
    have `side` × `side` pixels.
    """
    with tempfile.TemporaryDirectory() as folder:
        return list(_plans(spec, write_layout(LAYOUTS[spec.name], Path(folder)), side))


def _plans(spec: ModelSpec, folder: Path, side: int) -> Iterator[tuple[str, Plan]]:
    """Yields (job, memory plan) of a model whose configurations lie in `folder`."""
    if spec.role == "generator":
        generator: Generator = load_class(spec.engine)(spec, folder)
        yield "generate", generator.plan([spec.params(GenerateParams, width=side, height=side)])
    else:
        editor: Editor = load_class(spec.engine)(spec, folder)
        picture = Image.new("RGB", (side, side))
        yield "edit", editor.plan([EditItem(picture, spec.params(EditParams, instruction="smiling"))])
        captioner: Captioner = load_class(spec.captioner)(spec, folder)
        yield "caption", captioner.plan(1, spec.params(CaptionParams))
        asker: Asker = load_class(spec.asker)(spec, folder)
        yield "questions", asker.plan(1)
    trainer: Trainer = load_class(spec.loop)(spec, folder)
    yield "train", trainer.plan(TrainRun(folder, (), _params(spec, side)))


def _params(spec: ModelSpec, side: int) -> TrainParams:
    """Returns the parameters of the trainings that have memory goals."""
    return spec.params(TrainParams, resolution=side, rank=RANK, optimizer="adamw8bit")


def _row(spec: ModelSpec, form: str, job: str, stage: Stage) -> Row:
    """Returns the row of one stage, with its goal where it has one."""
    total = _resident(stage) + stage.working_bytes
    goal = GOALS.get((spec.name, job, stage.name)) if form == "nf4" else None
    return Row(
        name=f"{spec.name} {form} {job}/{stage.name} (computed)",
        value=total / GIB,
        unit="GiB",
        peer=f"budget {BUDGET / GIB} GiB",
        ratio=total / BUDGET,
        goal=f"≤ {goal:g} GiB, not measured" if goal else "",
    )


def _resident(stage: Stage) -> int:
    """Returns the bytes of the weights that a stage holds on the GPU at the same time."""
    return sum(part.bytes for part in {part.key: part for part in stage.components}.values())


def _named(name: str) -> ModelSpec:
    """Returns a model's row of the registry by its name."""
    return next(spec for spec in MODELS if spec.name == name)


def _real() -> Iterator[ModelSpec]:
    """Yields the models with published shapes; of several with equal sizes only the first."""
    seen: list[Mapping[str, int]] = []
    for spec in (spec for spec in MODELS if spec.name in LAYOUTS):
        if spec.component_bytes not in seen:
            seen.append(spec.component_bytes)
            yield spec
