"""Defines a linear layer whose frozen weight is int8, with one scale for each output.

The layer holds plain tensors only: it is saved, mapped and moved as any layer is, and a LoRA beside it can train. The
scale is rounded to its type before the weight is quantised, so that rounding the scale adds no error; the result is at
least as exact as optimum-quanto's qint8.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LARGEST = 127


class Linear8bit(nn.Linear):
    """Represents a linear layer whose frozen weight is int8, with one scale for each output.

    `weight`: (out, in) int8; `scale`: (out,) in the compute dtype.
    """

    scale: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype, device: str) -> None:
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        weight = torch.empty(out_features, in_features, dtype=torch.int8, device=device)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("scale", torch.empty(out_features, dtype=dtype, device=device))

    def forward(self, input: Tensor) -> Tensor:
        """Computes the layer's output, (…, in) → (…, out), in the input's dtype or, under autocast, in autocast's."""
        input = as_multiplied(input)
        product: Tensor = _Product.apply(input, self.weight)  # type: ignore[no-untyped-call]  # torch's own
        out = product * self.scale.to(input.dtype)
        return out if self.bias is None else out + self.bias.to(input.dtype)


def as_multiplied(input: Tensor) -> Tensor:
    """Returns a layer's input in autocast's dtype, as `nn.Linear` converts it; unchanged without autocast.

    Without this conversion the float32 output of a norm would stay float32, and the tensors that autograd keeps for the
    backward pass would take twice the memory.
    """
    device = input.device.type
    return input.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else input


def eight_bits(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Quantises a weight (out, in) to int8, with one scale for each row.

    Returns the int8 values (out, in) and the scales (out,) in `dtype`.
    """
    wide = weight.float()
    scale = (wide.abs().amax(dim=1) / _LARGEST).clamp(min=torch.finfo(torch.float32).tiny).to(dtype)
    levels = (wide / scale.float()[:, None]).round_().clamp_(-_LARGEST, _LARGEST)
    return levels.to(torch.int8), scale


class _Product(torch.autograd.Function):
    """Computes x · Wᵀ and widens W only during it: autograd would keep the wide copy of every layer until backward."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return nn.functional.linear(input, weight.to(input.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return gradients[0] @ weight.to(gradients[0].dtype), None
