"""LoRA files on and off a transformer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import LoraMismatch, NotFound
from engines.api.params import LoraUse

pytestmark = pytest.mark.slow


@pytest.fixture
def transformer(toy_flux, flux_folder) -> Any:
    """A fresh tiny FLUX transformer."""
    from engines.weights import components

    return components.load(toy_flux, flux_folder, "transformer")


def _predict(transformer: Any) -> Any:
    """One fixed forward pass."""
    import torch

    from engines.families.flux import maths as flux

    numbers = torch.Generator().manual_seed(1)
    cond = flux.Conditioning(torch.randn(1, 5, 48, generator=numbers), torch.randn(1, 32, generator=numbers))
    with torch.no_grad():
        return flux.velocity(transformer, torch.randn(1, 16, 64, generator=numbers), cond, 0.5, 2.0, 8, 8)


def _use(file: Path, weight: float = 1.0) -> LoraUse:
    return LoraUse(file=str(file), weight=weight)


def _save(file: Path, state: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
    from safetensors.torch import save_file

    save_file(state, file, metadata)
    return file


def test_detach_leaves_it_bit_equal(transformer, lora_file) -> None:
    """After detach the output is what it was before attach, to the bit, and no LoRA layer is left."""
    import torch

    from engines.drawing.lora_files import attach, detach

    names = [name for name, _ in transformer.named_modules()]
    before = _predict(transformer)
    attach(transformer, [_use(lora_file)], "flux")
    assert not torch.equal(_predict(transformer), before)
    detach(transformer)
    assert torch.equal(_predict(transformer), before)
    assert [name for name, _ in transformer.named_modules()] == names


def test_weight_and_alpha_scale_the_update(transformer, lora_file) -> None:
    """A layer's update is weight · alpha / rank · B·A: the file's alpha counts."""
    import torch

    from engines.drawing.lora_files import attached, read_adapter

    state, _ = read_adapter(lora_file)
    path = "transformer_blocks.0.attn.to_q"
    layer, inputs = transformer.get_submodule(path), torch.randn(3, 64)
    plain = layer(inputs)
    update = inputs @ state[f"{path}.lora_A.weight"].T @ state[f"{path}.lora_B.weight"].T
    with attached(transformer, [_use(lora_file, 0.5)], "flux"):
        torch.testing.assert_close(transformer.get_submodule(path)(inputs), plain + 0.5 * (4 / 2) * update)


def test_a_stack_adds_up(transformer, lora_file, flux_folder, save_lora, tmp_path) -> None:
    """Two LoRAs with weights act together; a stack twice on and off acts the same."""
    import torch

    from engines.drawing.lora_files import attached

    other = save_lora(flux_folder, tmp_path / "other.safetensors", "FluxTransformer2DModel", seed=4)
    stack = [_use(lora_file, 0.7), _use(other, 0.3)]
    with attached(transformer, stack, "flux"):
        first = _predict(transformer)
    with attached(transformer, stack[:1], "flux"):
        single = _predict(transformer)
    with attached(transformer, stack, "flux"):
        assert torch.equal(_predict(transformer), first)
    assert not torch.equal(single, first)


def test_refuses_another_familys_file(transformer, qwen_folder, save_lora, tmp_path) -> None:
    """A Qwen-Image-Edit LoRA on FLUX is refused by its shapes, and by its metadata before any shape."""
    from engines.drawing.lora_files import attach

    silent = save_lora(qwen_folder, tmp_path / "silent.safetensors", "QwenImageTransformer2DModel")
    told = save_lora(qwen_folder, tmp_path / "told.safetensors", "QwenImageTransformer2DModel", {"family": "qwen-edit"})
    with pytest.raises(LoraMismatch, match=r"silent\.safetensors.*expected width 64, found 32"):
        attach(transformer, [_use(silent)], "flux")
    with pytest.raises(LoraMismatch, match=r"told\.safetensors is a LoRA for the qwen-edit family"):
        attach(transformer, [_use(told)], "flux")
    assert not getattr(transformer, "peft_config", None)


def test_refuses_a_file_that_would_load_nothing(transformer, tmp_path) -> None:
    """No tensors, or tensors of no known layer, or one stray tensor among good ones: all are errors, none a no-op."""
    import torch

    from engines.drawing.lora_files import attach

    good = {
        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight": torch.zeros(2, 64),
        "transformer.transformer_blocks.0.attn.to_q.lora_B.weight": torch.zeros(64, 2),
    }
    stray = {"text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(2, 64)}
    unknown = {"transformer.transformer_blocks.0.attn.to_x.weight": torch.zeros(64, 64)}
    for name, state in {"empty": {}, "stray": stray, "mixed": good | unknown}.items():
        file = _save(tmp_path / f"{name}.safetensors", state)
        with pytest.raises(LoraMismatch, match=file.name):
            attach(transformer, [_use(file)], "flux")
    assert not getattr(transformer, "peft_config", None)


def test_a_file_without_tensors_is_told(transformer, tmp_path) -> None:
    """An empty file is called one, with what to do about it."""
    from engines.drawing.lora_files import check

    with pytest.raises(LoraMismatch, match=r"empty\.safetensors holds no tensors\. Download or export it again"):
        check(transformer, [_use(_save(tmp_path / "empty.safetensors", {}))], "flux")


def test_a_bad_second_file_leaves_nothing_attached(transformer, lora_file, tmp_path) -> None:
    """A stack attaches whole or not at all."""
    from engines.drawing.lora_files import attach

    with pytest.raises(NotFound, match="gone"):
        attach(transformer, [_use(lora_file), _use(tmp_path / "gone.safetensors")], "flux")
    assert not getattr(transformer, "peft_config", None)


def test_refuses_what_is_no_safetensors_file(tmp_path) -> None:
    """A renamed picture or a cut-off download is named, not crashed on."""
    from engines.drawing.lora_files import read_adapter

    file = tmp_path / "cut.safetensors"
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(LoraMismatch, match=r"cut\.safetensors"):
        read_adapter(file)


# ── namings ─────────────────────────────────────────────────────────────────────────────────────


def _flux_pairs(rank: int) -> dict[str, tuple[Any, Any]]:
    """LoRA pairs of one double block's attention and feed-forward under Black Forest Labs' names, at FLUX's width."""
    import torch

    numbers = torch.Generator().manual_seed(2)
    widths = {"double_blocks.0.img_attn.qkv": (3072, 9216), "double_blocks.0.img_attn.proj": (3072, 3072)}
    return {
        name: (torch.randn(rank, wide, generator=numbers), torch.randn(out, rank, generator=numbers))
        for name, (wide, out) in widths.items()
    }


def _delta(state: dict[str, Any], path: str) -> Any:
    return state[f"{path}.lora_B.weight"] @ state[f"{path}.lora_A.weight"]


@pytest.mark.parametrize("naming", ["kohya", "comfy"])
def test_reads_flux_namings(naming, tmp_path) -> None:
    """kohya's and ComfyUI's fused q, k, v come out as three layers, with alpha folded in."""
    import torch

    from engines.drawing.lora_files import read_adapter

    pairs, state = _flux_pairs(2), {}
    for name, (down, up) in pairs.items():
        if naming == "kohya":
            flat = f"lora_unet_{name.replace('.', '_')}"
            state |= {
                f"{flat}.lora_down.weight": down,
                f"{flat}.lora_up.weight": up,
                f"{flat}.alpha": torch.tensor(1.0),
            }
        else:
            state |= {f"diffusion_model.{name}.lora_A.weight": down, f"diffusion_model.{name}.lora_B.weight": up}
    read, _ = read_adapter(_save(tmp_path / "flux.safetensors", state))
    scale = 0.5 if naming == "kohya" else 1.0
    down, up = pairs["double_blocks.0.img_attn.qkv"]
    parts = [_delta(read, f"transformer_blocks.0.attn.{name}") for name in ("to_q", "to_k", "to_v")]
    torch.testing.assert_close(torch.cat(parts), scale * up @ down)
    down, up = pairs["double_blocks.0.img_attn.proj"]
    torch.testing.assert_close(_delta(read, "transformer_blocks.0.attn.to_out.0"), scale * up @ down)


@pytest.mark.parametrize("prefix", ["lora_unet_", "diffusion_model.", "transformer.", ""])
def test_reads_qwen_namings(prefix, tmp_path) -> None:
    """Qwen's layers are found under every naming in use, with alpha folded in where a file has one."""
    import torch

    from engines.drawing.lora_files import read_adapter

    path, down, up = "transformer_blocks.1.attn.add_q_proj", torch.randn(2, 8), torch.randn(8, 2)
    if prefix == "lora_unet_":
        stem = f"{prefix}{path.replace('.', '_')}"
        state = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(1.0)}
    else:
        state = {f"{prefix}{path}.lora_A.weight": down, f"{prefix}{path}.lora_B.weight": up}
    read, _ = read_adapter(_save(tmp_path / "qwen.safetensors", state), "qwen-edit")
    assert sorted(read) == [f"{path}.lora_A.weight", f"{path}.lora_B.weight"]
    torch.testing.assert_close(_delta(read, path), (0.5 if prefix == "lora_unet_" else 1.0) * up @ down)


def test_refuses_names_that_a_converter_would_drop(tmp_path) -> None:
    """A FLUX layer that diffusers' converter does not know is an error: it would be dropped in silence."""
    import torch

    from engines.drawing.lora_files import read_adapter

    state = {}
    for name in ("double_blocks_0_img_attn_proj", "double_blocks_99_img_attn_proj"):
        state |= {
            f"lora_unet_{name}.lora_down.weight": torch.zeros(2, 3072),
            f"lora_unet_{name}.lora_up.weight": torch.zeros(3072, 2),
        }
    with pytest.raises(LoraMismatch, match="understood"):
        read_adapter(_save(tmp_path / "drops.safetensors", state))


def test_metadata_travels(lora_file) -> None:
    """What the file says of itself comes back with its tensors, whose names are relative to the transformer."""
    from engines.drawing.lora_files import read_adapter

    state, metadata = read_adapter(lora_file)
    assert json.loads(metadata["lora_adapter_metadata"])["transformer.lora_alpha"] == 4
    assert "transformer_blocks.0.attn.to_q.lora_A.weight" in state
