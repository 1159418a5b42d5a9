"""What the real models take: computed from their published shapes, and measured where there is a card."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from engines.api import CaptionParams, EditItem, EditParams, GenerateParams, ModelSpec, Plan, TrainParams, TrainRun
from engines.device import cuda_count
from engines.registry import MODELS, load_class
from engines.shapes import LAYOUTS, write_layout
from frontdoor.bench.rows import Row

GIB = 1 << 30
BUDGET = int(22.5 * GIB)
SIDE = 1024
# Peaks asked of a card, by model, job and stage; the computed figures are no proof of them.
GOALS: Mapping[tuple[str, str, str], float] = {
    ("FLUX.1-dev", "generate", "denoise"): 15.0,
    ("Qwen-Image-Edit-2511", "edit", "denoise"): 14.0,
    ("Qwen-Image-Edit-2511", "caption", "caption"): 9.0,
}


def measure(options: argparse.Namespace) -> list[Row]:
    """The computed table, then what a card says where one answers."""
    rows = [*parts(), *stages()]
    if cuda_count():
        rows += load_class("frontdoor.bench.memory_on_card:measure")()
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
            for job, plan in plans(load_class("engines.parts.components:in_form")(spec, form)):
                yield from (_row(spec, form, job, stage) for stage in plan.stages)


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
    params = spec.params(TrainParams, resolution=side, optimizer="adamw8bit")
    yield "train", load_class(spec.loop)(spec, folder).plan(TrainRun(folder, (), params))


def _row(spec: ModelSpec, form: str, job: str, stage: Any) -> Row:
    weights = sum(part.bytes for part in {part.key: part for part in stage.components}.values())
    total = weights + stage.working_bytes
    goal = GOALS.get((spec.name, job, stage.name)) if form == "nf4" else None
    return Row(
        name=f"{spec.name} {form} {job}/{stage.name} (computed)",
        value=total / GIB,
        unit="GiB",
        peer=f"budget {BUDGET / GIB} GiB",
        ratio=total / BUDGET,
        goal=f"≤ {goal:g} GiB, not measured" if goal else "",
    )


def _real() -> Iterator[ModelSpec]:
    """Rows of different shapes: those that share them with an earlier row would only repeat it."""
    seen: list[Mapping[str, int]] = []
    for spec in (spec for spec in MODELS if spec.name in LAYOUTS):
        if spec.component_bytes not in seen:
            seen.append(spec.component_bytes)
            yield spec
