"""Adapter files: what other tools read is what was learned."""

from __future__ import annotations

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


def _flux_state() -> dict[str, Any]:
    """One double and one single block of the real width, all that the trainer targets."""
    h, double, single = _HIDDEN, "transformer_blocks.2.", "single_transformer_blocks.5."
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
