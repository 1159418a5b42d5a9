"""Implements the LoRA layer of trainings: peft's linear layer with fewer matrix products and less memory."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn


def use_lean_layers(config: LoraConfig) -> LoraConfig:
    """Makes peft use `LeanLinear` for all linear layers, quantised or not; changes `config` and returns it."""
    config._register_custom_module({nn.Linear: LeanLinear})  # peft's own hook for layers from elsewhere
    return config


class LeanLinear(Linear):
    """Represents a linear layer with LoRA adapters: it computes the same as peft's layer, in less memory.

    peft's forward pass keeps a float32 copy of the input for the backward pass. This layer computes in the dtype of the
    base layer's output, keeps the input in this dtype, and copies it only if it has another. The LoRA's weights and
    their gradients stay float32.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Returns the base layer's output plus the update of every active adapter: (…, in) → (…, out)."""
        base: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return base
        for name in self.active_adapters:
            if name not in self.lora_A:
                continue  # an adapter of other layers
            down, up = self.lora_A[name].weight, self.lora_B[name].weight
            scale = self.scaling[name]
            base = _Update.apply(base, x, down, up, scale)  # type: ignore[no-untyped-call]  # torch has no types for it
        return base


class _Update(torch.autograd.Function):
    """Computes y + s·(x·Aᵀ)·Bᵀ, for A (rank, in) and B (out, rank)."""

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
