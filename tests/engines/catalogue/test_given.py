"""What `pull --from` is given is looked at before anything is fetched, and refused in words that say what to give."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput
from engines.catalogue.given import mark, resolve
from engines.catalogue.models import MODELS

_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1, "I8": 1}
Shapes = Mapping[str, tuple[int, ...]]
FLUX: Shapes = {
    "img_in.weight": (3072, 64),
    "guidance_in.in_layer.weight": (3072, 256),
    "double_blocks.0.img_attn.qkv.weight": (9216, 3072),
}
QWEN: Shapes = {"img_in.weight": (3072, 64), "transformer_blocks.0.img_mod.1.weight": (18432, 3072)}


def spec(name: str = "FLUX.1-dev") -> Any:
    """A row."""
    return next(each for each in MODELS if each.name == name)


def write(file: Path, shapes: Shapes, dtype: str = "BF16", told: Mapping[str, str] | None = None) -> Path:
    """A safetensors file of such tensors, all zero, that takes no room on the disk."""
    end, header = 0, {}
    for name, shape in shapes.items():
        size = _BYTES[dtype]
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps({**header, **({"__metadata__": dict(told)} if told else {})}).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)
    return file


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3"])
def test_a_transformers_own_file_is_taken(prefix: str, dtype: str, tmp_path: Path) -> None:
    """Makers' names, with ComfyUI's prefix or not, in 8 bits too, with scales and its marker tensors beside it."""
    markers = {"__index_timestep_zero__": (0,), "scaled_fp8": (2,)}
    scales = {"double_blocks.0.img_attn.qkv.scale_weight": (), "double_blocks.0.img_attn.qkv.scale_input": ()}
    for row, shapes in (("FLUX.1-dev", {**FLUX, **scales}), ("Qwen-Image-Edit-2511", {**QWEN, **markers})):
        file = write(tmp_path / f"{row}.safetensors", {f"{prefix}{key}": each for key, each in shapes.items()}, dtype)
        resolve(spec(row), file)


_FILES: Mapping[str, tuple[Shapes, str, str]] = {
    "Fill": ({**FLUX, "img_in.weight": (3072, 384)}, "BF16", "FLUX.1 Fill: its first layer takes 384 channels"),
    "Depth": ({**FLUX, "img_in.weight": (3072, 128)}, "BF16", "takes 128 channels, that of FLUX.1-dev 64"),
    "schnell": ({key: FLUX[key] for key in FLUX if "guidance" not in key}, "BF16", r"is FLUX.1 \[schnell\]"),
    "NVFP4": ({**FLUX, "double_blocks.0.img_attn.qkv.weight_scale_2": ()}, "F8_E4M3", "NVFP4: .*weight_scale_2"),
    "mixed": ({**FLUX, "double_blocks.0.img_attn.qkv.comfy_quant": (9,)}, "U8", "comfy_quant"),
    "bitsandbytes": ({**FLUX, "double_blocks.0.img_attn.qkv.weight.absmax": (9,)}, "U8", "bitsandbytes: .*absmax"),
    "8 bits": ({**FLUX, "double_blocks.0.img_attn.qkv.SCB": (9,)}, "I8", "bitsandbytes: .*SCB"),
    "nf4 state": (
        {"double_blocks.0.img_attn.qkv.weight.quant_state.bitsandbytes__nf4": (9,)},
        "U8",
        "4-bit weights are not described",
    ),
    "Nunchaku": ({"transformer_blocks.0.qkv_proj.qweight": (9, 9)}, "I8", "Nunchaku: .*qweight"),
    "whole numbers": (FLUX, "I8", "whole numbers: img_in.weight"),
    "VAE": ({"decoder.conv_in.weight": (4, 4), "encoder.conv_in.weight": (4, 4)}, "BF16", "holds a VAE, not the"),
    "Qwen's VAE": ({"decoder.middle.0.residual.0.gamma": (4,)}, "BF16", "holds a VAE of Qwen-Image or Wan, not the"),
    "T5": ({"encoder.block.0.layer.0.SelfAttention.q.weight": (4, 4)}, "F16", "holds a T5 text encoder"),
    "CLIP": ({"text_model.encoder.layers.0.mlp.fc1.weight": (4, 4)}, "F16", "holds a CLIP text encoder"),
    "Qwen VL": ({"model.layers.0.mlp.up_proj.weight": (4, 4)}, "F16", "holds a language model"),
    "LoRA": ({"lora_unet_x_img_attn.lora_down.weight": (4, 4)}, "F16", "holds a LoRA"),
    "Qwen": (QWEN, "BF16", "not the transformer of FLUX.1-dev"),
    "nothing": ({}, "BF16", "holds something else"),
}


@pytest.mark.parametrize("what", _FILES)
def test_another_file_is_refused_by_what_it_is(what: str, tmp_path: Path) -> None:
    """The sentence names the file, what it holds, and what to give; Python's words are not in it."""
    shapes, dtype, words = _FILES[what]
    with pytest.raises(BadInput, match=words) as refused:
        resolve(spec(), write(tmp_path / "given.safetensors", shapes, dtype))
    assert "given.safetensors" in refused.value.cause and refused.value.hint
    assert "out of range" not in str(refused.value)


@pytest.mark.parametrize(
    ("row", "tensor"),
    [
        ("FLUX.1-dev", "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight"),
        ("FLUX.1-dev", "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"),
        ("FLUX.2-klein-base-4B", "transformer.transformer_blocks.0.attn.to_q.lora_A.weight"),
        ("Qwen-Image-Edit-2511", "transformer.transformer_blocks.0.img_mod.1.lora_A.weight"),
    ],
)
def test_a_lora_is_called_one_under_every_name(row: str, tensor: str, tmp_path: Path) -> None:
    """A LoRA whose tensors carry the names of a transformer's blocks is refused as a LoRA, for every family."""
    with pytest.raises(BadInput, match=r"given\.safetensors holds a LoRA, not the transformer"):
        resolve(spec(row), write(tmp_path / "given.safetensors", {tensor: (16, 3072)}))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("flux1-dev-Q8_0.gguf", b"GGUF", "damaged"),
        ("flux1-dev.ckpt", b"PK", "not a safetensors or GGUF file"),
        ("page.safetensors", b"<html>" * 99, "damaged"),
        ("empty.safetensors", b"", "damaged"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("lying.safetensors", (2).to_bytes(8, "little") + b"[]", "damaged"),
        ("odd.safetensors", (9).to_bytes(8, "little") + b'{"x": 5} ', "damaged"),
    ],
)
def test_what_holds_no_tensors_is_refused(name: str, data: bytes, words: str, tmp_path: Path) -> None:
    """Other formats, pages saved as files, pointers of git: each by name."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=words) as refused:
        resolve(spec(), tmp_path / name)
    assert name in refused.value.cause


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    """A download that was cut off is known by its length."""
    file = write(tmp_path / "cut.safetensors", FLUX)
    with file.open("rb+") as stream:
        stream.truncate(file.stat().st_size - 1)
    with pytest.raises(BadInput, match=r"cut\.safetensors is damaged"):
        resolve(spec(), file)


def test_a_mark_tells_weights_apart(tmp_path: Path) -> None:
    """A file's mark stays with its bytes and changes with its time; a folder's is that of the files in it."""
    file = write(tmp_path / "a" / "flux.safetensors", FLUX)
    first = mark(file)
    assert mark(file) == first == mark(file.parent) == mark(file.rename(tmp_path / "flux.safetensors"))
    os.utime(tmp_path / "flux.safetensors", ns=(0, 1))
    assert mark(tmp_path / "flux.safetensors") != first
    assert mark(tmp_path / "a") != first


# ── folders ─────────────────────────────────────────────────────────────────────────────────────


def model(folder: Path, transformer: Mapping[str, Any] | None = None) -> Path:
    """A model's folder of one small part."""
    write(folder / "transformer" / "model.safetensors", {"x_embedder.weight": (4, 4)})
    config = {"in_channels": 64, "guidance_embeds": True, **(transformer or {})}
    (folder / "transformer" / "config.json").write_text(json.dumps(config))
    index = {
        "_class_name": "FluxPipeline",
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "extra": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_a_models_folder_is_taken(tmp_path: Path) -> None:
    """Whatever width it has, as long as it is plain."""
    resolve(spec(), model(tmp_path))


def test_a_quantised_folder_is_refused(tmp_path: Path) -> None:
    """By its configuration, and by its tensors where that says nothing."""
    with pytest.raises(BadInput, match="transformer is quantised already, by bitsandbytes") as refused:
        resolve(spec(), model(tmp_path / "a", {"quantization_config": {"quant_method": "bitsandbytes"}}))
    assert "full width" in refused.value.hint
    write(model(tmp_path / "b") / "transformer" / "model.safetensors", {"x.weight.absmax": (4,)}, "F32")
    with pytest.raises(BadInput, match="bitsandbytes"):
        resolve(spec(), tmp_path / "b")


def test_a_sibling_is_refused(tmp_path: Path) -> None:
    """A folder of FLUX.1 Fill or [schnell] is not FLUX.1-dev, whole as it may be."""
    with pytest.raises(BadInput, match=r"FLUX\.1 Fill"):
        resolve(spec(), model(tmp_path / "fill", {"in_channels": 384}))
    with pytest.raises(BadInput, match="schnell"):
        resolve(spec(), model(tmp_path / "schnell", {"guidance_embeds": False}))


def test_what_a_folder_lacks_is_named(tmp_path: Path) -> None:
    """A shard that the index names, or a whole part."""
    (model(tmp_path / "a") / "transformer" / "model.safetensors.index.json").write_text('{"weight_map": {"x": "gone"}}')
    with pytest.raises(BadInput, match="gone is not there"):
        resolve(spec(), tmp_path / "a")
    (model(tmp_path / "c") / "transformer").rename(tmp_path / "c" / "elsewhere")
    with pytest.raises(BadInput, match="lacks the part transformer"):
        resolve(spec(), tmp_path / "c")


_REPOSITORY = "models--black-forest-labs--FLUX.1-dev"


@pytest.mark.parametrize(
    ("holds", "given"),
    [
        (f"{_REPOSITORY}/snapshots/abc", f"{_REPOSITORY}/snapshots/abc"),
        (f"{_REPOSITORY}/snapshots/abc", _REPOSITORY),
        (f"{_REPOSITORY}/snapshots/abc", ""),
        (f"hub/{_REPOSITORY}/snapshots/abc", ""),
    ],
)
def test_any_folder_of_the_cache_leads_to_the_snapshot(holds: str, given: str, tmp_path: Path) -> None:
    """The cache's root, its hub, a repository in it: the snapshot is taken, that of the main branch before others."""
    model(tmp_path / holds)
    assert resolve(spec(), tmp_path / given).folder == tmp_path / holds
    model((tmp_path / holds).parent / "newer")
    assert resolve(spec(), tmp_path / given).folder == tmp_path / (holds if given == holds else holds[:-3] + "newer")
    (tmp_path / holds).parent.with_name("refs").mkdir()
    ((tmp_path / holds).parent.with_name("refs") / "main").write_text("abc")
    assert resolve(spec(), tmp_path / given).folder == tmp_path / holds


def test_the_right_folder_is_named_where_it_is_near(tmp_path: Path) -> None:
    """A parent of the model's folder, another cache, a folder of nothing: the sentence says what to give."""
    model(tmp_path / "near" / "FLUX.1-dev")
    (tmp_path / "cache" / "models--other--model").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for folder, words in (
        ("near", f"{tmp_path / 'near' / 'FLUX.1-dev'}."),
        ("cache", "no black-forest"),
        ("empty", ""),
    ):
        with pytest.raises(BadInput, match="diffusers layout") as refused:
            resolve(spec(), tmp_path / folder)
        assert words in refused.value.hint and "model_index.json" in refused.value.hint
