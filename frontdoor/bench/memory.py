"""What the real models take: computed from their published shapes, and measured where there is a card."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from engines.api.params import CaptionParams, EditParams, GenerateParams, TrainParams
from engines.api.protocols import EditItem, ModelSpec, Plan, Stage, TrainRun
from engines.catalogue.models import MODELS
from engines.catalogue.registry import load_class
from engines.catalogue.shapes import LAYOUTS, write_layout
from engines.device.devices import cuda_count
from frontdoor.bench.rows import Row

GIB = 1 << 30
BUDGET = int(22.5 * GIB)
SIDE, RANK = 1024, 16
# Peaks asked of a card, by model, job and stage; the computed figures are no proof of them.
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
    """The computed table, then what a card says where one answers."""
    rows = [*parts(), *stages(), *trainings(), *counted()]
    if cuda_count():
        rows += load_class("frontdoor.bench.memory_on_card:measure")(options.peer)
    return rows


def parts() -> Iterator[Row]:
    """Every part of every real model in every form, GiB."""
    for spec in _real():
        for held, size in spec.component_bytes.items():
            name, _, form = held.partition(".")
            yield Row(name=f"{spec.name} {name} {form or 'bf16'} (computed)", value=size / GIB, unit="GiB")


def stages() -> Iterator[Row]:
    """Weights and declared working set of every stage at 1024 px, as the planner adds them up, GiB."""
    for spec in _real():
        for form in ("nf4", "int8"):
            for job, plan in plans(load_class("engines.weights.components:in_form")(spec, form)):
                yield from (_row(spec, form, job, stage) for stage in plan.stages)


def trainings() -> Iterator[Row]:
    """A training's own stage at each size that a goal is set for, and what its modulation table takes of the host."""
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
            held = load_class("engines.weights.modulation:grid_bytes")(config, dtype)
            name = f"{spec.name} modulation table while it trains, host (computed)"
            yield Row(name=name, value=held / GIB, unit="GiB")


def counted() -> Iterator[Row]:
    """What one step takes beside the weights, counted on tensors without contents, against what the planner is told."""
    sizes = sorted({(name, side) for (name, _), goals in TRAINING.items() for side in goals})
    for name, side in sizes:
        spec = _named(name)
        params = _params(spec, side)
        with tempfile.TemporaryDirectory() as home:
            folder = write_layout(LAYOUTS[name], Path(home))
            found = load_class("frontdoor.bench.step_bytes:count")(spec, folder, params)
            told = load_class(spec.trainer)(spec, folder).working_bytes(params)
        yield Row(
            name=f"{name} a step at {side} px beside the weights (counted)", value=found / GIB, unit="GiB",
            peer=f"declared {told / GIB:.2f}", ratio=found / told, goal="≤ 1 ×", ok=found <= told,
        )  # fmt: skip


def plans(spec: ModelSpec, side: int = SIDE) -> list[tuple[str, Plan]]:
    """What each job of a model would ask of the card, from the engines themselves."""
    with tempfile.TemporaryDirectory() as folder:
        return list(_plans(spec, write_layout(LAYOUTS[spec.name], Path(folder)), side))


def _plans(spec: ModelSpec, folder: Path, side: int) -> Iterator[tuple[str, Plan]]:
    engine: Any = load_class(spec.engine)(spec, folder)
    picture = Image.new("RGB", (side, side))
    if spec.role == "generator":
        yield "generate", engine.plan([spec.params(GenerateParams, width=side, height=side)])
    else:
        yield "edit", engine.plan([EditItem(picture, spec.params(EditParams, instruction="smiling"))])
        yield "caption", load_class(spec.captioner)(spec, folder).plan(1, spec.params(CaptionParams))
    yield "train", load_class(spec.loop)(spec, folder).plan(TrainRun(folder, (), _params(spec, side)))


def _params(spec: ModelSpec, side: int) -> TrainParams:
    return spec.params(TrainParams, resolution=side, rank=RANK, optimizer="adamw8bit")


def _row(spec: ModelSpec, form: str, job: str, stage: Stage) -> Row:
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
    """Weights that are on the card together."""
    return sum(part.bytes for part in {part.key: part for part in stage.components}.values())


def _named(name: str) -> ModelSpec:
    return next(spec for spec in MODELS if spec.name == name)


def _real() -> Iterator[ModelSpec]:
    """Rows of different shapes: those that share them with an earlier row would only repeat it."""
    seen: list[Mapping[str, int]] = []
    for spec in (spec for spec in MODELS if spec.name in LAYOUTS):
        if spec.component_bytes not in seen:
            seen.append(spec.component_bytes)
            yield spec
