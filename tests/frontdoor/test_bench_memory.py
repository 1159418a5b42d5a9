"""The memory bench: its computed rows, and its measured ones on small models of the same classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.catalogue.models import MODELS
from engines.catalogue.shapes import LAYOUTS, Layout
from engines.device.devices import CpuDevice
from frontdoor.bench import memory, memory_on_card, script_on_card

pytestmark = pytest.mark.slow

_SMALL: dict[str, dict[str, Any]] = {
    "FluxTransformer2DModel": {
        "attention_head_dim": 32, "num_attention_heads": 2, "num_layers": 1, "num_single_layers": 1,
        "joint_attention_dim": 48, "pooled_projection_dim": 32, "axes_dims_rope": [8, 12, 12],
    },
    "CLIPTextModel": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 64,
        "eos_token_id": 1, "bos_token_id": 1, "pad_token_id": 0,
    },
    "T5EncoderModel": {"d_model": 48, "d_ff": 64, "d_kv": 12, "num_layers": 1, "num_heads": 4, "vocab_size": 64},
    "AutoencoderKL": {"block_out_channels": [8, 16, 16, 16], "norm_num_groups": 4, "layers_per_block": 1},
    "QwenImageTransformer2DModel": {
        "attention_head_dim": 16, "num_attention_heads": 2, "num_layers": 1, "joint_attention_dim": 64,
        "axes_dims_rope": [4, 6, 6],
    },
    "Qwen2_5_VLForConditionalGeneration": {
        "text_config": {
            "model_type": "qwen2_5_vl_text", "vocab_size": 64, "hidden_size": 64, "intermediate_size": 128,
            "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
            "bos_token_id": 0, "eos_token_id": 1,
        },
        "vision_config": {
            "model_type": "qwen2_5_vl_vision", "depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "out_hidden_size": 64, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
            "window_size": 56, "fullatt_block_indexes": [0],
        },
    },
    "AutoencoderKLQwenImage": {"base_dim": 8, "dim_mult": [1, 1, 2, 2], "num_res_blocks": 1},
}  # fmt: skip


_SCRIPT = """
import argparse, sys
from pathlib import Path
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

parser = argparse.ArgumentParser()
for name in ("pretrained_model_name_or_path", "instance_data_dir", "lora_layers", "resolution", "max_train_steps"):
    parser.add_argument(f"--{name}")
options, _ = parser.parse_known_args()
model = options.pretrained_model_name_or_path
for part, kind in {
    "tokenizer": CLIPTokenizer, "tokenizer_2": T5TokenizerFast, "text_encoder": CLIPTextModel,
    "text_encoder_2": T5EncoderModel, "vae": AutoencoderKL, "scheduler": FlowMatchEulerDiscreteScheduler,
}.items():
    kind.from_pretrained(model, subfolder=part)
transformer = FluxTransformer2DModel.from_pretrained(model, subfolder="transformer")
names = [name for name, _ in transformer.named_modules()]
assert all(any(name.endswith(layer) for name in names) for layer in options.lora_layers.split(","))
assert all(float(p.std()) > 0 for p in transformer.parameters() if p.ndim > 1)
assert len(list(Path(options.instance_data_dir).iterdir())) == 4
for step in range(1, int(options.max_train_steps) + 1):
    print(f"Steps:  1%|#  | {step}/{options.max_train_steps} [00:01<00:02, 1.0it/s]", file=sys.stderr, flush=True)
"""


def _small(layout: Layout) -> Layout:
    """Returns a layout of the same classes with small sizes."""
    return {name: (library, kind, {**config, **_SMALL[kind]}) for name, (library, kind, config) in layout.items()}


def test_every_stage_is_summed() -> None:
    """Each real model has rows for its parts and for every stage in 4 and 8 bits; a goal is marked as not measured."""
    parts = {row.name: row.value for row in memory.parts()}
    stages = {row.name: row for row in memory.stages()}
    assert parts["Qwen-Image-Edit-2511 transformer nf4 (computed)"] == pytest.approx(9.88, abs=0.01)
    for job in (
        "edit/encode",
        "edit/denoise",
        "edit/decode",
        "caption/caption",
        "questions/ask",
        "train/encode",
        "train/train",
    ):
        assert f"Qwen-Image-Edit-2511 nf4 {job} (computed)" in stages
    denoise = stages["FLUX.1-dev nf4 generate/denoise (computed)"]
    assert denoise.goal == "≤ 15 GiB, not measured"
    assert denoise.ok is None
    assert denoise.value > parts["FLUX.1-dev transformer nf4 (computed)"]


def test_training_goals_are_within_reach() -> None:
    """At each size that a goal is set for, weights (of the editor without its modulation) and declared work fit it."""
    rows = {row.name: row for row in memory.trainings()}
    for (name, form), goals in memory.TRAINING.items():
        for side, goal in goals.items():
            row = rows[f"{name} {form} train {side} px (computed)"]
            assert row.goal == f"≤ {goal:g} GiB, not measured"
            assert 0.5 * goal < row.value <= goal
    table = rows["Qwen-Image-Edit-2511 modulation table while it trains, host (computed)"]
    assert table.value == pytest.approx(257 * 60 * 12 * 3072 * 2 / memory.GIB)


def test_peaks_swaps_and_trainings_are_measured(tmp_path: Path) -> None:
    """On small random models of the real classes, on the CPU, every peak, swap and growth is measured."""
    named = {spec.name: spec for spec in MODELS}
    generator, editor = named["FLUX.1-dev"], named["Qwen-Image-Edit-2511"]
    sizes = {"reference_area": 64 * 64, "vision_area": 84 * 84, "vision_multiple": 28, "multiple": 16}
    specs = {
        "generate": replace(generator, component_bytes={}, options={**generator.options, "text_tokens": 12}),
        "edit": replace(editor, component_bytes={}, options={**editor.options, **sizes}),
    }
    layouts = {spec.name: _small(LAYOUTS[spec.name]) for spec in specs.values()}

    bench = memory_on_card.built(CpuDevice(), specs, layouts, tmp_path, 4 * memory.GIB, 64)
    rows = [*memory_on_card.peaks(bench, "nf4"), *memory_on_card.switches(bench, "nf4", 4, bandwidth=1e9)]
    goals = {(spec.name, "nf4"): {64: 4.0} for spec in specs.values()}
    rows += memory_on_card.trainings(bench, "nf4", goals)

    names = [row.name for row in rows]
    assert "FLUX.1-dev nf4 generate peak" in names
    assert "Qwen-Image-Edit-2511 nf4 caption peak" in names
    assert "Qwen-Image-Edit-2511+table/transformer nf4 swap in" in names
    assert "nf4 host growth over 4 switches" in names
    for spec in specs.values():
        assert {f"{spec.name} nf4 train 64 px peak", f"{spec.name} nf4 train 64 px"} <= set(names)
    assert all(row.value >= 0 for row in rows)


def test_the_script_of_diffusers_reads_its_model(tmp_path: Path) -> None:
    """A script that reads the model as diffusers' script does finds all parts, random weights and four pictures."""
    spec = next(spec for spec in MODELS if spec.name == "FLUX.1-dev")
    spec = replace(spec, options={**spec.options, "text_tokens": 12})
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    layout = _small(LAYOUTS[spec.name])
    (row,) = script_on_card.steps(script, spec, layout, tmp_path, "cpu", {64: 9.0}, ())
    assert row.name == "FLUX.1-dev diffusers' script bf16 train 64 px, not capped"
    assert row.value > 0


def test_a_missing_script_or_a_small_card_is_shown(tmp_path: Path) -> None:
    """Without the script, or on a card that is too small for its full-width weights, a row names what is missing."""
    spec = next(spec for spec in MODELS if spec.name == "FLUX.1-dev")
    layout = LAYOUTS[spec.name]
    (absent,) = script_on_card.measure(None, spec, layout, CpuDevice(), {})
    assert "--peer" in absent.name
    (small,) = script_on_card.measure(tmp_path / "script.py", spec, layout, CpuDevice(24 * memory.GIB), {})
    assert "no room" in small.name
    assert 31 < small.value < 32
    assert small.peer == "card 24.0"
