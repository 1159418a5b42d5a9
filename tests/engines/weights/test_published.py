"""Weights in the formats that people have: 8-bit floats with scales, and GGUF."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput
from engines.api.protocols import ModelSpec

pytestmark = pytest.mark.slow
State = dict[str, Any]


@pytest.fixture
def state(qwen_folder: Path) -> State:
    """The weights of the tiny Qwen-Image-Edit's transformer, by ComfyUI's names."""
    from safetensors.torch import load_file

    (file,) = (qwen_folder / "transformer").glob("*.safetensors")
    return dict(load_file(file))


@pytest.fixture
def read(qwen_folder: Path, tmp_path: Path, toy_qwen: ModelSpec) -> Callable[[Path], State]:
    """What the model holds after its transformer was pulled from a file."""
    folder = Path(shutil.copytree(qwen_folder, tmp_path / "model"))
    for file in (folder / "transformer").glob("*.safetensors"):
        file.unlink()

    def weights(file: Path) -> State:
        from engines.weights import components

        components.write(toy_qwen, folder, "transformer", "bf16", file)
        return dict(components.load(toy_qwen, folder, "transformer").state_dict())

    return weights


def scaled(state: State, end: str, *, rows: bool = False, told: str = "") -> State:
    """The weights of the attention in 8-bit floats, each with its scale, as ComfyUI writes them."""
    import torch

    out: State = {}
    for name, weight in state.items():
        if ".attn.to_" not in name or not name.endswith(".weight"):
            out[f"model.diffusion_model.{name}"] = weight
            continue
        scale = (weight.abs().amax(1, keepdim=True) if rows else weight.abs().max()).float() / 448
        module = f"model.diffusion_model.{name.removesuffix('.weight')}"
        out[f"{module}.weight"] = (weight / scale).to(torch.float8_e4m3fn)
        out[f"{module}.{end}"] = scale
        if end == "scale_weight":
            out[f"{module}.scale_input"] = torch.ones(1)
        if told:
            out[f"{module}.comfy_quant"] = torch.tensor(list(json.dumps({"format": told}).encode()), dtype=torch.uint8)
    return out


def save(state: State, file: Path, metadata: dict[str, str] | None = None) -> Path:
    """One safetensors file."""
    from safetensors.torch import save_file

    save_file({name: weight.contiguous() for name, weight in state.items()}, file, metadata=metadata)
    return file


@pytest.mark.parametrize(
    ("end", "rows", "told"),
    [("scale_weight", False, ""), ("weight_scale", False, "float8_e4m3fn"), ("weight_scale", True, "float8_e4m3fn")],
)
def test_eight_bits_with_scales_are_what_they_mean(
    read: Any, state: State, tmp_path: Path, end: str, rows: bool, told: str
) -> None:
    """Each weight is its 8-bit float times its scale, to bfloat16's rounding; what has no scale is unchanged."""
    import torch

    found = read(save(scaled(state, end, rows=rows, told=told), tmp_path / "comfy.safetensors"))
    assert found.keys() == state.keys()
    for name, weight in state.items():
        if ".attn.to_" in name and name.endswith(".weight"):
            scale = (weight.abs().amax(1, keepdim=True) if rows else weight.abs().max()).float() / 448
            meant = (weight / scale).to(torch.float8_e4m3fn).float() * scale
            assert torch.equal(found[name], meant.to(torch.bfloat16).to(found[name].dtype)), name
            assert float((found[name].float() - weight.float()).norm() / weight.float().norm()) < 0.04
        else:
            assert torch.equal(found[name], weight), name


@pytest.mark.parametrize(
    ("end", "rows"), [("scale_weight", False), ("weight_scale", False), ("weight_scale", True), ("", False)]
)
def test_eight_bit_floats_keep_their_bytes(
    toy_qwen: ModelSpec, qwen_folder: Path, state: State, tmp_path: Path, end: str, rows: bool
) -> None:
    """Pulled as fp8, codes and scales of a file are stored bit for bit, and multiplied by to the scale's rounding."""
    import torch
    from safetensors.torch import load_file

    from engines.weights import components

    given = scaled(state, end or "scale_weight", rows=rows)
    if not end:
        given = {name: tensor for name, tensor in given.items() if not name.endswith(("scale_weight", "scale_input"))}
    folder = Path(shutil.copytree(qwen_folder, tmp_path / "model"))
    row = replace(toy_qwen, dtype="bfloat16", options={**toy_qwen.options, "fp8": ("transformer",)})
    components.write(row, folder, "transformer", "fp8", save(given, tmp_path / "comfy.safetensors"))
    (file,) = (folder / "transformer.fp8").glob("*.safetensors")
    found, model = load_file(file), components.load(row, folder, "transformer")
    kept = [name for name in state if ".attn.to_" in name and name.endswith(".weight")]
    for name in kept:
        codes = given[f"model.diffusion_model.{name}"]
        scale = given.get(f"model.diffusion_model.{name.removesuffix('weight')}{end}", torch.ones(()))
        assert torch.equal(found[name].view(torch.uint8), codes.view(torch.uint8)), name
        assert torch.equal(found[f"{name}_scale"].reshape(scale.shape), scale), name
        meant = codes.float() * scale
        multiplied = model.get_parameter(name).dequantize().float()
        assert float((multiplied - meant).norm() / meant.norm()) < 2**-8, name
    others = [name for name in found if name.endswith("_scale") and name.removesuffix("_scale") not in kept]
    assert kept and others  # what the file has at full width is quantised


@pytest.mark.parametrize("how", ["tensor", "metadata", "nvfp4", "blocks"])
def test_four_bits_and_scales_of_blocks_are_refused(state: State, tmp_path: Path, how: str) -> None:
    """Before anything is fetched the format is named, where ComfyUI writes it in a tensor or in the metadata."""
    import torch

    from engines.catalogue.formats import demand_format

    module = "model.diffusion_model.transformer_blocks.0.attn.to_q"
    extra: State = {}
    metadata = None
    if how == "tensor":
        extra = {f"{module}.comfy_quant": torch.tensor(list(b'{"format": "mxfp8"}'), dtype=torch.uint8)}
    elif how == "metadata":
        metadata = {"_quantization_metadata": json.dumps({"layers": {module: {"format": "nvfp4"}}})}
    elif how == "nvfp4":
        extra = {f"{module}.weight_scale_2": torch.ones(1)}
    else:
        extra = {f"{module}.weight_scale": torch.ones(4, 2)}
    file = save({**state, **extra}, tmp_path / "comfy.safetensors", metadata)
    words = {"tensor": "mxfp8", "metadata": "nvfp4", "nvfp4": "NVFP4", "blocks": "scales of blocks"}[how]
    with pytest.raises(BadInput, match=words) as refused:
        demand_format(file)
    assert "GGUF" in refused.value.hint


def write_gguf(state: State, file: Path, kind: str, *, shapes: bool = False, arch: str = "qwen_image") -> Path:
    """The weights as a GGUF file of one type; with `shapes`, flattened ones that say their shape beside them."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(file, arch=arch)
    known = gguf.GGMLQuantizationType[kind]
    for name, weight in state.items():
        numbers = weight.float().numpy()
        if numbers.ndim < 2 or numbers.shape[-1] % gguf.GGML_QUANT_SIZES[known][0]:
            writer.add_tensor(name, numbers)
            continue
        if shapes:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", [int(each) for each in numbers.shape])
            numbers = numbers.reshape(1, -1)
        writer.add_tensor(name, np.ascontiguousarray(gguf.quantize(numbers, known)), raw_dtype=known)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(
    ("kind", "most"), [("F16", 1e-3), ("BF16", 5e-3), ("Q8_0", 9e-3), ("Q5_1", 0.05), ("Q4_0", 0.12)]
)
def test_a_gguf_file_is_the_model_to_its_precision(
    read: Any, state: State, tmp_path: Path, kind: str, most: float
) -> None:
    """Every weight has its name, its shape, and its numbers to the relative error of the type."""
    found = read(write_gguf(state, tmp_path / "model.gguf", kind))
    assert found.keys() == state.keys()
    errors = [
        float((found[name].float() - weight.float()).norm() / weight.float().norm().clamp(min=1e-9))
        for name, weight in state.items()
    ]
    assert 0 <= max(errors) < most


def test_a_shape_beside_a_flattened_tensor_counts(read: Any, state: State, tmp_path: Path) -> None:
    """ComfyUI-GGUF stores the shape that GGUF cannot hold in the metadata."""
    found = read(write_gguf(state, tmp_path / "model.gguf", "Q8_0", shapes=True))
    assert {name: weight.shape for name, weight in found.items()} == {n: w.shape for n, w in state.items()}


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K", "Q3_K", "IQ4_XS"])
def test_the_types_that_people_download_are_read(tmp_path: Path, kind: str) -> None:
    """A weight in blocks of 256 numbers is what the format's own library makes of the bytes."""
    import gguf
    import numpy as np
    import torch

    from engines.weights.published import published

    known = gguf.GGMLQuantizationType[kind]
    data = np.random.default_rng(0).integers(0, 60, (4, 2 * gguf.GGML_QUANT_SIZES[known][1]), dtype=np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", arch="flux")
    writer.add_tensor("img_in.weight", data, raw_dtype=known)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with published(tmp_path / "model.gguf") as held:
        assert list(held.keys()) == ["img_in.weight"]
        assert held.shape("img_in.weight") == (4, 512)
        found = held.tensor("img_in.weight")
    meant = torch.from_numpy(np.array(gguf.dequantize(data, known))).to(torch.bfloat16)
    assert torch.equal(found.nan_to_num(), meant.nan_to_num())


@pytest.mark.parametrize("data", [b"", b"GGUF", b"GGUF" + bytes(60), b"not GGUF at all" * 9])
def test_a_damaged_gguf_file_is_refused(tmp_path: Path, data: bytes) -> None:
    """Half a file, and one of other bytes, are named before anything is fetched."""
    from engines.catalogue.formats import demand_format

    file = tmp_path / "model.gguf"
    file.write_bytes(data)
    with pytest.raises(BadInput, match=r"model\.gguf is damaged"):
        demand_format(file)


def test_one_weight_is_read_at_a_time(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint with its makers' names is converted block by block; no tensor is read before its block's turn."""
    import torch

    from engines.weights import originals

    asked: list[str] = []
    names = {f"double_blocks.{at}.img_attn.proj.weight": "x" for at in range(4)} | {"img_in.weight": "x"}

    class Watched(originals._Unread):
        def __getitem__(self, name: str) -> Any:
            asked.append(name)
            return torch.zeros(2, 2)

    blocks = originals._block_by_block(Watched(names, lambda key: torch.zeros(1)))
    next(blocks)
    assert asked == ["img_in.weight", "double_blocks.0.img_attn.proj.weight"]
    assert len(list(blocks)) == 3
