"""Weights as others publish them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.api import ModelSpec
from engines.errors import BadInput

pytestmark = pytest.mark.slow


@pytest.fixture
def single_file(qwen_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """How the tiny Qwen-Image-Edit's transformer is written as ComfyUI has it: one file, its prefix, any type."""

    def write(dtype: str = "float32", **extra: Any) -> Path:
        import torch
        from safetensors.torch import load_file, save_file

        (file,) = (qwen_folder / "transformer").glob("*.safetensors")
        state = {
            f"model.diffusion_model.{name}": weight.to(getattr(torch, dtype))
            for name, weight in load_file(file).items()
        }
        save_file({**state, **extra}, tmp_path / "comfy.safetensors")
        return tmp_path / "comfy.safetensors"

    return write


@pytest.fixture
def bare_copy(qwen_folder: Path, tmp_path: Path) -> Path:
    """The tiny Qwen-Image-Edit without its transformer's weights."""
    folder = Path(shutil.copytree(qwen_folder, tmp_path / "model"))
    for file in (folder / "transformer").glob("*.safetensors"):
        file.unlink()
    return folder


def test_a_comfyui_file_is_the_same_model(single_file, bare_copy, qwen_folder, toy_qwen: ModelSpec) -> None:
    """ComfyUI's single file gives, bit for bit, what the diffusers folder gives, in every form."""
    import torch

    from engines.parts import components

    for form in ("nf4", "int8"):
        row = components.in_form(toy_qwen, form)
        row = components.replace(row, options={**row.options, form: ("transformer",)})
        components.write(row, bare_copy, "transformer", form, single_file())
        there = components.load(row, bare_copy, "transformer").state_dict()
        here = components.load(row, qwen_folder, "transformer").state_dict()
        assert all(torch.equal(there[name], tensor) for name, tensor in here.items())


def test_a_single_file_can_keep_its_width(single_file, bare_copy, qwen_folder, toy_qwen: ModelSpec) -> None:
    """Written at full width, a single file becomes an ordinary part in diffusers layout."""
    import torch

    from engines.parts import components

    components.write(toy_qwen, bare_copy, "transformer", "bf16", single_file())
    there = components.load(toy_qwen, bare_copy, "transformer").state_dict()
    here = components.load(toy_qwen, qwen_folder, "transformer").state_dict()
    assert all(torch.equal(there[name], tensor) for name, tensor in here.items())


def test_plain_eight_bit_floats_are_widened(single_file, bare_copy, toy_qwen: ModelSpec) -> None:
    """A file in plain 8-bit floats is read; its values are what those floats say."""
    import torch

    from engines.parts import components

    components.write(toy_qwen, bare_copy, "transformer", "bf16", single_file("float8_e4m3fn"))
    weight = components.load(toy_qwen, bare_copy, "transformer").img_in.weight
    assert torch.equal(weight, weight.to(torch.float8_e4m3fn).float())
    assert float(weight.abs().sum()) > 0


def test_scaled_eight_bits_are_refused(single_file, bare_copy, toy_qwen: ModelSpec) -> None:
    """A file with scales beside its 8-bit weights is refused, with what is read instead; nothing is left behind."""
    import torch

    from engines.parts import components

    file = single_file(**{"model.diffusion_model.img_in.scale_weight": torch.ones(1)})
    with pytest.raises(BadInput, match="scale_weight") as refused:
        components.write(toy_qwen, bare_copy, "transformer", "nf4", file)
    assert "bfloat16" in refused.value.hint
    assert not (bare_copy / "transformer.nf4").exists()


@pytest.mark.parametrize("name", ["flux1-dev-Q4.gguf", "flux1-dev.ckpt"])
def test_other_kinds_of_files_are_refused(name: str, bare_copy, tmp_path, toy_qwen: ModelSpec) -> None:
    """What is no safetensors file is refused by name."""
    from engines.parts import components

    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(BadInput, match=name):
        components.write(toy_qwen, bare_copy, "transformer", "nf4", tmp_path / name)


def test_another_familys_file_is_refused(lora_file, bare_copy, toy_qwen: ModelSpec) -> None:
    """A safetensors file of something else is refused, naming the first tensor that has no place."""
    from engines.parts import components

    with pytest.raises(BadInput, match="holds no QwenImageTransformer2DModel"):
        components.write(toy_qwen, bare_copy, "transformer", "nf4", lora_file)


def test_black_forest_labs_names_are_understood() -> None:
    """FLUX.1-dev's own file, at its true shapes, fills every weight of diffusers' class, and nothing else."""
    import torch
    from accelerate import init_empty_weights
    from diffusers import FluxTransformer2DModel

    from engines.parts import originals

    with init_empty_weights():
        model = FluxTransformer2DModel(guidance_embeds=True)
    state = {name: torch.empty(shape, device="meta") for name, shape in _bfl_shapes(19, 38).items()}
    there = {name: weight.shape for name, weight in originals.converted("FluxTransformer2DModel", state, "flux1-dev")}
    assert there == {name: weight.shape for name, weight in model.state_dict().items()}


def test_query_key_and_value_come_in_that_order() -> None:
    """Black Forest Labs' fused projections are split into thirds in order, in the block that they belong to."""
    import torch

    from engines.parts import originals

    width = 3072
    state = {
        name: (torch.arange(shape[0]) // width).to(torch.uint8).reshape(-1, *[1] * (len(shape) - 1)).expand(shape)
        for name, shape in _bfl_shapes(1, 2).items()
    }
    for name in list(state):
        if name.startswith("single_blocks.1.linear1"):
            state[name] = state[name] + 10
    wanted = {
        f"{block}.attn.{part}.weight": number + 10 * (block == "single_transformer_blocks.1")
        for block in ("transformer_blocks.0", "single_transformer_blocks.0", "single_transformer_blocks.1")
        for number, part in enumerate(("to_q", "to_k", "to_v"))
    }
    converted = originals.converted("FluxTransformer2DModel", state, "flux1-dev")
    found = {name: int(weight[0, 0]) for name, weight in converted if name in wanted}
    assert found == wanted


def _bfl_shapes(double: int, single: int) -> dict[str, tuple[int, ...]]:
    """Black Forest Labs' names and shapes (black-forest-labs/flux, src/flux/model.py) for so many blocks."""
    width, wide = 3072, 12288
    linear = {
        "img_in": (width, 64), "txt_in": (width, 4096), "final_layer.linear": (64, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }  # fmt: skip
    for name, inner in (("time_in", 256), ("guidance_in", 256), ("vector_in", 768)):
        linear |= {f"{name}.in_layer": (width, inner), f"{name}.out_layer": (width, width)}
    norms = []
    for at in (f"double_blocks.{block}.{side}" for block in range(double) for side in ("img", "txt")):
        linear |= {
            f"{at}_mod.lin": (6 * width, width), f"{at}_attn.qkv": (3 * width, width),
            f"{at}_attn.proj": (width, width), f"{at}_mlp.0": (wide, width), f"{at}_mlp.2": (width, wide),
        }  # fmt: skip
        norms += [f"{at}_attn.norm.query_norm.scale", f"{at}_attn.norm.key_norm.scale"]
    for at in (f"single_blocks.{block}" for block in range(single)):
        linear |= {
            f"{at}.modulation.lin": (3 * width, width), f"{at}.linear1": (3 * width + wide, width),
            f"{at}.linear2": (width, width + wide),
        }  # fmt: skip
        norms += [f"{at}.norm.query_norm.scale", f"{at}.norm.key_norm.scale"]
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(norms, (128,))
    for name, (rows, columns) in linear.items():
        shapes |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
    return shapes
