"""What users have on their disks, row by row: taken as the components that it holds, or refused by what it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from engines.api.errors import BadInput
from engines.catalogue.given import Given, Source, resolve
from tests.engines.catalogue.test_given import FLUX, QWEN, Shapes, model, spec, write

DEV, EDIT, KLEIN = "FLUX.1-dev", "Qwen-Image-Edit-2511", "FLUX.2-klein-base-4B"
KLEIN_BFL: Shapes = {
    "img_in.weight": (3072, 128),
    "double_blocks.0.img_attn.qkv.weight": (9216, 3072),
    "double_stream_modulation_img.lin.weight": (18432, 3072),
}
T5: Shapes = {"shared.weight": (32128, 4096), "encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)}
CLIP: Shapes = {"text_model.embeddings.token_embedding.weight": (49408, 768)}
CLIP_G: Shapes = {"text_model.embeddings.token_embedding.weight": (49408, 1280)}
QWEN_VL: Shapes = {
    "model.embed_tokens.weight": (152064, 3584),
    "model.layers.0.self_attn.q_proj.bias": (3584,),
    "visual.blocks.0.norm1.weight": (1280,),
}
QWEN3: Shapes = {"model.embed_tokens.weight": (151936, 2560), "model.layers.0.self_attn.q_norm.weight": (128,)}
QWEN3_8B: Shapes = {"model.embed_tokens.weight": (151936, 4096), "model.layers.0.self_attn.q_norm.weight": (128,)}
AE: Shapes = {"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 16, 3, 3)}
SDXL_VAE: Shapes = {"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 4, 3, 3)}
FLUX2_VAE: Shapes = {"decoder.conv_in.weight": (512, 32, 3, 3), "bn.running_mean": (128,)}
QWEN_VAE: Shapes = {"decoder.conv1.weight": (384, 16, 3, 3, 3), "decoder.middle.0.residual.0.gamma": (384, 1, 1, 1)}
SCHNELL = {key: FLUX[key] for key in FLUX if "guidance" not in key}
WHOLE = {
    **{f"model.diffusion_model.{key}": shape for key, shape in FLUX.items()},
    **{f"text_encoders.t5xxl.transformer.{key}": shape for key, shape in T5.items()},
    **{f"text_encoders.clip_l.transformer.{key}": shape for key, shape in CLIP.items()},
    "text_encoders.clip_l.logit_scale": (),
    **{f"vae.{key}": shape for key, shape in AE.items()},
}
NF4 = "{}.quant_state.bitsandbytes__nf4"


class Row(NamedTuple):
    """What is given for a model, and what comes of it: component -> file and prefix, or the words of the refusal."""

    model: str
    build: Callable[[Path], Mapping[str, Path | list[Path]]]
    parts: Mapping[str, tuple[str, str]] | None = None
    words: str = ""
    hint: str = ""


def _file(shapes: Shapes, dtype: str = "BF16", option: str = "source", name: str = "x.safetensors"):
    """How one file is given by one option."""

    def build(folder: Path) -> Mapping[str, Path | list[Path]]:
        file = write(folder / name, shapes, dtype)
        return {option: [file] if option == "text_encoders" else file}

    return build


def _split(transformer: Shapes, encoders: list[Shapes], vae: Shapes, dtype: str = "BF16"):
    """How ComfyUI's split files are given, each by its option."""

    def build(folder: Path) -> Mapping[str, Path | list[Path]]:
        return {
            "source": write(folder / "t.safetensors", transformer, dtype),
            "text_encoders": [write(folder / f"e{at}.safetensors", each, dtype) for at, each in enumerate(encoders)],
            "vae": write(folder / "v.safetensors", vae),
        }

    return build


def _comfy(files: Mapping[str, tuple[Shapes, str]], given: str = "ComfyUI/models"):
    """How ComfyUI's whole folder is given: path below its models -> tensors and their type."""

    def build(folder: Path) -> Mapping[str, Path | list[Path]]:
        for name, (shapes, dtype) in files.items():
            write(folder / "ComfyUI" / "models" / name, shapes, dtype)
        return {"source": folder / given}

    return build


def _part(transformer: Shapes, given: str = "", name: str = "model.safetensors", **config: object):
    """How a folder is given that holds transformer/ alone, or that folder itself."""

    def build(folder: Path) -> Mapping[str, Path | list[Path]]:
        write(folder / "transformer" / name, transformer)
        told = {"_class_name": "FluxTransformer2DModel", "in_channels": 64, "guidance_embeds": True, **config}
        (folder / "transformer" / "config.json").write_text(json.dumps(told))
        return {"source": folder / given}

    return build


def _folder(change: Callable[[Path], object]):
    """How a whole folder in diffusers layout is given, changed."""

    def build(folder: Path) -> Mapping[str, Path | list[Path]]:
        change(model(folder / "FLUX.1-dev"))
        return {"source": folder / "FLUX.1-dev"}

    return build


def _pointer(folder: Path) -> None:
    (folder / "transformer" / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid 0\n")


def _variant(folder: Path) -> None:
    (folder / "transformer" / "model.safetensors").rename(folder / "transformer" / "model.bf16.safetensors")


def _nf4_file(folder: Path, beside: Shapes, prefix: str = "", name: str = "nf4.safetensors") -> Path:
    """A file whose qkv is in bitsandbytes' 4 bits."""
    import struct

    weight = f"{prefix}double_blocks.0.img_attn.qkv.weight"
    told = json.dumps({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [9216, 3072]}).encode()
    shapes = {f"{prefix}{key}": shape for key, shape in FLUX.items()} | dict(beside)
    shapes |= {weight: (9216 * 3072 // 2, 1), f"{weight}.absmax": (9216 * 3072 // 64,), f"{weight}.quant_map": (16,)}
    file = write(folder / name, {**shapes, NF4.format(weight): (len(told),)}, "U8")
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    for key, entry in header.items():  # others are plain, and as long as they were
        if key != weight and not key.startswith(f"{weight}."):
            entry["dtype"] = "F8_E4M3"
    start = header[NF4.format(weight)]["data_offsets"][0]
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + len(data) - 8 - length)
        stream.seek(8 + len(text) + start)
        stream.write(told)
    return file


def _old_variant(folder: Path) -> None:
    (folder / "transformer" / "model.safetensors").rename(
        folder / "transformer" / "model.bf16-00001-of-00001.safetensors"
    )


def _gguf(folder: Path) -> Path:
    """A transformer's GGUF file of FLUX.1's names, at their shapes."""
    import numpy as np
    from gguf import GGUFWriter

    folder.mkdir(parents=True)
    writer = GGUFWriter(folder / "flux1-dev.gguf", "flux")
    for name, shape in {**FLUX, "double_blocks.0.img_attn.qkv.weight": (96, 32)}.items():
        writer.add_tensor(name, np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "flux1-dev.gguf"


def _encoder_folder(folder: Path) -> Mapping[str, Path | list[Path]]:
    """A text encoder as transformers writes it, in two shards."""
    shards = [write(folder / "t5" / f"model-{at}.safetensors", {name: T5[name]}) for at, name in enumerate(T5)]
    index = {name: shard.name for name, shard in zip(T5, shards, strict=True)}
    (folder / "t5" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "t5" / "config.json").write_text("{}")
    return {"text_encoders": [folder / "t5"]}


_SPLIT_DEV = {"diffusion_models/flux1-dev.safetensors": (FLUX, "BF16"), "vae/ae.safetensors": (AE, "BF16")}
_ENCODERS = {"clip/clip_l.safetensors": (CLIP, "F16"), "clip/t5xxl_fp8.safetensors": (T5, "F8_E4M3")}
_OTHERS = {
    "diffusion_models/qwen.safetensors": (QWEN, "BF16"),
    "diffusion_models/klein.safetensors": (KLEIN_BFL, "BF16"),
    "diffusion_models/flux1-schnell.safetensors": (SCHNELL, "BF16"),
    "text_encoders/qwen_2.5_vl_7b.safetensors": (QWEN_VL, "BF16"),
    "text_encoders/clip_g.safetensors": (CLIP_G, "F16"),
    "vae/sdxl.safetensors": (SDXL_VAE, "F16"),
    "vae/flux2.safetensors": (FLUX2_VAE, "BF16"),
}
_SCALED = {"double_blocks.0.img_attn.qkv.scale_weight": (), "scaled_fp8": (2,)}
_ROWS: Mapping[str, Row] = {
    "diffusers folder": Row(DEV, _folder(lambda folder: None), {}),
    "diffusers folder, LFS pointers": Row(DEV, _folder(_pointer), words="only a pointer"),
    "diffusers folder, only .bf16.": Row(DEV, _folder(_variant), {"transformer": ("FLUX.1-dev/transformer", "")}),
    "diffusers folder, old .bf16-": Row(DEV, _folder(_old_variant), {"transformer": ("FLUX.1-dev/transformer", "")}),
    "GGUF in ComfyUI": Row(
        DEV,
        lambda folder: {"source": _gguf(folder / "models" / "unet").parents[1]},
        {"transformer": ("models/unet/flux1-dev.gguf", "")},
    ),
    "an encoder's folder": Row(DEV, _encoder_folder, {"text_encoder_2": ("t5", "")}),
    "a VAE's folder of one file": Row(
        DEV,
        lambda folder: {"vae": write(folder / "v" / "ae.safetensors", AE).parent},
        {"vae": ("v/ae.safetensors", "")},
    ),
    "BFL file": Row(DEV, _file(FLUX), {"transformer": ("x.safetensors", "")}),
    "klein's BFL file": Row(KLEIN, _file(KLEIN_BFL), {"transformer": ("x.safetensors", "")}),
    "plain fp8": Row(EDIT, _file(QWEN, "F8_E4M3"), {"transformer": ("x.safetensors", "")}),
    "scaled fp8": Row(DEV, _file({**FLUX, **_SCALED}, "F8_E4M3"), {"transformer": ("x.safetensors", "")}),
    "whole checkpoint": Row(
        DEV,
        _file(WHOLE, "F8_E4M3"),
        {
            "transformer": ("x.safetensors", "model.diffusion_model."),
            "text_encoder": ("x.safetensors", "text_encoders.clip_l.transformer."),
            "text_encoder_2": ("x.safetensors", "text_encoders.t5xxl.transformer."),
            "vae": ("x.safetensors", "vae."),
        },
    ),
    "2511 with its marker": Row(
        EDIT, _file({**QWEN, "__index_timestep_zero__": (0,)}), {"transformer": ("x.safetensors", "")}
    ),
    "2511 for 2509": Row(
        "Qwen-Image-Edit-2509", _file({**QWEN, "__index_timestep_zero__": (0,)}), words="is Qwen-Image-Edit-2511"
    ),
    "Nunchaku": Row(DEV, _file({"transformer_blocks.0.qkv_proj.qweight": (9, 9)}, "I8"), words="Nunchaku"),
    "bnb-nf4 file": Row(
        DEV, lambda folder: {"source": _nf4_file(folder, {})}, {"transformer": ("nf4.safetensors", "")}
    ),
    "bnb-nf4 folder": Row(
        DEV,
        _folder(lambda folder: _nf4_file(folder / "transformer", {}, name="model.safetensors")),
        {"transformer": ("FLUX.1-dev/transformer", "")},
    ),
    "Fill for dev": Row(DEV, _file({**FLUX, "img_in.weight": (3072, 384)}), words="is FLUX.1 Fill"),
    "schnell for dev": Row(DEV, _file(SCHNELL), words=r"is FLUX.1 \[schnell\]", hint="cannot be made into it"),
    "ae as --from": Row(DEV, _file(AE), words="holds a VAE, not the transformer", hint="Give it by --vae."),
    "t5xxl as --from": Row(DEV, _file(T5), words="holds a T5 text encoder", hint="Give it by --text-encoder."),
    "klein's VAE for dev": Row(DEV, _file(FLUX2_VAE, option="vae"), words="holds a VAE of FLUX.2, not the VAE"),
    "SDXL's VAE for dev": Row(DEV, _file(SDXL_VAE, option="vae"), words="a VAE of another model: .* 4 wide, .* 16"),
    "clip_g for dev": Row(DEV, _file(CLIP_G, option="text_encoders"), words="1280 wide, that of FLUX.1-dev 768"),
    "Qwen3-8B for 4B": Row(KLEIN, _file(QWEN3_8B, option="text_encoders"), words="4096 wide, that of .* 2560"),
    "T5 for klein": Row(KLEIN, _file(T5, option="text_encoders"), words="holds a T5 text encoder, not the text"),
    "llama.cpp's names": Row(
        EDIT, _file({"blk.0.attn_q.weight": (9, 9)}, option="text_encoders"), words="llama.cpp's names, not the text"
    ),
    "split files of FLUX.1": Row(
        DEV,
        _split(FLUX, [T5, CLIP], AE, "F16"),
        {
            "transformer": ("t.safetensors", ""),
            "text_encoder": ("e1.safetensors", ""),
            "text_encoder_2": ("e0.safetensors", ""),
            "vae": ("v.safetensors", ""),
        },
    ),
    "split files of 2511": Row(
        EDIT,
        _split(QWEN, [QWEN_VL], QWEN_VAE, "F8_E4M3"),
        {
            "transformer": ("t.safetensors", ""),
            "text_encoder": ("e0.safetensors", ""),
            "vae": ("v.safetensors", ""),
        },
    ),
    "split files of klein": Row(
        KLEIN,
        _split(KLEIN_BFL, [QWEN3], FLUX2_VAE),
        {
            "transformer": ("t.safetensors", ""),
            "text_encoder": ("e0.safetensors", ""),
            "vae": ("v.safetensors", ""),
        },
    ),
    "one encoder twice": Row(DEV, _split(FLUX, [T5, T5], AE), words="are both the text_encoder_2"),
    "ComfyUI's models": Row(
        DEV,
        _comfy({**_SPLIT_DEV, **_ENCODERS, **_OTHERS}),
        {
            "transformer": ("ComfyUI/models/diffusion_models/flux1-dev.safetensors", ""),
            "text_encoder": ("ComfyUI/models/clip/clip_l.safetensors", ""),
            "text_encoder_2": ("ComfyUI/models/clip/t5xxl_fp8.safetensors", ""),
            "vae": ("ComfyUI/models/vae/ae.safetensors", ""),
        },
    ),
    "ComfyUI itself": Row(
        EDIT,
        _comfy(_OTHERS, "ComfyUI"),
        {
            "transformer": ("ComfyUI/models/diffusion_models/qwen.safetensors", ""),
            "text_encoder": ("ComfyUI/models/text_encoders/qwen_2.5_vl_7b.safetensors", ""),
        },
    ),
    "ComfyUI's other folders": Row(
        DEV,
        lambda folder: {
            **_file(FLUX)(folder),
            "text_encoders": [_comfy({**_SPLIT_DEV, **_ENCODERS, **_OTHERS})(folder)["source"] / "clip"],
            "vae": folder / "ComfyUI" / "models" / "vae",
        },
        {
            "transformer": ("x.safetensors", ""),
            "text_encoder": ("ComfyUI/models/clip/clip_l.safetensors", ""),
            "text_encoder_2": ("ComfyUI/models/clip/t5xxl_fp8.safetensors", ""),
            "vae": ("ComfyUI/models/vae/ae.safetensors", ""),
        },
    ),
    "a folder of no VAE": Row(
        DEV,
        lambda folder: {"vae": write(folder / "v" / "t5.safetensors", T5).parent},
        words="No file in .* is the VAE of FLUX.1-dev",
    ),
    "ComfyUI with two that fit": Row(
        DEV,
        _comfy({**_SPLIT_DEV, "unet/flux1-krea-dev.safetensors": (FLUX, "F8_E4M3")}),
        words=r"2 files fit the transformer of FLUX.1-dev:\n.*flux1-dev.safetensors\n.*flux1-krea-dev.safetensors",
        hint="Give one by --from.",
    ),
    "ComfyUI without it": Row(DEV, _comfy(_OTHERS), words="No file in .* is the transformer of FLUX.1-dev"),
    "a folder with one file": Row(
        DEV,
        lambda folder: {"source": write(folder / "f" / "x.safetensors", FLUX).parent},
        {"transformer": ("f/x.safetensors", "")},
    ),
    "only transformer/": Row(DEV, _part(FLUX), {"transformer": ("transformer", "")}),
    "transformer/ itself": Row(DEV, _part(FLUX, "transformer"), {"transformer": ("transformer", "")}),
    "transformer/ of Fill": Row(DEV, _part({**FLUX, "img_in.weight": (3072, 384)}), words="is FLUX.1 Fill"),
    "transformer/ by torchao": Row(
        DEV, _part(FLUX, quantization_config={"quant_method": "torchao"}), words="quantised already, by torchao"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", _ROWS)
def test_each_is_taken_or_refused_within_a_second(what: str, tmp_path: Path) -> None:
    """The right components with the right names inside, or words that name the file; no weight is read for it."""
    row = _ROWS[what]
    given = row.build(tmp_path)
    began = time.process_time()
    if row.parts is None:
        with pytest.raises(BadInput, match=row.words) as refused:
            resolve(spec(row.model), **given)
        assert row.hint in refused.value.hint and refused.value.hint
    else:
        found = resolve(spec(row.model), **given)
        assert found.parts == {name: Source(tmp_path / path, prefix) for name, (path, prefix) in row.parts.items()}
        assert (found.folder is not None) == (what.startswith("diffusers folder") or what == "bnb-nf4 folder")
    assert time.process_time() - began < 1


def test_what_is_taken_is_told(tmp_path: Path) -> None:
    """A line for each component; one in 4 bits says what another precision is worth."""
    file = _nf4_file(tmp_path, {})
    found = resolve(spec(), file)
    assert found.four_bit == ("transformer",)
    assert found.told("nf4") == (f"transformer from {file}",)
    assert "no better than nf4" in found.told("int8")[1]
    assert Given().told("bf16") == ()
