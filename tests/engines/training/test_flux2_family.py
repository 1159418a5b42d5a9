"""Tests the training of FLUX.2 [klein]."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engines.api.params import LoraUse, TrainParams
from engines.api.protocols import CheckpointSaved, SampleDrawn, TrainItem, TrainRun
from tests.engines.families.flux2.tiny import PROMPTS, ROW, SPEC, asked, use

pytestmark = pytest.mark.slow


@pytest.fixture
def trainer(flux2_folder: Path) -> Any:
    """Returns a trainer of the tiny model."""
    from engines.training.trainer import LoraTrainer

    return LoraTrainer(dataclasses.replace(SPEC, trainer=ROW.trainer), flux2_folder)


@pytest.fixture
def run(tmp_path: Path) -> TrainRun:
    """Returns a run over four drawings of a figure, with a few steps and one preview that has a negative prompt."""
    items = []
    for index in range(4):
        image = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(image).ellipse((10 + 4 * index, 10, 40 + 4 * index, 50), fill="crimson")
        image.save(tmp_path / f"{index}.png")
        items.append(TrainItem(tmp_path / f"{index}.png", PROMPTS[0]))
    params = TrainParams(
        rank=8, alpha=8.0, learning_rate=2e-2, steps=40, batch_size=4, resolution=64, caption_dropout=0.0,
        gradient_checkpointing=True, save_every=0, sample_every=0, timestep_density="resolution_shift", seed=5,
    )  # fmt: skip
    return TrainRun(tmp_path / "run", tuple(items), params, (asked(1, guidance=4.0, negative=PROMPTS[1])[0],), "ohwx")


def _loss(trainer: Any, run: TrainRun, lease: Any, loras: tuple[LoraUse, ...]) -> float:
    """Returns the loss over all four at fixed noise, without or with an adapter."""
    import torch

    from engines.drawing.lora_files import attached
    from engines.training.data import read_sources
    from engines.training.encoding import encode

    family, encoded = trainer.family, encode(trainer.family, run, read_sources(run.items), lease, lambda *_: None)
    batch = family.collate([encoded.examples.row(place, wordless=False) for place in range(4)])
    noise = torch.randn(batch["latents"].shape, generator=torch.Generator().manual_seed(9))
    with lease.stage("train") as parts, attached(parts["transformer"], loras, "flux2"), torch.no_grad():
        return family.losses(parts["transformer"], batch, noise, torch.tensor([0.2, 0.5, 0.7, 0.9]), 1.0).mean().item()


def test_training_makes_the_loss_fall(trainer, run, host_lease, steps, flux2_folder) -> None:
    """After forty steps the loss at fixed noise is lower, and the saved file draws the trainer's previews."""
    from engines.families.flux2.engine import Flux2

    lease = host_lease(trainer.plan(run))
    before = _loss(trainer, run, lease, ())
    events = list(trainer.train(run, lease, steps))
    file = [event for event in events if isinstance(event, CheckpointSaved)][-1].adapter

    assert _loss(trainer, run, lease, use(file)) < 0.9 * before
    first, last = (np.asarray(event.image).astype(int) for event in events if isinstance(event, SampleDrawn))
    engine, (asked_for,) = Flux2(SPEC, flux2_folder), run.previews
    both = [asked_for, asked_for.replace(loras=use(file))]
    drawn = engine.generate(both, host_lease(engine.plan(both)), steps)
    plain, learned = (np.asarray(each).astype(int) for each in drawn)
    assert np.abs(first - plain).max() <= 1
    assert np.abs(last - learned).max() <= 1
    assert np.abs(last - first).max() > 1


def test_learns_in_attention_and_mlp_alone(trainer, run, host_lease) -> None:
    """Every block's attention and MLP get a LoRA; modulation, embedders and the way out do not."""
    with host_lease(trainer.plan(run)).stage("train") as parts:
        names = [name for name, _ in parts["transformer"].named_modules()]
    chosen = [name for name in names if re.fullmatch(trainer.family.targets["all"].pattern, name)]
    assert len(chosen) == 2 * 12 + 2 * 2
    assert not [name for name in chosen if "mod" in name or "norm" in name or name == "proj_out"]


def test_the_memory_estimate_knows_the_widths(trainer, flux2_folder) -> None:
    """The adapter's share of the estimate is computed from the LoRA's number of weights."""
    from engines.weights import components

    one, two = (trainer.family.working_bytes(TrainParams(rank=rank, resolution=64)) for rank in (1, 2))
    linear = components.load(SPEC, flux2_folder, "transformer").named_modules()
    wide = [each for name, each in linear if re.fullmatch(trainer.family.targets["all"].pattern, name)]
    assert two - one == 16 * sum(each.in_features + each.out_features for each in wide)


@pytest.mark.parametrize("form", ["diffusers", "kohya", "comfyui"])
def test_other_forms_act_the_same(form: str, trainer, flux2_folder, tmp_path) -> None:
    """Exported for another tool and read back, every module has the same effect, and none is left over."""
    import torch
    from peft import LoraConfig, get_peft_model_state_dict

    from engines.drawing.lora_files import attached
    from engines.families.flux2 import maths as flux2
    from engines.training.export import Info, export, write_adapter
    from engines.weights import components

    transformer = components.load(SPEC, flux2_folder, "transformer")
    targets = trainer.family.targets["all"].pattern
    config = LoraConfig(r=2, lora_alpha=3, target_modules=targets, init_lora_weights=False)
    transformer.add_adapter(config)
    info = Info(
        family="flux2", base_model=ROW.name, trigger="", rank=2, alpha=3.0, step=1, dataset="",
        targets=targets,
    )  # fmt: skip
    write_adapter(tmp_path / "ours.safetensors", get_peft_model_state_dict(transformer), info)
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)
    numbers = torch.Generator().manual_seed(1)
    inputs = torch.randn(1, 16, 32, generator=numbers), torch.randn(1, 5, 48, generator=numbers), 0.5, 8, 8
    with torch.no_grad():
        learned = flux2.velocity(transformer, *inputs)
        plain = components.load(SPEC, flux2_folder, "transformer")
        with attached(plain, use(tmp_path / "theirs.safetensors"), "flux2"):
            torch.testing.assert_close(flux2.velocity(plain, *inputs), learned, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(flux2.velocity(plain, *inputs), learned, rtol=1e-2, atol=1e-2)


def test_captions_longer_than_the_encoder_reads_are_told(trainer: Any) -> None:
    """The chat template around a caption is included in its length."""
    most = trainer.family.text_tokens()
    short, long = "red", "red " * (2 * most)
    assert list(trainer.cut([short, long])) == ([1] if trainer.family.fits_encoder(short) else [0, 1])
    assert trainer.cut([long]) == [0]
