"""Tests an adapter file's metadata, and that a layer acts by it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import LoraMismatch
from engines.api.params import LoraUse
from engines.api.protocols import CheckpointSaved
from tests.engines.training.untrained import info_of, qwen_state

pytestmark = pytest.mark.slow


def test_foreign_file_is_refused(lora_file: Path, tmp_path: Path) -> None:
    """A file without our metadata has neither family nor alpha, and is not converted."""
    from engines.training.export import export

    with pytest.raises(LoraMismatch, match="not trained here"):
        export(lora_file, tmp_path / "b.safetensors", "kohya")


@pytest.mark.parametrize("family", ["flux", "qwen-edit"])
def test_adapter_acts_at_alpha_over_rank(
    family: str, make_trainer: Any, make_run: Any, train: Any, host_lease: Any, tmp_path: Path
) -> None:
    """Loaded for drawing, a trained file adds alpha / rank times its product to each layer, and describes itself."""
    import torch

    from engines.drawing.lora_files import attached, read_adapter

    trainer, run = make_trainer(family), make_run(tmp_path, family, steps=2)
    lease = host_lease(trainer.plan(run))
    file = [event for event in train(trainer, run, lease) if isinstance(event, CheckpointSaved)][-1].adapter
    state, metadata = read_adapter(file)
    transformer, layer = lease.part("transformer"), "transformer_blocks.0.attn.to_q"
    probe = torch.linspace(-1, 1, transformer.get_submodule(layer).in_features)
    plain = transformer.get_submodule(layer)(probe)

    with attached(transformer, [LoraUse(file=str(file))], family), torch.no_grad():
        found = transformer.get_submodule(layer)(probe) - plain

    down, up = state[f"{layer}.lora_A.weight"], state[f"{layer}.lora_B.weight"]
    assert torch.allclose(2.0 * (up @ (down @ probe)), found, atol=1e-6)  # alpha 8, rank 4
    expected = {"family": family, "base_model": trainer.spec.name, "rank": "4", "alpha": "8.0", "step": "2"}
    assert {name: metadata[name] for name in expected} == expected
    assert metadata["trigger"] == ("ohwx" if family == "flux" else "")
    assert metadata["dataset"]
    known = {"ss_num_train_images": "12", "ss_learning_rate": "0.002", "modelspec.resolution": "64x64"}
    assert {name: metadata[name] for name in known} == known
    assert metadata["modelspec.license"] == trainer.spec.licence
    assert datetime.fromisoformat(metadata["modelspec.date"]).tzinfo


_TOLD = {
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.architecture": "Qwen-Image-Edit/lora",
    "modelspec.implementation": "https://github.com/QwenLM/Qwen-Image",
    "modelspec.title": "ohwx LoRA, step 7",
    "modelspec.description": "A LoRA of FLUX.1-dev, trained with FLENwheel on 14 pictures for 7 steps. "
    "Say ohwx in the prompt.",
    "modelspec.date": "2026-11-28T07:00:00+00:00",
    "modelspec.license": "Apache-2.0",
    "modelspec.resolution": "768x768",
    "modelspec.prediction_type": "flow",
    "modelspec.trigger_phrase": "ohwx",
    "ss_network_module": "networks.lora_qwen_image",
    "ss_network_dim": "2",
    "ss_network_alpha": "3.0",
    "ss_base_model_version": "qwen_image_edit",
    "ss_sd_model_name": "FLUX.1-dev",
    "ss_steps": "7",
    "ss_num_train_images": "14",
    "ss_learning_rate": "0.0002",
    "ss_unet_lr": "0.0002",
    "ss_resolution": "(768, 768)",
    "ss_max_train_steps": "90",
    "ss_total_batch_size": "6",
    "ss_gradient_accumulation_steps": "3",
    "ss_gradient_checkpointing": "True",
    "ss_max_grad_norm": "1.0",
    "ss_optimizer": "adamw",
    "ss_seed": "4",
    "ss_tag_frequency": '{"1_ohwx": {"ohwx": 14}}',
}


@pytest.mark.parametrize("form", ["diffusers", "kohya", "comfyui"])
def test_the_file_says_what_is_known_of_it(form: str, tmp_path: Path) -> None:
    """All entries of ModelSpec 1.0.1 and of kohya's trainer are written, and an export keeps those of its source."""
    from safetensors import safe_open

    from engines.api.params import TrainParams
    from engines.training.export import Info, export, write_adapter

    params = TrainParams(
        rank=2,
        alpha=3.0,
        learning_rate=2e-4,
        steps=90,
        batch_size=2,
        gradient_accumulation=3,
        resolution=768,
        seed=4,
    )
    facts = {"params": params, "pictures": 14, "licence": "Apache-2.0", "made": "2026-11-28T07:00:00+00:00"}
    info = dataclasses.replace(info_of("qwen-edit"), **facts)
    write_adapter(tmp_path / "ours.safetensors", qwen_state(), info)
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)

    with safe_open(tmp_path / "theirs.safetensors", "pt") as file:
        told = dict(file.metadata())
    alpha = 3.0 if form == "kohya" else 2.0  # elsewhere it is in the tensors
    assert {name: told[name] for name in told if name.startswith(("modelspec.", "ss_"))} == {
        **_TOLD,
        "ss_network_alpha": str(alpha),
        "modelspec.hash_sha256": told["modelspec.hash_sha256"],
    }
    assert Info.of(told, tmp_path) == dataclasses.replace(info, alpha=alpha)


@pytest.mark.parametrize(
    ("family", "model", "architecture", "version"),
    [
        ("flux", "FLUX.1-Krea-dev", "flux-1-dev/lora", "flux1"),
        ("flux2", "FLUX.2-klein-base-4B", "Flux.2-klein-4b/lora", "flux_2_klein_4b"),
        ("qwen-edit", "Qwen-Image-Edit", "Qwen-Image-Edit/lora", "qwen_image_edit"),
        ("qwen-edit", "Qwen-Image-Edit-2509", "Qwen-Image-Edit-Plus/lora", "qwen_image_edit"),
        ("qwen-edit", "Qwen-Image-Edit-2511", "Qwen-Image-Edit-2511/lora", "qwen_image_edit"),
    ],
)
def test_a_file_names_the_version_of_its_model(family: str, model: str, architecture: str, version: str) -> None:
    """The names are those of musubi-tuner's sai_model_spec.py, and each leads back to its family."""
    from engines.catalogue.registry import declared_family

    told = dataclasses.replace(info_of(family), base_model=model).metadata()
    assert (told["modelspec.architecture"], told["ss_base_model_version"]) == (architecture, version)
    assert {declared_family(architecture), declared_family(version)} == {family}


def test_an_editors_file_has_no_words_to_say() -> None:
    """Without a trigger there is no tag frequency."""
    assert "ss_tag_frequency" not in dataclasses.replace(info_of("qwen-edit"), trigger="").metadata()


def test_what_is_not_known_is_not_said(tmp_path: Path) -> None:
    """A file without a date, a licence or parameters has no empty entries for them, and can be read."""
    from engines.training.export import Info

    told = info_of("flux").metadata()
    assert not {"modelspec.date", "modelspec.license", "modelspec.resolution", "ss_learning_rate"} & told.keys()
    assert all(value for name, value in told.items())
    assert Info.of(told, tmp_path) == info_of("flux")


@pytest.mark.parametrize("narrow", [False, True])
def test_the_hash_is_that_of_the_contents(narrow: bool, tmp_path: Path) -> None:
    """modelspec.hash_sha256 covers all bytes after the header, also with types of two widths in one file."""
    from engines.training.export import converted, write_adapter, write_converted

    state, info = qwen_state(), info_of("qwen-edit")
    state = {name: value.bfloat16() if narrow else value for name, value in state.items()}
    write_adapter(tmp_path / "ours.safetensors", state, info)
    write_converted(tmp_path / "theirs.safetensors", converted(state, info, "kohya"), state, info, "kohya")

    for file in tmp_path.iterdir():
        data = file.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        told = json.loads(data[8:end])["__metadata__"]
        assert told["modelspec.hash_sha256"] == f"0x{hashlib.sha256(data[end:]).hexdigest()}"
