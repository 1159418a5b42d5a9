"""Provides runs over twelve small drawings, for the tiny models of the engines' own fixtures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from engines.api.params import EditParams, GenerateParams, TrainParams
from engines.api.protocols import EditItem, ModelSpec, TrainItem, TrainRun

FAMILIES = ("flux", "qwen-edit")

_PARAMS = TrainParams(
    rank=4,
    alpha=8.0,
    learning_rate=2e-3,
    steps=6,
    batch_size=2,
    resolution=64,
    caption_dropout=0.3,
    gradient_checkpointing=False,
    save_every=3,
    sample_every=0,
    seed=5,
)


def _draw(index: int, folder: Path, background: str) -> Path:
    image = Image.new("RGB", (64, 64), background)
    pen = ImageDraw.Draw(image)
    pen.ellipse((16 + index, 10, 44 + index, 38), fill="peru")
    pen.rectangle((14 + index, 38, 46 + index, 63), fill="crimson" if index % 2 else "seagreen")
    path = folder / f"{background}-{index:02d}.png"
    image.save(path)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Draws one figure twelve times."""
    folder = tmp_path_factory.mktemp("pictures")
    return [_draw(index, folder, "white") for index in range(12)]


@pytest.fixture(scope="session")
def pairs(pictures: list[Path]) -> list[tuple[Path, Path]]:
    """Returns (before, after) pairs: the same figure on white and on blue."""
    return [(path, _draw(index, path.parent, "navy")) for index, path in enumerate(pictures)]


@pytest.fixture
def make_run(pictures: list[Path], pairs: list[tuple[Path, Path]]) -> Callable[..., TrainRun]:
    """Returns `make_run(folder, family, **params)`, a run over the drawings, by default with one preview."""

    def make(
        folder: Path, family: str = "flux", *, previews: bool = True, cache: Path | None = None, **changes: Any
    ) -> TrainRun:
        params = _PARAMS.replace(**changes)
        if family == "flux":
            items = tuple(TrainItem(path, f"ohwx person in the forest {index}") for index, path in enumerate(pictures))
            drawn = GenerateParams(prompt="ohwx person", width=64, height=64, steps=2, guidance=2.5, seed=3)
            return TrainRun(folder, items, params, (drawn,) if previews else (), trigger="ohwx", cache=cache)
        items = tuple(TrainItem(after, "a person in a red shirt", (before,)) for before, after in pairs)
        source = Image.open(pictures[0]).convert("RGB")
        edit = EditItem(source, EditParams(instruction="smiling", steps=2, true_cfg=2.0))
        return TrainRun(folder, items, params, (edit,) if previews else (), cache=cache)

    return make


@pytest.fixture
def make_trainer(
    toy_flux: ModelSpec, toy_qwen: ModelSpec, flux_folder: Path, qwen_folder: Path
) -> Callable[[str], Any]:
    """Returns `make_trainer(family)`, which makes a trainer of a tiny model."""

    def make(family: str) -> Any:
        from engines.training.trainer import LoraTrainer

        if family == "flux":
            spec = dataclasses.replace(toy_flux, trainer="engines.families.flux.training:FluxAdapter")
            return LoraTrainer(spec, flux_folder)
        return LoraTrainer(
            dataclasses.replace(toy_qwen, trainer="engines.families.qwen_edit.training:QwenEditAdapter"), qwen_folder
        )

    return make


@pytest.fixture
def train(host_lease: Callable[[Any], Any], steps: Callable[..., None]) -> Callable[..., list[Any]]:
    """Returns `train(trainer, run)`, which returns all events; `lease=` and `on_step=` replace the defaults."""

    def run_all(trainer: Any, run: TrainRun, lease: Any = None, on_step: Any = steps) -> list[Any]:
        return list(trainer.train(run, lease or host_lease(trainer.plan(run)), on_step))

    return run_all
