"""Adapter files: what other tools read is what was learned."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from engines.api import CheckpointSaved, LoraUse
from engines.errors import BadInput, LoraMismatch

pytestmark = pytest.mark.slow

_HIDDEN = 3072  # diffusers' converter knows FLUX.1 by its width
_RANK, _ALPHA = 2, 3.0


def _info(family: str) -> Any:
    from engines.lora.export import Info

    return Info(
        family=family,
        base_model="FLUX.1-dev",
        trigger="ohwx",
        rank=_RANK,
        alpha=_ALPHA,
        step=7,
        dataset="abc",
        targets="x",
    )


def _state(modules: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """A LoRA for modules of (in, out) widths."""
    import torch

    numbers = torch.Generator().manual_seed(0)
    state = {}
    for name, (wide_in, wide_out) in modules.items():
        state[f"{name}.lora_A.weight"] = torch.randn(_RANK, wide_in, generator=numbers)
        state[f"{name}.lora_B.weight"] = torch.randn(wide_out, _RANK, generator=numbers)
    return state


def _flux_state(h: int = _HIDDEN) -> dict[str, Any]:
    """One double and one single block, of the real width unless told otherwise, all that the trainer targets."""
    double, single = "transformer_blocks.2.", "single_transformer_blocks.5."
    attention = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    modules = {f"{double}attn.{name}": (h, h) for name in attention}
    for stream in ("ff", "ff_context"):
        modules |= {f"{double}{stream}.net.0.proj": (h, 4 * h), f"{double}{stream}.net.2": (4 * h, h)}
    modules |= {f"{single}attn.{name}": (h, h) for name in ("to_q", "to_k", "to_v")}
    return _state(modules | {f"{single}proj_mlp": (h, 4 * h), f"{single}proj_out": (5 * h, h)})


def _qwen_state() -> dict[str, Any]:
    block = "transformer_blocks.3."
    attention = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    modules = {f"{block}attn.{name}": (32, 32) for name in attention}
    for stream in ("img_mlp", "txt_mlp"):
        modules |= {f"{block}{stream}.net.0.proj": (32, 128), f"{block}{stream}.net.2": (128, 32)}
    return _state(modules)


def _same_effect(ours: dict[str, Any], theirs: dict[str, Any], scale: float) -> bool:
    """Whether every module adds the same to its output; `scale` is alpha / rank of ours."""
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
    """Through diffusers' own converters every module returns, with its alpha, and none is left over."""
    from safetensors import safe_open

    from engines.lora.export import export, write_adapter
    from engines.parts.adapters import read_adapter

    state = _flux_state() if family == "flux" else _qwen_state()
    write_adapter(tmp_path / "ours.safetensors", state, _info(family))
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)

    found, metadata = read_adapter(tmp_path / "theirs.safetensors")
    assert _same_effect(state, found, _ALPHA / _RANK)
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("2", "3.0")
    assert metadata["modelspec.trigger_phrase"] == "ohwx"
    with safe_open(tmp_path / "theirs.safetensors", "pt") as file:
        names = list(file.keys())
    assert all(name.startswith("lora_unet_" if form == "kohya" else "diffusion_model.") for name in names)


def test_diffusers_form_keeps_every_bit(tmp_path: Path) -> None:
    """Our own form returns the tensors as they were."""
    import torch

    from engines.lora.export import export, write_adapter
    from engines.parts.adapters import read_adapter

    state = _qwen_state()
    write_adapter(tmp_path / "a.safetensors", state, _info("qwen-edit"))
    export(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "diffusers")

    found, _ = read_adapter(tmp_path / "b.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_untrained_parts_of_a_fused_module_add_nothing() -> None:
    """A LoRA of q alone becomes one of qkv whose k and v stay as they are."""
    import torch

    from engines.lora.export import converted

    ours, theirs = "single_transformer_blocks.0.attn.to_k", "lora_unet_single_blocks_0_linear1"
    state = _state({ours: (8, 8)})
    out = converted(state, _info("flux"), "kohya")

    down, up = out[f"{theirs}.lora_down.weight"], out[f"{theirs}.lora_up.weight"]
    expected = state[f"{ours}.lora_B.weight"] @ state[f"{ours}.lora_A.weight"]
    whole = up @ down
    assert whole.shape == (7 * 8, 8)
    assert torch.allclose(whole[8:16], expected) and not whole[:8].any() and not whole[16:].any()
    assert out[f"{theirs}.alpha"].item() / down.shape[0] == _ALPHA / _RANK


def test_what_has_no_name_there_is_refused(tmp_path: Path) -> None:
    """A module that the other tool has no place for is an error, not a loss; so is an unknown form."""
    from engines.lora.export import converted, export, write_adapter

    with pytest.raises(LoraMismatch, match="x_embedder"):
        converted(_state({"x_embedder": (8, 8)}), _info("flux"), "kohya")
    write_adapter(tmp_path / "a.safetensors", _qwen_state(), _info("qwen-edit"))
    with pytest.raises(BadInput, match="comfyui"):
        export(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "a1111")


_STATES = {
    "flux": ("flux", _flux_state),
    "flux, small": ("flux", lambda: _flux_state(64)),
    "qwen-edit": ("qwen-edit", _qwen_state),
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
    """What does not read back as the same change to every layer is an error that names the file, and no file."""
    from engines.lora.export import converted, write_converted

    family, make = _STATES[of]
    state, info = make(), _info(family)
    good = converted(state, info, form)
    write_converted(tmp_path / "good.safetensors", good, state, info, form)

    with pytest.raises(LoraMismatch, match=r"bad\.safetensors"):
        write_converted(tmp_path / "bad.safetensors", corrupt(good), state, info, form)
    assert [file.name for file in tmp_path.iterdir()] == ["good.safetensors"]


def test_an_error_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    """An earlier export is replaced by one that was checked, or not at all."""
    from engines.lora.export import converted, write_converted

    state, info, path = _qwen_state(), _info("qwen-edit"), tmp_path / "a.safetensors"
    good = converted(state, info, "kohya")
    write_converted(path, good, state, info, "kohya")
    before = path.read_bytes()

    with pytest.raises(LoraMismatch):
        write_converted(path, _misname(good), state, info, "kohya")
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", ["diffusers", "kohya", "comfyui"])
def test_an_untrained_lora_goes_out_in_every_form(form: str, tmp_path: Path) -> None:
    """Ups that are zero still are what was exported: nothing is lost, nothing differs."""
    import torch

    from engines.lora.export import export, write_adapter

    state = {name: torch.zeros_like(v) if "lora_B" in name else v for name, v in _flux_state().items()}
    write_adapter(tmp_path / "ours.safetensors", state, _info("flux"))
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)

    assert (tmp_path / "theirs.safetensors").is_file()


def test_foreign_file_is_refused(lora_file: Path, tmp_path: Path) -> None:
    """A file without our metadata tells neither family nor alpha: it is not converted by guesses."""
    from engines.lora.export import export

    with pytest.raises(LoraMismatch, match="not trained here"):
        export(lora_file, tmp_path / "b.safetensors", "kohya")


@pytest.mark.parametrize("family", ["flux", "qwen-edit"])
def test_adapter_acts_at_alpha_over_rank(
    family: str, make_trainer: Any, make_run: Any, train: Any, host_lease: Any, tmp_path: Path
) -> None:
    """Loaded for drawing, a trained file adds alpha / rank times its product to each layer, and tells what it is."""
    import torch

    from engines.parts.adapters import attached, read_adapter

    trainer, run = make_trainer(family), make_run(tmp_path, family, steps=2)
    lease = host_lease(trainer.plan(run))
    file = [event for event in train(trainer, run, lease) if isinstance(event, CheckpointSaved)][-1].adapter
    state, metadata = read_adapter(file)
    transformer, layer = lease.part("transformer"), "transformer_blocks.0.attn.to_q"
    probe = torch.linspace(-1, 1, transformer.get_submodule(layer).in_features)
    plain = transformer.get_submodule(layer)(probe)

    with attached(transformer, [LoraUse(file=str(file))], family), torch.no_grad():
        found = transformer.get_submodule(layer)(probe) - plain

    down, up = state[f"{layer}.lora_A.weight"], state[f"{layer}.lora_B.weight"]
    assert torch.allclose(2.0 * (up @ (down @ probe)), found, atol=1e-6)  # alpha 8, rank 4
    expected = {"family": family, "base_model": trainer.spec.name, "rank": "4", "alpha": "8.0", "step": "2"}
    assert {name: metadata[name] for name in expected} == expected
    assert metadata["trigger"] == ("ohwx" if family == "flux" else "")
    assert metadata["dataset"]
    known = {"ss_num_train_images": "12", "ss_learning_rate": "0.002", "modelspec.resolution": "64x64"}
    assert {name: metadata[name] for name in known} == known
    assert metadata["modelspec.license"] == trainer.spec.licence
    assert datetime.fromisoformat(metadata["modelspec.date"]).tzinfo


_TOLD = {
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.architecture": "Qwen-Image-Edit/lora",
    "modelspec.implementation": "https://github.com/QwenLM/Qwen-Image",
    "modelspec.title": "ohwx LoRA, step 7",
    "modelspec.description": "A LoRA of FLUX.1-dev, trained with FLENwheel on 14 pictures for 7 steps. "
    "Say ohwx in the prompt.",
    "modelspec.date": "2026-11-28T07:00:00+00:00",
    "modelspec.license": "Apache-2.0",
    "modelspec.resolution": "768x768",
    "modelspec.prediction_type": "flow",
    "modelspec.trigger_phrase": "ohwx",
    "ss_network_module": "networks.lora_qwen_image",
    "ss_network_dim": "2",
    "ss_network_alpha": "3.0",
    "ss_base_model_version": "qwen_image_edit",
    "ss_sd_model_name": "FLUX.1-dev",
    "ss_steps": "7",
    "ss_num_train_images": "14",
    "ss_learning_rate": "0.0002",
    "ss_unet_lr": "0.0002",
    "ss_resolution": "(768, 768)",
    "ss_max_train_steps": "90",
    "ss_total_batch_size": "6",
    "ss_gradient_accumulation_steps": "3",
    "ss_gradient_checkpointing": "True",
    "ss_max_grad_norm": "1.0",
    "ss_optimizer": "adamw",
    "ss_seed": "4",
}


@pytest.mark.parametrize("form", ["diffusers", "kohya", "comfyui"])
def test_the_file_says_what_is_known_of_it(form: str, tmp_path: Path) -> None:
    """Under the names of ModelSpec 1.0.1 and of kohya's trainer; and an export says what its source said."""
    from safetensors import safe_open

    from engines.api import TrainParams
    from engines.lora.export import Info, export, write_adapter

    params = TrainParams(
        rank=2,
        alpha=3.0,
        learning_rate=2e-4,
        steps=90,
        batch_size=2,
        gradient_accumulation=3,
        resolution=768,
        seed=4,
    )
    facts = {"params": params, "pictures": 14, "licence": "Apache-2.0", "made": "2026-11-28T07:00:00+00:00"}
    info = dataclasses.replace(_info("qwen-edit"), **facts)
    write_adapter(tmp_path / "ours.safetensors", _qwen_state(), info)
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)

    with safe_open(tmp_path / "theirs.safetensors", "pt") as file:
        told = dict(file.metadata())
    assert {name: told[name] for name in told if name.startswith(("modelspec.", "ss_"))} == {
        **_TOLD,
        "modelspec.hash_sha256": told["modelspec.hash_sha256"],
    }
    assert Info.of(told, tmp_path) == info


def test_what_is_not_known_is_not_said(tmp_path: Path) -> None:
    """A file without a date, a licence or a recipe, as older ones are, has no empty entries for them, and is read."""
    from engines.lora.export import Info

    told = _info("flux").metadata()
    assert not {"modelspec.date", "modelspec.license", "modelspec.resolution", "ss_learning_rate"} & told.keys()
    assert all(value for name, value in told.items())
    assert Info.of(told, tmp_path) == _info("flux")


@pytest.mark.parametrize("narrow", [False, True])
def test_the_hash_is_that_of_the_contents(narrow: bool, tmp_path: Path) -> None:
    """modelspec.hash_sha256 covers all bytes after the header, also where types of two widths lie in one file."""
    from engines.lora.export import converted, write_adapter, write_converted

    state, info = _qwen_state(), _info("qwen-edit")
    state = {name: value.bfloat16() if narrow else value for name, value in state.items()}
    write_adapter(tmp_path / "ours.safetensors", state, info)
    write_converted(tmp_path / "theirs.safetensors", converted(state, info, "kohya"), state, info, "kohya")

    for file in tmp_path.iterdir():
        data = file.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        told = json.loads(data[8:end])["__metadata__"]
        assert told["modelspec.hash_sha256"] == f"0x{hashlib.sha256(data[end:]).hexdigest()}"


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
        "diffusion_model.single_blocks.5.linear2.lora_down.weight",
        "diffusion_model.single_blocks.5.linear2.lora_up.weight",
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
        "diffusion_model.transformer_blocks.3.attn.to_out.0.lora_down.weight",
        "diffusion_model.transformer_blocks.3.attn.to_out.0.lora_up.weight",
        "diffusion_model.transformer_blocks.3.attn.to_out.0.alpha",
    },
}
_MODULES = {"flux": "single_transformer_blocks.5.proj_out", "qwen-edit": "transformer_blocks.3.attn.to_out.0"}


@pytest.mark.parametrize(("family", "form"), _KEYS)
def test_the_keys_of_a_file(family: str, form: str, tmp_path: Path) -> None:
    """Written out in full: prefix, module, and what follows it, in each form."""
    from safetensors import safe_open

    from engines.lora.export import export, write_adapter

    write_adapter(tmp_path / "ours.safetensors", _state({_MODULES[family]: (64, 64)}), _info(family))
    export(tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors", form)

    with safe_open(tmp_path / "theirs.safetensors", "pt") as file:
        assert set(file.keys()) == _KEYS[family, form]
