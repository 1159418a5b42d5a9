"""Every format of LoRA files × every family: read as it was meant, or refused; at the real models' widths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import LoraMismatch
from engines.api.params import LoraUse

pytestmark = pytest.mark.slow

RANK = 2
State = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """One layer of ours: its makers' name, and which rows of that are ours."""

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
    "diffusers, ai-toolkit": Format("transformer."),
    "diffusers in bfloat16": Format("transformer.", width="bfloat16"),
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

# Where diffusers' own loader finds the layers of the blocks; elsewhere it raises, or loads nothing.
LOADED = (
    *((name, "qwen-edit") for name in FORMATS if name.startswith("ComfyUI") and "8 bits" not in name),
    *((name, family) for name in ("kohya", "kohya without alpha", "kohya in float16") for family in LAYERS),
    *((name, family) for name in ("diffusers, ai-toolkit", "diffusers in bfloat16") for family in LAYERS),
    *((name, "flux") for name in ("ComfyUI's prefix, down and up", "ComfyUI's prefix, down, up and alpha")),
    *((name, "flux2") for name in ("ComfyUI's prefix, lora_A", "fal's")),
    ("bare down and up, lightx2v", "qwen-edit"),
)


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


def _ours(layer: Layer, rows: Any) -> Any:
    """Those rows of a file's module that our layer takes."""
    import torch

    return torch.cat(rows.chunk(2)[::-1]) if layer.swapped else rows[layer.first : layer.last or None]


def _state(form: Format, skeleton: Any) -> State:
    """A file of every layer."""
    import torch

    state: State = {}
    for layer in _all(skeleton):
        if not form.theirs:
            down, up = _factors(layer, skeleton, form.width)
            module, up = layer.ours, _ours(layer, up)
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

    from engines.drawing.lora_files import fitting, read_adapter

    form, skeleton = FORMATS[name], skeletons[family]
    file = tmp_path / "一张照片.safetensors"
    save_file(_state(form, skeleton), file)
    state, note = fitting(skeleton, LoraUse(file=str(file)), family, read_adapter)
    assert not note
    assert state.keys() == {f"{layer.ours}.lora_{side}.weight" for layer in _all(skeleton) for side in "AB"}
    scale = 1.0 if form.alpha is None else form.alpha / RANK
    for layer in _all(skeleton):
        down, up = _factors(layer, skeleton, form.width)
        inputs = torch.randn(down.shape[1], generator=torch.Generator().manual_seed(4))
        found = state[f"{layer.ours}.lora_B.weight"].float() @ (state[f"{layer.ours}.lora_A.weight"].float() @ inputs)
        expected = scale * _ours(layer, up.float() @ (down.float() @ inputs))
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=scale)


@pytest.mark.parametrize(("name", "family"), LOADED)
def test_what_diffusers_own_loader_finds_it_finds_as_we_do(
    name: str, family: str, skeletons: Any, tmp_path: Path
) -> None:
    """The same file has the same effect there, layer by layer; some around the blocks it drops.

    Of klein's last modulation it forgets to exchange scale and shift, as it does in the weights.
    """
    import torch
    from diffusers.loaders import Flux2LoraLoaderMixin, FluxLoraLoaderMixin, QwenImageLoraLoaderMixin
    from safetensors.torch import save_file

    from engines.drawing.lora_files import read_adapter

    reader = {"flux": FluxLoraLoaderMixin, "flux2": Flux2LoraLoaderMixin, "qwen-edit": QwenImageLoraLoaderMixin}[family]
    save_file(_state(FORMATS[name], skeletons[family]), tmp_path / "lora.safetensors")
    ours, _ = read_adapter(tmp_path / "lora.safetensors", family)
    theirs = reader.lora_state_dict(tmp_path / "lora.safetensors")
    downs = [key for key in ours if ".lora_A." in key and f"transformer.{key}" in theirs]
    assert {layer.ours for layer in _all(skeletons[family]) if ".attn." in layer.ours} <= {
        key.removesuffix(".lora_A.weight") for key in downs
    }
    for down in downs:
        up = down.replace("lora_A", "lora_B")
        inputs = torch.randn(ours[down].shape[1], generator=torch.Generator().manual_seed(4))
        found, expected = (
            state[f"{prefix}{up}"].float() @ (state[f"{prefix}{down}"].float() @ inputs)
            for prefix, state in (("", ours), ("transformer.", theirs))
        )
        if (family, down) == ("flux2", "norm_out.linear.lora_A.weight") and FORMATS[name].theirs:
            expected = torch.cat(expected.chunk(2)[::-1])
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=1)


# ── LoKr, LoHa, whole weights ───────────────────────────────────────────────────────────────────

_KINDS: Mapping[str, tuple[str, ...]] = {  # of each kind of LyCORIS, the factors that a file holds
    "LoKr": ("lokr_w1", "lokr_w2"),
    "LoKr of a low rank": ("lokr_w1", "lokr_w2_a", "lokr_w2_b"),
    "LoKr of two low ranks": ("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"),
    "LoHa": ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
    "whole weights": ("diff",),
}
_NAMINGS = {
    "kohya, musubi": FORMATS["kohya"],
    "ai-toolkit": FORMATS["ComfyUI's prefix, lora_A"],
    "LyCORIS": FORMATS["LyCORIS"],
    "peft": FORMATS["diffusers, ai-toolkit"],
}
_SOME = {  # few layers, since the products are formed whole to compare with: fused, plain, swapped
    "flux": ("attn.add_k_proj", "attn.to_out.0", "norm_out.linear"),
    "flux2": ("attn.add_k_proj", "attn.to_out.0", "norm_out.linear"),
    "qwen-edit": ("attn.add_k_proj", "norm_out.linear"),
}
_FACTOR = 12  # the rows of w1: of three fused layers each has four


def _product(kind: str, out: int, into: int, width: str) -> tuple[State, Any]:
    """Random factors of one layer, and the update that they make."""
    import torch

    numbers = torch.Generator().manual_seed(out + into)
    shapes = {
        **{"lokr_w1": (_FACTOR, 8), "lokr_w1_a": (_FACTOR, RANK), "lokr_w1_b": (RANK, 8)},
        **{"lokr_w2": (out // _FACTOR, into // 8), "lokr_w2_a": (out // _FACTOR, RANK)},
        **{"lokr_w2_b": (RANK, into // 8), "diff": (out, into)},
        **{f"hada_w{n}_a": (out, RANK) for n in (1, 2)},
        **{f"hada_w{n}_b": (RANK, into) for n in (1, 2)},
    }
    own = {name: torch.randn(shapes[name], generator=numbers).to(getattr(torch, width)) for name in _KINDS[kind]}

    def matrix(name: str) -> Any:
        return own[name].float() if name in own else own[f"{name}_a"].float() @ own[f"{name}_b"].float()

    if kind == "whole weights":
        return own, own["diff"].float()
    made = matrix("hada_w1") * matrix("hada_w2") if kind == "LoHa" else torch.kron(matrix("lokr_w1"), matrix("lokr_w2"))
    return own, made


@pytest.mark.parametrize(
    ("kind", "naming", "family"),
    [
        *((kind, "kohya, musubi", "flux") for kind in _KINDS),
        *(("LoKr of a low rank", naming, family) for naming in _NAMINGS for family in _SOME),
        ("LoHa", "peft", "qwen-edit"),
    ],
)
def test_every_product_adds_its_own(kind: str, naming: str, family: str, skeletons: Any, tmp_path: Path) -> None:
    """LoKr and LoHa add alpha / rank · their product; without a low rank an alpha means nothing; fused layers share."""
    import torch
    from safetensors.torch import save_file

    from engines.drawing.lora_files import fitting, read_adapter
    from engines.drawing.lycoris import Hadamard, Kronecker

    form, skeleton, state = _NAMINGS[naming], skeletons[family], State()
    alpha, updates = (4.0 if form.alpha else None), {}
    for layer in [each for each in _all(skeleton) if each.ours.endswith(_SOME[family])]:
        linear = skeleton.get_submodule(layer.ours)
        out = linear.out_features * (3 if layer.last and form.theirs else 1)
        own, update = _product(kind, out, linear.in_features, "float32")
        stem = form.stem(layer.theirs if form.theirs else layer.ours)
        state |= {f"{stem}.{name}": value for name, value in own.items()}
        state |= {} if alpha is None else {f"{stem}.alpha": torch.tensor(alpha)}
        updates[layer.ours] = _ours(layer, update) if form.theirs else update
    file = tmp_path / "lycoris.safetensors"
    save_file(state, file)
    read, _ = fitting(skeleton, LoraUse(file=str(file), for_this_model=True), family, read_adapter)
    scale = alpha / RANK if alpha and kind not in ("LoKr", "whole weights") else 1.0
    found = {key.partition(".lora_")[0] for key in read if ".lora_" in key}
    assert updates.keys() <= found
    for module, update in updates.items():
        factors = {key.rpartition(".")[2]: value for key, value in read.items() if key.rpartition(".")[0] == module}
        inputs = torch.randn(2, update.shape[1], generator=torch.Generator().manual_seed(4))
        layer = Hadamard(factors) if kind == "LoHa" else Kronecker(factors)
        torch.testing.assert_close(layer(inputs), scale * inputs @ update.T, rtol=1e-3, atol=1e-2)


# ── in doubt ────────────────────────────────────────────────────────────────────────────────────


_DOUBTS = {  # whose attention alone, by whose names, on which family -> the families that have it as well
    "makers' names on FLUX.1": (True, "flux", "flux2"),
    "makers' names on klein": (True, "flux2", "flux"),
    "diffusers' names on FLUX.1": (False, "flux", "flux2 and the qwen-edit"),
    "diffusers' names on klein": (False, "flux2", "flux and the qwen-edit"),
    "diffusers' names on Qwen": (False, "qwen-edit", "flux and the flux2"),
}


@pytest.mark.parametrize("what", _DOUBTS)
def test_what_fits_several_families_is_asked_about(what: str, skeletons: Any, tmp_path: Path) -> None:
    """The attention alone, in a file that says nothing of itself, is refused until somebody says that it is right."""
    from safetensors.torch import save_file

    from engines.drawing.lora_files import check

    theirs, family, others = _DOUBTS[what]
    form = FORMATS["ComfyUI's prefix, lora_A" if theirs else "diffusers, ai-toolkit"]
    whole = _state(form, skeletons["flux"])
    state = {key: value for key, value in whole.items() if "_attn" in key or ".transformer_blocks.0.attn" in key}
    told, silent = tmp_path / "told.safetensors", tmp_path / "silent.safetensors"
    save_file(state, silent)
    with pytest.raises(LoraMismatch, match=r"does not say which model it is for") as asked:
        check(skeletons[family], [LoraUse(file=str(silent))], family)
    assert f"that the {others} family have" in asked.value.cause and "for_this_model" in asked.value.hint
    assert check(skeletons[family], [LoraUse(file=str(silent), for_this_model=True)], family) == []
    save_file(state, told, {"family": family})
    assert check(skeletons[family], [LoraUse(file=str(told))], family) == []


def test_blocks_and_widths_tell_families_apart() -> None:
    """Only Qwen has more than 19 such blocks, FLUX.1 more than five; it never has its makers' names."""
    from engines.catalogue.registry import families_alike

    assert families_alike(3072, 20, False) == ["qwen-edit"]
    assert families_alike(3072, 6, True) == ["flux"]
    assert families_alike(1536, 1, False) == []


def test_xlabs_names_are_in_no_doubt(skeletons: Any, tmp_path: Path) -> None:
    """Their names are those of FLUX.1 alone; q, k and v are split."""
    import torch
    from safetensors.torch import save_file

    from engines.drawing.lora_files import fitting, read_adapter

    state = {}
    for name, out in {"qkv_lora1": 3 * _D, "qkv_lora2": 3 * _D, "proj_lora1": _D, "proj_lora2": _D}.items():
        stem = f"double_blocks.0.processor.{name}"
        state |= {f"{stem}.down.weight": torch.randn(RANK, _D), f"{stem}.up.weight": torch.randn(out, RANK)}
    save_file(state, tmp_path / "xlabs.safetensors")
    read, _ = fitting(skeletons["flux"], LoraUse(file=str(tmp_path / "xlabs.safetensors")), "flux", read_adapter)
    assert len(read) == 2 * 8
    torch.testing.assert_close(
        read["transformer_blocks.0.attn.add_k_proj.lora_B.weight"],
        state["double_blocks.0.processor.qkv_lora2.up.weight"][_D : 2 * _D],
    )


@pytest.mark.parametrize("told", ["chroma", "stable-diffusion-xl-v1-base/lora", "wan2.1/lora"])
def test_an_unknown_architecture_is_asked_about(told: str, skeletons: Any, tmp_path: Path) -> None:
    """What fits though it is declared for a model that is not here is used only by somebody who says so."""
    from safetensors.torch import save_file

    from engines.drawing.lora_files import check

    file = tmp_path / "foreign.safetensors"
    save_file(_state(FORMATS["diffusers, ai-toolkit"], skeletons["flux"]), file, {"modelspec.architecture": told})
    with pytest.raises(LoraMismatch, match=f"declares that it is a LoRA for {told}") as asked:
        check(skeletons["flux"], [LoraUse(file=str(file))], "flux")
    assert "for_this_model" in asked.value.hint
    assert check(skeletons["flux"], [LoraUse(file=str(file), for_this_model=True)], "flux") == []
