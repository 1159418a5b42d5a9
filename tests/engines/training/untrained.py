"""Provides LoRAs of random numbers and their metadata."""

from __future__ import annotations

from typing import Any

RANK, ALPHA = 2, 3.0


def info_of(family: str) -> Any:
    """Returns the metadata of such a file."""
    from engines.training.export import Info

    return Info(
        family=family,
        base_model="FLUX.1-dev",
        trigger="ohwx",
        rank=RANK,
        alpha=ALPHA,
        step=7,
        dataset="abc",
        targets="x",
    )


def flux_state(modules: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Returns a LoRA of modules of (in, out) widths."""
    import torch

    numbers = torch.Generator().manual_seed(0)
    state = {}
    for name, (wide_in, wide_out) in modules.items():
        state[f"{name}.lora_A.weight"] = torch.randn(RANK, wide_in, generator=numbers)
        state[f"{name}.lora_B.weight"] = torch.randn(wide_out, RANK, generator=numbers)
    return state


def qwen_state() -> dict[str, Any]:
    """Returns a LoRA on one block of the editor."""
    block = "transformer_blocks.3."
    attention = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    modules = {f"{block}attn.{name}": (32, 32) for name in attention}
    for stream in ("img_mlp", "txt_mlp"):
        modules |= {f"{block}{stream}.net.0.proj": (32, 128), f"{block}{stream}.net.2": (128, 32)}
    return flux_state(modules)
