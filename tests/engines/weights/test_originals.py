"""Weights as others publish them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput
from engines.api.protocols import ModelSpec

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

    from engines.weights import components

    for form in ("nf4", "int8", "fp8"):
        row = components.in_form(toy_qwen, form)
        row = components.replace(row, options={**row.options, form: ("transformer",)})
        components.write(row, bare_copy, "transformer", form, single_file())
        there = components.load(row, bare_copy, "transformer").state_dict()
        here = components.load(row, qwen_folder, "transformer").state_dict()
        assert all(torch.equal(there[name], tensor) for name, tensor in here.items())


def test_a_single_file_can_keep_its_width(single_file, bare_copy, qwen_folder, toy_qwen: ModelSpec) -> None:
    """Written at full width, a single file becomes an ordinary part in diffusers layout."""
    import torch

    from engines.weights import components

    components.write(toy_qwen, bare_copy, "transformer", "bf16", single_file())
    there = components.load(toy_qwen, bare_copy, "transformer").state_dict()
    here = components.load(toy_qwen, qwen_folder, "transformer").state_dict()
    assert all(torch.equal(there[name], tensor) for name, tensor in here.items())


def test_plain_eight_bit_floats_are_widened(single_file, bare_copy, toy_qwen: ModelSpec) -> None:
    """A file in plain 8-bit floats is read; its values are what those floats say."""
    import torch

    from engines.weights import components

    components.write(toy_qwen, bare_copy, "transformer", "bf16", single_file("float8_e4m3fn"))
    weight = components.load(toy_qwen, bare_copy, "transformer").img_in.weight
    assert torch.equal(weight, weight.to(torch.float8_e4m3fn).float())
    assert float(weight.abs().sum()) > 0


def test_comfyuis_markers_are_no_weights(single_file, bare_copy, qwen_folder, toy_qwen: ModelSpec) -> None:
    """The tiny tensors by which ComfyUI knows a model are left aside; large ones of such a name are not."""
    import torch

    from engines.weights import components

    markers = {"model.diffusion_model.__index_timestep_zero__": torch.empty(0), "scaled_fp8": torch.zeros(2)}
    components.write(toy_qwen, bare_copy, "transformer", "bf16", single_file(**markers))
    there = components.load(toy_qwen, bare_copy, "transformer").state_dict()
    here = components.load(toy_qwen, qwen_folder, "transformer").state_dict()
    assert all(torch.equal(there[name], tensor) for name, tensor in here.items())

    with pytest.raises(BadInput, match="scaled_fp8"):
        components.write(toy_qwen, bare_copy, "transformer", "nf4", single_file(scaled_fp8=torch.zeros(99)))


_SPOILT = {
    "packed": ("transformer_blocks.0.attn.to_q.weight", (512, 1)),
    "wider": ("img_in.weight", (32, 384)),
    "no longer flat": ("img_in.bias", (32, 1)),
}


@pytest.mark.parametrize("form", ["nf4", "int8", "bf16"])
@pytest.mark.parametrize("what", _SPOILT)
def test_a_weight_of_another_shape_is_never_kept(
    what: str, form: str, single_file, bare_copy: Path, toy_qwen: ModelSpec
) -> None:
    """What would be written as garbage is refused by its name and both shapes; nothing of it stays on the disk."""
    import torch

    from engines.weights import components

    name, shape = _SPOILT[what]
    file = single_file(**{f"model.diffusion_model.{name}": torch.ones(shape)})
    for refuses in (
        lambda: components.write(toy_qwen, bare_copy, "transformer", form, file),
        lambda: components.demand_fitting(toy_qwen, bare_copy, file),
    ):
        with pytest.raises(BadInput, match=name) as refused:
            refuses()
        assert str(shape) in refused.value.cause
    left = {path.name for path in bare_copy.iterdir() if path.name.startswith("transformer")}
    assert left == {"transformer"} and not list((bare_copy / "transformer").glob("*.safetensors"))


def test_a_folder_of_packed_weights_is_refused(qwen_folder: Path, tmp_path: Path, toy_qwen: ModelSpec) -> None:
    """A part whose linear weights are 4 bits in a column, as bitsandbytes saves them, fits no layer."""
    import torch
    from safetensors.torch import load_file, save_file

    from engines.weights import components

    folder = Path(shutil.copytree(qwen_folder, tmp_path / "model"))
    (file,) = (folder / "transformer").glob("*.safetensors")
    state = {
        key: torch.zeros(value.numel() // 2, 1, dtype=torch.uint8) if value.ndim == 2 else value
        for key, value in load_file(file).items()
    }
    save_file(state, file)
    row = components.replace(toy_qwen, options={**toy_qwen.options, "nf4": ("transformer",)})
    for refuses in (
        lambda: components.write(row, folder, "transformer", "nf4", folder / "transformer"),
        lambda: components.load(row, folder, "transformer"),
        lambda: components.demand_fitting(row, folder, folder),
    ):
        with pytest.raises(BadInput, match="has the shape"):
            refuses()


def test_what_fits_is_found_to_fit_without_its_weights(single_file, qwen_folder, toy_qwen: ModelSpec) -> None:
    """A whole folder and a whole file, in plain 8 bits too; one that lacks a weight is refused."""
    import torch
    from safetensors.torch import load_file, save_file

    from engines.weights import components

    row = components.replace(toy_qwen, options={**toy_qwen.options, "nf4": ("transformer", "text_encoder")})
    components.demand_fitting(row, qwen_folder, qwen_folder)
    components.demand_fitting(row, qwen_folder, single_file("float8_e4m3fn"))
    file = single_file()
    state = load_file(file)
    save_file({key: value for key, value in state.items() if "img_in" not in key}, file)
    with pytest.raises(BadInput, match="lacks 2 weights") as refused:
        components.demand_fitting(row, qwen_folder, file)
    assert "very model" in refused.value.hint
    assert torch.is_tensor(next(iter(state.values())))


def test_names_that_the_converter_trips_over_are_told_in_words(tmp_path: Path) -> None:
    """Widths that cannot be split, blocks that are not there: never a traceback, never "list index out of range"."""
    import torch

    from engines.weights import originals

    shapes = _bfl_shapes(1, 1)
    packed = {name: torch.empty((shape[0] // 7 + 1, 1)) for name, shape in shapes.items()}
    for state in (packed, {"double_blocks.0.x": torch.empty(1)}, {"decoder.conv_in.weight": torch.empty(1)}):
        with pytest.raises(BadInput, match="holds no FluxTransformer2DModel") as refused:
            list(originals.converted("FluxTransformer2DModel", state, "given.safetensors"))
        assert "out of range" not in refused.value.cause


@pytest.mark.parametrize("name", ["flux1-dev-Q4.gguf", "flux1-dev.ckpt"])
def test_other_kinds_of_files_are_refused(name: str, bare_copy, tmp_path, toy_qwen: ModelSpec) -> None:
    """What is no safetensors file is refused by name."""
    from engines.weights import components

    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(BadInput, match=name):
        components.write(toy_qwen, bare_copy, "transformer", "nf4", tmp_path / name)


def test_another_familys_file_is_refused(lora_file, bare_copy, toy_qwen: ModelSpec) -> None:
    """A safetensors file of something else is refused, naming the first tensor that has no place."""
    from engines.weights import components

    with pytest.raises(BadInput, match="holds no QwenImageTransformer2DModel"):
        components.write(toy_qwen, bare_copy, "transformer", "nf4", lora_file)


def test_black_forest_labs_names_are_understood() -> None:
    """FLUX.1-dev's own file, at its true shapes, fills every weight of diffusers' class, and nothing else."""
    import torch
    from accelerate import init_empty_weights
    from diffusers import FluxTransformer2DModel

    from engines.weights import originals

    with init_empty_weights():
        model = FluxTransformer2DModel(guidance_embeds=True)
    state = {name: torch.empty(shape, device="meta") for name, shape in _bfl_shapes(19, 38).items()}
    there = {name: weight.shape for name, weight in originals.converted("FluxTransformer2DModel", state, "flux1-dev")}
    assert there == {name: weight.shape for name, weight in model.state_dict().items()}


def test_query_key_and_value_come_in_that_order() -> None:
    """Black Forest Labs' fused projections are split into thirds in order, in the block that they belong to."""
    import torch

    from engines.weights import originals

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


def test_scales_are_split_as_their_weights() -> None:
    """A scale that is told for each row of a fused projection comes out once for each row of every part of it."""
    import torch

    from engines.weights import originals

    shapes = _bfl_shapes(1, 1)
    numbers = {name: float(at) for at, name in enumerate(shapes, 1)}
    scales = {
        name: torch.full((1,), numbers[name]).expand(shape[0], *[1] * (len(shape) - 1))
        for name, shape in shapes.items()
    }
    told = dict(originals.converted("FluxTransformer2DModel", scales, "flux1-dev"))
    for part in ("to_q", "to_k", "to_v"):
        for fused, block in (("double_blocks.0.img_attn.qkv", ""), ("single_blocks.0.linear1", "single_")):
            scale = told[f"{block}transformer_blocks.0.attn.{part}.weight"]
            assert scale.shape == (3072, 1) and set(scale.unique().tolist()) == {numbers[f"{fused}.weight"]}


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
