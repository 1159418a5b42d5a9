"""Text encoders and VAEs as ComfyUI and their makers publish them, and weights that are in 4 bits already."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput
from engines.api.protocols import ModelSpec
from engines.catalogue.given import Given, Source

pytestmark = pytest.mark.slow

Tensors = Mapping[str, Any]


def _weights(folder: Path, name: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    (file,) = (folder / name).glob("*.safetensors")
    return load_file(file)


def _copy(folder: Path, target: Path, without: str) -> Path:
    """A model's folder without the weights of one part."""
    copy = Path(shutil.copytree(folder, target))
    for file in (copy / without).glob("*.safetensors"):
        file.unlink()
    return copy


def _ldm(state: Tensors, levels: int) -> dict[str, Any]:
    """A VAE's tensors in the names of latent diffusion, by which `ae` and ComfyUI's VAEs go (CompVis, model.py)."""
    found = {}
    for name, tensor in state.items():
        key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        key = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", key)
        key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
        key = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{levels - 1 - int(m[1])}.block.", key)
        key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", key)
        key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        if "mid_block.attentions.0." in key:
            key = key.replace("mid_block.attentions.0.", "mid.attn_1.").replace("group_norm", "norm")
            key = key.replace("to_out.0", "proj_out").replace("to_q", "q").replace("to_k", "k").replace("to_v", "v")
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        key = re.sub(r"^quant_conv", "encoder.quant_conv", re.sub(r"^post_quant_conv", "decoder.post_quant_conv", key))
        found[key] = tensor.contiguous()
    return found


def _wan(state: Tensors) -> dict[str, Any]:
    """Qwen-Image's VAE in the names of Wan's, by which ComfyUI's `qwen_image_vae` goes (Wan-Video/Wan2.1, vae.py)."""
    inner = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6"}
    found = {}
    for name, tensor in state.items():
        key = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)\.", lambda m: f"upsamples.{4 * int(m[1]) + int(m[2])}.", name)
        key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f"upsamples.{4 * int(m[1]) + 3}.", key)
        key = key.replace("down_blocks.", "downsamples.").replace("conv_shortcut", "shortcut")
        key = re.sub(r"mid_block\.resnets\.(\d)\.", lambda m: f"middle.{2 * int(m[1])}.", key)
        key = key.replace("mid_block.attentions.0.", "middle.1.")
        key = re.sub(r"\.(norm1|conv1|norm2|conv2)\.", lambda m: f".{inner[m[1]]}.", key)
        key = key.replace("norm_out", "head.0").replace("conv_out", "head.2").replace("conv_in", "conv1")
        key = re.sub(r"^post_quant_conv", "conv2", re.sub(r"^quant_conv", "conv1", key))
        found[key] = tensor.contiguous()
    return found


@pytest.fixture(scope="module")
def wan_folder(qwen_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen-Image-Edit whose VAE has as many levels as the real one, for which diffusers' converter is made."""
    from diffusers import AutoencoderKLQwenImage

    folder = Path(shutil.copytree(qwen_folder, tmp_path_factory.mktemp("wan") / "model"))
    shutil.rmtree(folder / "vae")
    AutoencoderKLQwenImage(base_dim=4, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2).save_pretrained(
        folder / "vae"
    )
    return folder


def _prefixed(prefix: str, **beside: Any) -> Callable[[Tensors], dict[str, Any]]:
    return lambda state: {f"{prefix}{name}": tensor for name, tensor in state.items()} | beside


_AS_PUBLISHED: Mapping[str, tuple[str, str, Callable[[Tensors], dict[str, Any]]]] = {
    "FLUX.1 ae": ("flux_folder", "vae", lambda state: _ldm(state, 3)),
    "FLUX.1 VAE of diffusers": ("flux_folder", "vae", dict),
    "FLUX.1 clip_l": ("flux_folder", "text_encoder", _prefixed("text_model.")),
    "FLUX.1 clip_l of transformers 5": ("flux_folder", "text_encoder", dict),
    "FLUX.1 t5xxl": ("flux_folder", "text_encoder_2", dict),
    "FLUX.2 VAE": ("flux2_folder", "vae", lambda state: _ldm(state, 3)),
    "klein's Qwen3": ("flux2_folder", "text_encoder", dict),
    "Qwen-Image VAE": ("wan_folder", "vae", _wan),
    "qwen_2.5_vl_7b": ("qwen_folder", "text_encoder", dict),
}


@pytest.mark.parametrize("what", _AS_PUBLISHED)
def test_a_part_in_its_own_file_is_the_same_part(
    what: str, request: pytest.FixtureRequest, tmp_path: Path, toy_flux: ModelSpec
) -> None:
    """Every weight of a text encoder or VAE comes, bit for bit, from the names by which it is published."""
    import torch
    from safetensors.torch import save_file

    from engines.weights import components

    fixture, name, rename = _AS_PUBLISHED[what]
    folder = request.getfixturevalue(fixture)
    save_file(rename(_weights(folder, name)), tmp_path / "given.safetensors")
    bare = _copy(folder, tmp_path / "model", name)
    source = Source(tmp_path / "given.safetensors")
    components.demand_fitting(toy_flux, bare, Given(parts={name: source}))
    components.write(toy_flux, bare, name, "bf16", source)
    there = components.load(toy_flux, bare, name).state_dict()
    here = components.load(toy_flux, folder, name).state_dict()
    assert there.keys() == here.keys()
    assert all(torch.equal(there[key], tensor) for key, tensor in here.items())


def test_a_whole_checkpoint_holds_all_parts(flux_folder: Path, tmp_path: Path, toy_flux: ModelSpec) -> None:
    """Each part of a checkpoint is read by its prefix, whatever lies beside it, and takes what ComfyUI adds aside."""
    import torch
    from safetensors.torch import save_file

    from engines.weights import components

    prefixes = {
        "transformer": "model.diffusion_model.",
        "text_encoder": "text_encoders.clip_l.transformer.",
        "text_encoder_2": "text_encoders.t5xxl.transformer.",
        "vae": "vae.",
    }
    state = {"text_encoders.clip_l.transformer.text_projection.weight": torch.ones(2, 2)}
    for name, prefix in prefixes.items():
        own = _weights(flux_folder, name)
        state |= _prefixed(prefix)(_ldm(own, 3) if name == "vae" else own)
    save_file(state, tmp_path / "whole.safetensors")
    given = Given(parts={name: Source(tmp_path / "whole.safetensors", each) for name, each in prefixes.items()})
    components.demand_fitting(toy_flux, flux_folder, given)
    folder = Path(shutil.copytree(flux_folder, tmp_path / "model"))
    for name, source in given.parts.items():
        components.write(toy_flux, folder, name, "bf16", source)
        there = components.load(toy_flux, folder, name).state_dict()
        here = components.load(toy_flux, flux_folder, name).state_dict()
        assert all(torch.equal(there[key], tensor) for key, tensor in here.items())


def test_a_text_encoder_of_another_size_is_refused(flux2_folder: Path, tmp_path: Path, toy_flux: ModelSpec) -> None:
    """A layer too many has no place, one too few is named; a VAE without its statistics is not whole."""
    import torch
    from safetensors.torch import save_file

    from engines.weights import components

    words = _weights(flux2_folder, "text_encoder")
    more = {**words, "model.layers.99.self_attn.q_norm.weight": torch.ones(8)}
    fewer = {name: tensor for name, tensor in words.items() if ".layers.27." not in name}
    vae = {name: tensor for name, tensor in _weights(flux2_folder, "vae").items() if not name.startswith("bn.")}
    for name, state, told in (
        ("text_encoder", more, "has no model.layers.99"),
        ("text_encoder", fewer, r"the first is model\.layers\.27"),
        ("vae", vae, "lacks 2 weights"),
    ):
        save_file(state, tmp_path / "given.safetensors")
        with pytest.raises(BadInput, match=told):
            components.demand_fitting(
                toy_flux, flux2_folder, Given(parts={name: Source(tmp_path / "given.safetensors")})
            )


# ── 4 bits ──────────────────────────────────────────────────────────────────────────────────────


def _four_bits(state: Tensors, nested: bool, kind: str = "nf4", block: int = 64) -> dict[str, Any]:
    """Tensors as bitsandbytes saves them, the linear weights of blocks and the first layer in 4 bits."""
    import torch
    from bitsandbytes import functional

    found = {}
    for name, weight in state.items():
        if weight.ndim != 2 or not name.endswith("weight") or not ("blocks." in name or "img_in" in name):
            found[name] = weight
            continue
        codes, kept = functional.quantize_4bit(
            weight.to(torch.bfloat16), blocksize=block, compress_statistics=nested, quant_type=kind
        )
        found[name] = codes
        found |= {f"{name}.{ending}": tensor for ending, tensor in kept.as_dict(packed=True).items()}
    return found


def _editor(toy_qwen: ModelSpec) -> ModelSpec:
    """The editor's row in bfloat16, its transformer kept in 4 bits."""
    return replace(toy_qwen, dtype="bfloat16", options={**toy_qwen.options, "nf4": ("transformer",)})


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("file", [True, False])
def test_four_bits_are_kept_as_they_are(
    nested: bool, file: bool, qwen_folder: Path, tmp_path: Path, toy_qwen: ModelSpec
) -> None:
    """A folder by diffusers, or one file, in nf4 gives the very tensors that the full-width model gives in nf4."""
    import torch
    from safetensors.torch import save_file

    from engines.weights import components

    row = _editor(toy_qwen)
    components.write(row, own := _copy(qwen_folder, tmp_path / "own", ""), "transformer", "nf4", own / "transformer")
    folder = _copy(qwen_folder, tmp_path / "model", "transformer")
    place = tmp_path / "given.safetensors" if file else folder / "transformer" / "model.safetensors"
    save_file(_four_bits(_weights(qwen_folder, "transformer"), nested), place)
    source = Source(place if file else place.parent)
    components.demand_fitting(row, folder, Given(parts={"transformer": source}))
    components.write(row, folder, "transformer", "nf4", source)
    here, there = (_stored(each / "transformer.nf4") for each in (own, folder))
    assert here.keys() == there.keys()
    differing = {key for key, tensor in here.items() if not torch.equal(tensor, there[key])}
    assert {key for key in differing if "img_in" not in key} == set()  # kept at full width here, in 4 bits there


def _stored(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {key: tensor for file in sorted(folder.glob("*.safetensors")) for key, tensor in load_file(file).items()}


@pytest.mark.parametrize("nested", [True, False])
def test_fused_weights_are_split_without_loss(nested: bool) -> None:
    """Query, key and value in one 4-bit weight, as in a file of FLUX.1, are the codes that each has by itself."""
    import torch
    from bitsandbytes import functional

    from engines.weights.four_bits import FourBit

    torch.manual_seed(0)
    weights = [torch.randn(128, 128, dtype=torch.bfloat16) for _ in range(3)]
    codes, state = functional.quantize_4bit(torch.cat(weights), quant_type="nf4", compress_statistics=nested)
    fused = FourBit.of(codes, state.as_dict(packed=True))
    for part, weight in zip(fused.full().chunk(3), weights, strict=True):
        again, wanted = (functional.quantize_4bit(each.contiguous(), quant_type="nf4")[0] for each in (part, weight))
        assert torch.equal(again, wanted)


@pytest.mark.parametrize(("kind", "block"), [("nf4", 64), ("nf4", 128), ("fp4", 64)])
def test_four_bits_can_be_widened(
    kind: str, block: int, qwen_folder: Path, tmp_path: Path, toy_qwen: ModelSpec
) -> None:
    """At full width they come as near to the weights as 4 bits are; blocks of another size are rounded anew in nf4."""
    from safetensors.torch import save_file

    from engines.weights import components
    from engines.weights.four_bits import FourBit

    row = _editor(toy_qwen)
    folder = _copy(qwen_folder, tmp_path / "model", "transformer")
    file = tmp_path / "given.safetensors"
    save_file(_four_bits(_weights(qwen_folder, "transformer"), False, kind, block), file)
    components.write(row, folder, "transformer", "nf4", Source(file))
    components.write(row, folder, "transformer", "bf16", Source(file))
    name = "transformer_blocks.0.img_mlp.net.0.proj"
    wanted = _weights(qwen_folder, "transformer")[f"{name}.weight"].float()
    wide = components.load(components.in_form(row, "bf16"), folder, "transformer").get_submodule(name)
    packed = components.load(row, folder, "transformer").get_submodule(name).weight
    small = FourBit(packed.data, packed.quant_state).full()
    assert 0.02 < (wide.weight.float() - wanted).norm() / wanted.norm() < 0.2
    assert (small - wide.weight).norm() / wide.weight.norm() < 0.2


# ── the real files ──────────────────────────────────────────────────────────────────────────────


def _published(model: Any, state: Tensors) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a part as ComfyUI has its file; compared with ComfyUI's own code (docs/measured.md)."""
    from tests.engines.weights.test_originals import _bfl_shapes

    kind = type(model).__name__
    renamed: Mapping[str, Callable[[Tensors], Mapping[str, Any]]] = {
        "CLIPTextModel": _prefixed("text_model."),
        "Qwen2_5_VLForConditionalGeneration": lambda state: {
            name.replace("model.visual.", "visual.").replace("model.language_model.", "model."): tensor
            for name, tensor in state.items()
        },
        "Qwen3ForCausalLM": lambda state: {name: state[name] for name in state if name != "lm_head.weight"},
        "AutoencoderKL": lambda state: _ldm(state, 4),
        "AutoencoderKLFlux2": lambda state: _ldm(state, 4),
        "AutoencoderKLQwenImage": _wan,
    }
    if kind == "FluxTransformer2DModel":
        return _bfl_shapes(19, 38)
    return {name: tuple(tensor.shape) for name, tensor in renamed.get(kind, dict)(state).items()}


@pytest.mark.parametrize("row", ["FLUX.1-dev", "Qwen-Image-Edit-2511", "FLUX.2-klein-base-4B"])
def test_comfyuis_files_of_the_real_models_fit(row: str, tmp_path: Path) -> None:
    """At their true shapes, in 8 bits, every part is found in ComfyUI's folder, and each weight has its place."""
    from engines.catalogue.given import resolve
    from engines.catalogue.models import MODELS
    from engines.catalogue.shapes import PUBLISHED, write_layout
    from engines.weights import components
    from tests.engines.catalogue.test_given import write

    spec = next(each for each in MODELS if each.name == row)
    folder = write_layout(PUBLISHED[row], tmp_path / "model")
    for name in PUBLISHED[row]:
        model = components.bare(folder, name, folder / name)
        place = {"transformer": "diffusion_models", "vae": "vae"}.get(name, "text_encoders")
        file = tmp_path / "ComfyUI" / "models" / place / f"{name}.safetensors"
        write(file, _published(model, model.state_dict()), "F8_E4M3")  # no byte of it takes room
    given = resolve(spec, tmp_path / "ComfyUI")
    assert given.parts.keys() == PUBLISHED[row].keys()
    components.demand_fitting(spec, folder, given)
