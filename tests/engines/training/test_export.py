"""Tests that other tools read from an exported adapter what was learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput, LoraMismatch
from tests.engines.training.untrained import ALPHA, RANK, flux_state, info_of, qwen_state

pytestmark = pytest.mark.slow

_HIDDEN = 3072  # diffusers' converter knows FLUX.1 by its width


def _flux_state(h: int = _HIDDEN) -> dict[str, Any]:
    """Returns a LoRA of all targets of one double and one single block, by default of FLUX.1's real width."""
    double, single = "transformer_blocks.2.", "single_transformer_blocks.5."
    attention = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    modules = {f"{double}attn.{name}": (h, h) for name in attention}
    for stream in ("ff", "ff_context"):
        modules |= {f"{double}{stream}.net.0.proj": (h, 4 * h), f"{double}{stream}.net.2": (4 * h, h)}
    modules |= {f"{single}attn.{name}": (h, h) for name in ("to_q", "to_k", "to_v")}
    return flux_state(modules | {f"{single}proj_mlp": (h, 4 * h), f"{single}proj_out": (5 * h, h)})


def _same_effect(ours: dict[str, Any], theirs: dict[str, Any], scale: float) -> bool:
    """Returns whether every module adds the same to its output; `scale` is alpha / rank of ours."""
    import torch

    modules = {name.partition(".lora_")[0] for name in ours}
    if {name.partition(".lora_")[0] for name in theirs} != modules:
        return False
    for module in modules:
        down, up = ours[f"{module}.lora_A.weight"], ours[f"{module}.lora_B.weight"]
        probe = torch.linspace(-1, 1, down.shape[1])
        found = theirs[f"{module}.lora_B.weight"] @ (theirs[f"{module}.lora_A.weight"] @ probe)
        if not torch.allclose(scale * (up @ (down @ probe)), found, rtol=1e-4, atol=1e-3):
            return False
    return True


@pytest.mark.parametrize("form", ["kohya", "comfyui"])
@pytest.mark.parametrize("family", ["flux", "qwen-edit"])
def test_other_forms_come_back_the_same(family: str, form: str, tmp_path: Path) -> None:
    """Read by diffusers' own converters, every module returns with its alpha, and none is left over."""
    from safetensors import safe_open

    from engines.drawing.lora_files import read_adapter
    from engines.training.export import export, write_adapter

    state = _flux_state() if family == "flux" else qwen_state()
    write_adapter(tmp_path / "ours.safetensors", state, info_of(family))
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)

    found, metadata = read_adapter(tmp_path / "theirs.safetensors")
    assert _same_effect(state, found, ALPHA / RANK)
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("2", "3.0" if form == "kohya" else "2.0")
    assert metadata["modelspec.trigger_phrase"] == "ohwx"
    with safe_open(tmp_path / "theirs.safetensors", "pt") as file:
        names = list(file.keys())
    assert all(name.startswith("lora_unet_" if form == "kohya" else "diffusion_model.") for name in names)


@pytest.mark.parametrize("form", ["diffusers", "kohya", "comfyui"])
@pytest.mark.parametrize("family", ["flux", "qwen-edit", "flux2"])
def test_every_reader_finds_the_strength(family: str, form: str, tmp_path: Path) -> None:
    """A reader that applies the alphas beside the tensors, and ignores the metadata, has the effect that was learned;
    in the forms diffusers and comfyui so has a reader that ignores alphas.
    """
    from safetensors.torch import load_file

    from engines.training.export import export, write_adapter

    module, theirs = {
        "flux": ("transformer_blocks.2.ff.net.2", "double_blocks.2.img_mlp.2"),
        "flux2": ("transformer_blocks.2.ff.linear_out", "double_blocks.2.img_mlp.2"),
        "qwen-edit": ("transformer_blocks.2.attn.to_q", "transformer_blocks.2.attn.to_q"),
    }[family]
    names = {
        "diffusers": (f"transformer.{module}", ".lora_A.weight", ".lora_B.weight"),
        "kohya": (f"lora_unet_{theirs.replace('.', '_')}", ".lora_down.weight", ".lora_up.weight"),
        "comfyui": (f"diffusion_model.{theirs}", ".lora_A.weight", ".lora_B.weight"),
    }
    state = flux_state({module: (64, 64)})
    write_adapter(tmp_path / "ours.safetensors", state, info_of(family))
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)

    tensors, (name, a, b) = load_file(tmp_path / "theirs.safetensors"), names[form]
    learned = ALPHA / RANK * state[f"{module}.lora_B.weight"] @ state[f"{module}.lora_A.weight"]
    down, up = tensors[name + a], tensors[name + b]
    scale = float(tensors.get(f"{name}.alpha", RANK)) / RANK
    assert (scale * up @ down).allclose(learned, rtol=1e-4, atol=1e-5)
    assert scale == 1 or form == "kohya"
    assert len(tensors) == (2 if form == "diffusers" or (family, form) == ("flux2", "comfyui") else 3)


@pytest.mark.parametrize("form", ["diffusers", "comfyui"])
def test_what_goes_out_says_that_alpha_is_the_rank(form: str, tmp_path: Path) -> None:
    """The metadata gives the rank as alpha, and drawn with here the file has the same effect."""
    import json

    from engines.drawing.lora_files import read_adapter
    from engines.training.export import export, write_adapter

    write_adapter(tmp_path / "ours.safetensors", qwen_state(), info_of("qwen-edit"))
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)
    found, told = read_adapter(tmp_path / "theirs.safetensors")
    assert (told["alpha"], told["ss_network_alpha"]) == ("2.0", "2.0")
    assert json.loads(told.get("lora_adapter_metadata", '{"transformer.lora_alpha": 2}'))["transformer.lora_alpha"] == 2
    assert _same_effect(qwen_state(), found, ALPHA / RANK)


def test_diffusers_form_keeps_every_bit(tmp_path: Path) -> None:
    """Where alpha is the rank, the form diffusers returns the same tensors to the bit."""
    import torch

    from engines.drawing.lora_files import read_adapter
    from engines.training.export import export, write_adapter

    state = qwen_state()
    write_adapter(tmp_path / "a.safetensors", state, replace(info_of("qwen-edit"), alpha=float(RANK)))
    export(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "diffusers")

    found, _ = read_adapter(tmp_path / "b.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_untrained_parts_of_a_fused_module_add_nothing() -> None:
    """A LoRA of k alone becomes one of the fused module that leaves its other outputs unchanged."""
    import torch

    from engines.training.export import converted

    ours, theirs = "single_transformer_blocks.0.attn.to_k", "lora_unet_single_blocks_0_linear1"
    state = flux_state({ours: (8, 8)})
    out = converted(state, info_of("flux"), "kohya")

    down, up = out[f"{theirs}.lora_down.weight"], out[f"{theirs}.lora_up.weight"]
    expected = state[f"{ours}.lora_B.weight"] @ state[f"{ours}.lora_A.weight"]
    whole = up @ down
    assert whole.shape == (7 * 8, 8)
    assert torch.allclose(whole[8:16], expected) and not whole[:8].any() and not whole[16:].any()
    assert out[f"{theirs}.alpha"].item() / down.shape[0] == ALPHA / RANK


def test_what_has_no_name_there_is_refused(tmp_path: Path) -> None:
    """A module without a name in the other tool is an error, and so is an unknown form."""
    from engines.training.export import converted, export, write_adapter

    with pytest.raises(LoraMismatch, match="x_embedder"):
        converted(flux_state({"x_embedder": (8, 8)}), info_of("flux"), "kohya")
    write_adapter(tmp_path / "a.safetensors", qwen_state(), info_of("qwen-edit"))
    with pytest.raises(BadInput, match="comfyui"):
        export(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "a1111")


_STATES = {
    "flux": ("flux", _flux_state),
    "flux, small": ("flux", lambda: _flux_state(64)),
    "qwen-edit": ("qwen-edit", qwen_state),
}


def _rename(tensors: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {key.replace(old, new): value for key, value in tensors.items()}


def _swap(tensors: dict[str, Any], one: str, other: str) -> dict[str, Any]:
    return _rename(_rename(_rename(tensors, one, "?"), other, one), "?", other)


def _double_alpha(tensors: dict[str, Any]) -> dict[str, Any]:
    first = next(key for key in tensors if key.endswith(".alpha"))
    return {**tensors, first: 2 * tensors[first]}


def _drop_a_module(tensors: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(tensors)).partition(".lora_")[0]
    return {key: value for key, value in tensors.items() if not key.startswith(first)}


def _exchange_the_streams(tensors: dict[str, Any]) -> dict[str, Any]:
    return _swap(tensors, "img_mlp", "txt_mlp")


def _misname(tensors: dict[str, Any]) -> dict[str, Any]:
    return _rename(tensors, "img_mlp", "img_nlp")


_CORRUPTIONS = (_exchange_the_streams, _misname, _double_alpha, _drop_a_module)


@pytest.mark.parametrize("corrupt", _CORRUPTIONS)
@pytest.mark.parametrize("form", ["kohya", "comfyui"])
@pytest.mark.parametrize("of", _STATES)
def test_a_file_with_wrong_names_is_not_left(of: str, form: str, corrupt: Any, tmp_path: Path) -> None:
    """A file that reads back as another change to any layer is refused by its name, and deleted."""
    from engines.training.export import converted, write_converted

    family, make = _STATES[of]
    state, info = make(), info_of(family)
    good = converted(state, info, form)
    write_converted(tmp_path / "good.safetensors", good, state, info, form)

    with pytest.raises(LoraMismatch, match=r"bad\.safetensors"):
        write_converted(tmp_path / "bad.safetensors", corrupt(good), state, info, form)
    assert [file.name for file in tmp_path.iterdir()] == ["good.safetensors"]


def test_an_error_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    """An earlier export stays where a new one fails."""
    from engines.training.export import converted, write_converted

    state, info, path = qwen_state(), info_of("qwen-edit"), tmp_path / "a.safetensors"
    good = converted(state, info, "kohya")
    write_converted(path, good, state, info, "kohya")
    before = path.read_bytes()

    with pytest.raises(LoraMismatch):
        write_converted(path, _misname(good), state, info, "kohya")
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", ["diffusers", "kohya", "comfyui"])
def test_an_untrained_lora_goes_out_in_every_form(form: str, tmp_path: Path) -> None:
    """A LoRA whose up matrices are zero is exported without an error."""
    import torch

    from engines.training.export import export, write_adapter

    state = {name: torch.zeros_like(v) if "lora_B" in name else v for name, v in _flux_state().items()}
    write_adapter(tmp_path / "ours.safetensors", state, info_of("flux"))
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)

    assert (tmp_path / "theirs.safetensors").is_file()


_KEYS = {
    ("flux", "diffusers"): {
        "transformer.single_transformer_blocks.5.proj_out.lora_A.weight",
        "transformer.single_transformer_blocks.5.proj_out.lora_B.weight",
    },
    ("flux", "kohya"): {
        "lora_unet_single_blocks_5_linear2.lora_down.weight",
        "lora_unet_single_blocks_5_linear2.lora_up.weight",
        "lora_unet_single_blocks_5_linear2.alpha",
    },
    ("flux", "comfyui"): {
        "diffusion_model.single_blocks.5.linear2.lora_A.weight",
        "diffusion_model.single_blocks.5.linear2.lora_B.weight",
        "diffusion_model.single_blocks.5.linear2.alpha",
    },
    ("qwen-edit", "diffusers"): {
        "transformer.transformer_blocks.3.attn.to_out.0.lora_A.weight",
        "transformer.transformer_blocks.3.attn.to_out.0.lora_B.weight",
    },
    ("qwen-edit", "kohya"): {
        "lora_unet_transformer_blocks_3_attn_to_out_0.lora_down.weight",
        "lora_unet_transformer_blocks_3_attn_to_out_0.lora_up.weight",
        "lora_unet_transformer_blocks_3_attn_to_out_0.alpha",
    },
    ("qwen-edit", "comfyui"): {
        "diffusion_model.transformer_blocks.3.attn.to_out.0.lora_A.weight",
        "diffusion_model.transformer_blocks.3.attn.to_out.0.lora_B.weight",
        "diffusion_model.transformer_blocks.3.attn.to_out.0.alpha",
    },
    ("flux2", "diffusers"): {
        "transformer.single_transformer_blocks.5.attn.to_qkv_mlp_proj.lora_A.weight",
        "transformer.single_transformer_blocks.5.attn.to_qkv_mlp_proj.lora_B.weight",
    },
    ("flux2", "kohya"): {
        "lora_unet_single_blocks_5_linear1.lora_down.weight",
        "lora_unet_single_blocks_5_linear1.lora_up.weight",
        "lora_unet_single_blocks_5_linear1.alpha",
    },
    ("flux2", "comfyui"): {
        "diffusion_model.single_blocks.5.linear1.lora_A.weight",
        "diffusion_model.single_blocks.5.linear1.lora_B.weight",
    },
}
_MODULES = {
    "flux": "single_transformer_blocks.5.proj_out",
    "qwen-edit": "transformer_blocks.3.attn.to_out.0",
    "flux2": "single_transformer_blocks.5.attn.to_qkv_mlp_proj",
}


@pytest.mark.parametrize(("family", "form"), _KEYS)
def test_the_keys_of_a_file(family: str, form: str, tmp_path: Path) -> None:
    """The complete keys of a module are the documented ones, in each form."""
    from safetensors import safe_open

    from engines.training.export import export, write_adapter

    write_adapter(tmp_path / "ours.safetensors", flux_state({_MODULES[family]: (64, 64)}), info_of(family))
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)

    with safe_open(tmp_path / "theirs.safetensors", "pt") as file:
        assert set(file.keys()) == _KEYS[family, form]


@pytest.mark.parametrize("form", ["kohya", "comfyui"])
def test_a_klein_lora_of_attention_is_told_from_one_of_flux1(form: str, tmp_path: Path) -> None:
    """InvokeAI tells two models of one width by the first MLP layer, which is there with zeros and changes nothing."""
    from safetensors.torch import load_file

    from engines.drawing.lora_files import read_adapter
    from engines.training.export import export, write_adapter

    attention = {"transformer_blocks.0.attn.to_out.0": (64, 64), "transformer_blocks.0.attn.to_q": (64, 64)}
    state = flux_state(attention)
    write_adapter(tmp_path / "ours.safetensors", state, info_of("flux2"))
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)

    name, parts = {
        "kohya": ("lora_unet_double_blocks_0_img_mlp_0", ("lora_down", "lora_up")),
        "comfyui": ("diffusion_model.double_blocks.0.img_mlp.0", ("lora_A", "lora_B")),
    }[form]
    down, up = (load_file(tmp_path / "theirs.safetensors")[f"{name}.{part}.weight"] for part in parts)
    assert (down.shape, up.shape) == ((1, 64), (6 * 64, 1))
    assert not down.any() and not up.any()
    found, _ = read_adapter(tmp_path / "theirs.safetensors", "flux2")
    assert _same_effect(state, {key: found[key] for key in state}, ALPHA / RANK)
    assert not any(value.any() for key, value in found.items() if key not in state and ".lora_B." in key)


def test_a_klein_lora_of_all_layers_gets_no_further_layer() -> None:
    """Where the layer has a LoRA it stays what it is, and other families get none."""
    from engines.training.export import converted

    for family, up in (("flux2", "ff.linear_in"), ("qwen-edit", "img_mlp.net.2")):
        modules = {"transformer_blocks.0.attn.to_out.0": (8, 8), f"transformer_blocks.0.{up}": (8, 48)}
        assert len(converted(flux_state(modules), info_of(family), "kohya")) == 6
