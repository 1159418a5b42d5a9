"""Every format of LoRA files × every family: read as it was meant, or refused; at the real models' widths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engines.api.params import LoraUse

pytestmark = pytest.mark.slow

RANK = 2
State = dict[str, Any]
Part = tuple[int, int]  # which of how many equal parts of the makers' rows a layer of ours takes
WHOLE: Part = (0, 1)
SWAPPED: Part = (1, -2)  # the halves, scale and shift, change places


@dataclass(frozen=True)
class Layer:
    """One layer of ours: its makers' name, and which rows of that are ours, in units of `unit`."""

    ours: str
    theirs: str
    first: int = 0
    last: int = 0  # rows [first, last) of theirs; 0: all
    swapped: bool = False


def _fused(ours: str, theirs: str, names: tuple[str, ...], widths: tuple[int, ...]) -> Iterator[Layer]:
    first = 0
    for name, width in zip(names, widths, strict=True):
        yield Layer(f"{ours}.{name}", theirs, first, first + width)
        first += width


_D = 3072
_ATTENTION = (
    *_fused("transformer_blocks.0.attn", "double_blocks.0.img_attn.qkv", ("to_q", "to_k", "to_v"), (_D,) * 3),
    *_fused(
        "transformer_blocks.0.attn",
        "double_blocks.0.txt_attn.qkv",
        ("add_q_proj", "add_k_proj", "add_v_proj"),
        (_D,) * 3,
    ),
    Layer("transformer_blocks.0.attn.to_out.0", "double_blocks.0.img_attn.proj"),
    Layer("transformer_blocks.0.attn.to_add_out", "double_blocks.0.txt_attn.proj"),
)
_FLUX = (
    *_ATTENTION,
    Layer("transformer_blocks.0.ff.net.0.proj", "double_blocks.0.img_mlp.0"),
    Layer("transformer_blocks.0.ff.net.2", "double_blocks.0.img_mlp.2"),
    Layer("transformer_blocks.0.ff_context.net.0.proj", "double_blocks.0.txt_mlp.0"),
    Layer("transformer_blocks.0.ff_context.net.2", "double_blocks.0.txt_mlp.2"),
    Layer("transformer_blocks.0.norm1.linear", "double_blocks.0.img_mod.lin"),
    Layer("transformer_blocks.0.norm1_context.linear", "double_blocks.0.txt_mod.lin"),
    *_fused(
        "single_transformer_blocks.0",
        "single_blocks.0.linear1",
        ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
        (_D, _D, _D, 4 * _D),
    ),
    Layer("single_transformer_blocks.0.proj_out", "single_blocks.0.linear2"),
    Layer("single_transformer_blocks.0.norm.linear", "single_blocks.0.modulation.lin"),
    Layer("x_embedder", "img_in"),
    Layer("context_embedder", "txt_in"),
    Layer("time_text_embed.timestep_embedder.linear_1", "time_in.in_layer"),
    Layer("time_text_embed.timestep_embedder.linear_2", "time_in.out_layer"),
    Layer("time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer"),
    Layer("time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer"),
    Layer("time_text_embed.text_embedder.linear_1", "vector_in.in_layer"),
    Layer("time_text_embed.text_embedder.linear_2", "vector_in.out_layer"),
    Layer("proj_out", "final_layer.linear"),
    Layer("norm_out.linear", "final_layer.adaLN_modulation.1", swapped=True),
)
_FLUX2 = (
    *_ATTENTION,
    Layer("transformer_blocks.0.ff.linear_in", "double_blocks.0.img_mlp.0"),
    Layer("transformer_blocks.0.ff.linear_out", "double_blocks.0.img_mlp.2"),
    Layer("transformer_blocks.0.ff_context.linear_in", "double_blocks.0.txt_mlp.0"),
    Layer("transformer_blocks.0.ff_context.linear_out", "double_blocks.0.txt_mlp.2"),
    Layer("single_transformer_blocks.0.attn.to_qkv_mlp_proj", "single_blocks.0.linear1"),
    Layer("single_transformer_blocks.0.attn.to_out", "single_blocks.0.linear2"),
    Layer("x_embedder", "img_in"),
    Layer("context_embedder", "txt_in"),
    Layer("time_guidance_embed.timestep_embedder.linear_1", "time_in.in_layer"),
    Layer("time_guidance_embed.timestep_embedder.linear_2", "time_in.out_layer"),
    Layer("double_stream_modulation_img.linear", "double_stream_modulation_img.lin"),
    Layer("double_stream_modulation_txt.linear", "double_stream_modulation_txt.lin"),
    Layer("single_stream_modulation.linear", "single_stream_modulation.lin"),
    Layer("proj_out", "final_layer.linear"),
    Layer("norm_out.linear", "final_layer.adaLN_modulation.1", swapped=True),
)
_QWEN_BLOCK = (
    *(f"attn.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0", "to_add_out")),
    *(f"attn.add_{name}_proj" for name in "qkv"),
    *(f"{side}_mlp.net.{layer}" for side in ("img", "txt") for layer in ("0.proj", "2")),
    *("img_mod.1", "txt_mod.1"),
)
_QWEN = tuple(
    Layer(name, name)
    for name in (
        *(f"transformer_blocks.0.{name}" for name in _QWEN_BLOCK),
        *("img_in", "txt_in", "proj_out", "norm_out.linear"),
        *(f"time_text_embed.timestep_embedder.linear_{number}" for number in (1, 2)),
    )
)
LAYERS = {"flux": _FLUX, "flux2": _FLUX2, "qwen-edit": _QWEN}


@pytest.fixture(scope="module")
def skeletons() -> Mapping[str, Any]:
    """One block of each kind of the real transformers, without weights."""
    import torch
    from diffusers import Flux2Transformer2DModel, FluxTransformer2DModel, QwenImageTransformer2DModel

    with torch.device("meta"):
        return {
            "flux": FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True),
            "qwen-edit": QwenImageTransformer2DModel(num_layers=1),
            "flux2": Flux2Transformer2DModel(
                num_layers=1,
                num_single_layers=1,
                num_attention_heads=24,
                joint_attention_dim=7680,
                guidance_embeds=False,
            ),
        }


@dataclass(frozen=True)
class Format:
    """How a tool names what it writes. `theirs`: by the makers' modules; `flat`: with underscores for dots."""

    prefix: str
    down: str = "lora_A.weight"
    up: str = "lora_B.weight"
    alpha: float | None = None
    theirs: bool = False
    flat: bool = False
    width: str = "float32"
    only: tuple[str, ...] = ("flux", "flux2", "qwen-edit")
    loaded: tuple[str, ...] = field(default=())  # families for which diffusers' own loader reads it right

    def stem(self, module: str) -> str:
        return self.prefix + (module.replace(".", "_") if self.flat else module)


_DOWN_UP = ("lora_down.weight", "lora_up.weight")
_MAKERS = ("flux", "flux2")
FORMATS = {
    "kohya": Format("lora_unet_", *_DOWN_UP, alpha=1.0, theirs=True, flat=True),
    "kohya, alpha above the rank": Format("lora_unet_", *_DOWN_UP, alpha=16.0, theirs=True, flat=True),
    "kohya without alpha": Format("lora_unet_", *_DOWN_UP, theirs=True, flat=True),
    "kohya in float16": Format("lora_unet_", *_DOWN_UP, alpha=1.0, theirs=True, flat=True, width="float16"),
    "kohya in 8 bits": Format("lora_unet_", *_DOWN_UP, alpha=1.0, theirs=True, flat=True, width="float8_e4m3fn"),
    "kohya's prefix, diffusers' layers": Format("lora_unet_", *_DOWN_UP, alpha=1.0, flat=True),
    "diffusers, ai-toolkit": Format("transformer.", loaded=("flux", "flux2", "qwen-edit")),
    "diffusers in bfloat16": Format("transformer.", width="bfloat16", loaded=("flux", "flux2", "qwen-edit")),
    "diffusers in 8 bits": Format("transformer.", width="float8_e4m3fn"),
    "diffusers, an adapter's name": Format("transformer.", "lora_A.default.weight", "lora_B.default.weight"),
    "diffusers of old": Format("transformer.", "lora.down.weight", "lora.up.weight"),
    "bare": Format(""),
    "bare down and up, lightx2v": Format("", *_DOWN_UP, alpha=1.0),
    "bare down and up without alpha": Format("", *_DOWN_UP),
    "peft": Format("base_model.model."),
    "ComfyUI's prefix, lora_A": Format("diffusion_model.", theirs=True),
    "ComfyUI's prefix, lora_A and alpha": Format("diffusion_model.", alpha=1.0, theirs=True),
    "ComfyUI's prefix, down and up": Format("diffusion_model.", *_DOWN_UP, theirs=True),
    "ComfyUI's prefix, down, up and alpha": Format("diffusion_model.", *_DOWN_UP, alpha=1.0, theirs=True),
    "ComfyUI's prefix in 8 bits": Format("diffusion_model.", theirs=True, width="float8_e5m2"),
    "ComfyUI's prefix, diffusers' layers": Format("diffusion_model.", alpha=1.0),
    "a checkpoint's prefix": Format("model.diffusion_model.", theirs=True),
    "the makers' bare": Format("", theirs=True, only=_MAKERS),
    "the makers' bare down and up": Format("", *_DOWN_UP, theirs=True, only=_MAKERS),
    "fal's": Format("base_model.model.", theirs=True, only=_MAKERS),
    "OneTrainer": Format("lora_transformer_", *_DOWN_UP, alpha=1.0, flat=True),
    "LyCORIS": Format("lycoris_", *_DOWN_UP, alpha=1.0, flat=True),
}
TABLE = [(name, family) for name, form in FORMATS.items() for family in form.only]


def _factors(layer: Layer, skeleton: Any, width: str) -> tuple[Any, Any]:
    """The factors of a file's module; one for all of our layers that it fuses."""
    import torch

    fused = [each for each in _all(skeleton) if each.theirs == layer.theirs]
    linear = skeleton.get_submodule(layer.ours)
    out = sum(skeleton.get_submodule(each.ours).out_features for each in fused)
    numbers = torch.Generator().manual_seed(sum(map(ord, layer.theirs)))
    down = torch.randn(RANK, linear.in_features, generator=numbers)
    up = torch.randn(out, RANK, generator=numbers)
    return down.to(getattr(torch, width)), up.to(getattr(torch, width))


def _all(skeleton: Any) -> tuple[Layer, ...]:
    kind = type(skeleton).__name__
    return LAYERS["flux" if kind.startswith("FluxT") else "flux2" if kind.startswith("Flux2") else "qwen-edit"]


def _expected(layer: Layer, up: Any, down: Any, inputs: Any) -> Any:
    """What the file's module adds to our layer."""
    import torch

    added = up.float() @ (down.float() @ inputs)
    if layer.swapped:
        return torch.cat(added.chunk(2)[::-1])
    return added[layer.first : layer.last or None]


def _state(form: Format, skeleton: Any) -> State:
    """A file of every layer."""
    import torch

    state: State = {}
    for layer in _all(skeleton):
        if not form.theirs:
            fused = [each for each in _all(skeleton) if each.theirs == layer.theirs]
            down, up = _factors(layer, skeleton, form.width)
            module, up = layer.ours, up[layer.first : layer.last or None]
            if layer.swapped:
                up = torch.cat(up.chunk(2)[::-1])
            assert fused
        else:
            module, (down, up) = layer.theirs, _factors(layer, skeleton, form.width)
        state |= {f"{form.stem(module)}.{form.down}": down.clone(), f"{form.stem(module)}.{form.up}": up.contiguous()}
        if form.alpha is not None:
            state[f"{form.stem(module)}.alpha"] = torch.tensor(form.alpha).to(down.dtype)
    return state


@pytest.mark.parametrize(("name", "family"), TABLE)
def test_every_format_adds_what_it_was_trained_to(name: str, family: str, skeletons: Any, tmp_path: Path) -> None:
    """Every layer of the model, by the names of every tool, gets alpha / rank · B·A; no tensor of the file is left."""
    import torch
    from safetensors.torch import save_file

    from engines.drawing.lora_files import _fitting, read_adapter

    form, skeleton = FORMATS[name], skeletons[family]
    file = tmp_path / "一张照片.safetensors"
    save_file(_state(form, skeleton), file)
    state, note = _fitting(skeleton, LoraUse(file=str(file)), family, read_adapter)
    assert not note
    assert state.keys() == {f"{layer.ours}.lora_{side}.weight" for layer in _all(skeleton) for side in "AB"}
    scale = 1.0 if form.alpha is None else form.alpha / RANK
    for layer in _all(skeleton):
        down, up = _factors(layer, skeleton, form.width)
        inputs = torch.randn(down.shape[1], generator=torch.Generator().manual_seed(4))
        found = state[f"{layer.ours}.lora_B.weight"].float() @ (state[f"{layer.ours}.lora_A.weight"].float() @ inputs)
        torch.testing.assert_close(found, scale * _expected(layer, up, down, inputs), rtol=2e-2, atol=scale)
