"""A LoRA on a linear layer as training computes it: peft's layer, its update in a few products of one width."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn


def use_lean_layers(config: LoraConfig) -> LoraConfig:
    """Let peft put our layer onto every linear one, quantised or not, instead of its own."""
    config._register_custom_module({nn.Linear: LeanLinear})  # peft's own door for layers of others
    return config


class LeanLinear(Linear):  # type: ignore[misc]  # peft has no types
    """peft's Linear with another forward: it widens the input to float32, keeps it, and adds in steps of autograd.

    Ours computes in the type in which the base answers, and keeps the input that the base keeps anyway. The update's
    weights stay float32, and so do their gradients.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(…, in) → (…, out)."""
        base: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return base
        for name in self.active_adapters:
            down, up = self.lora_A[name].weight, self.lora_B[name].weight
            base = _Update.apply(base, x, down, up, self.scaling[name])  # type: ignore[no-untyped-call]
        return base


class _Update(torch.autograd.Function):
    """y + s·(x·Aᵀ)·Bᵀ, for A (rank, in) and B (out, rank)."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(y.dtype)
        down, up = down.to(y.dtype), up.to(y.dtype)
        low = rows @ down.t()
        ctx.save_for_backward(rows, down, up, low)
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, x.dtype
        return torch.addmm(y.reshape(-1, y.shape[-1]), low, up.t(), alpha=scale).view(y.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        rows, down, up, low = ctx.saved_tensors
        rising = gradient.reshape(-1, gradient.shape[-1])
        falling = (rising @ up).mul_(ctx.scale)
        to_x = (falling @ down).view(ctx.shape).to(ctx.dtype) if ctx.needs_input_grad[1] else None
        to_down = (falling.t() @ rows).float()
        to_up = (rising.t() @ low).float().mul_(ctx.scale)
        return gradient, to_x, to_down, to_up, None
