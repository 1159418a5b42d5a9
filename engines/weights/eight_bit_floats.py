"""Defines a linear layer whose frozen weight is 8-bit floats, held and multiplied by optimum-quanto.

The weight is quanto's own tensor, made of two plain ones: those are what a file stores and maps, and what an arena
moves. quanto's choice of another kernel by the device is left out: it compiles with nvcc at its first use.
"""

from __future__ import annotations

import torch
from optimum.quanto import WeightQBytesTensor, absmax_scale, qfloat8_e4m3fn, quantize_weight
from torch import Tensor, nn

from engines.weights.eight_bits import as_multiplied


class LinearFloat8(nn.Linear):
    """Represents a linear layer whose frozen weight is e4m3 floats, with one scale, or one for each output.

    `weight`: until `hold` sets it, a tensor of the compute dtype without contents.
    """

    def hold(self, codes: Tensor, scale: Tensor) -> None:
        """Sets the weight, without a copy of its codes.

        `codes`: (out, in) float8_e4m3fn; `scale`: () or (out, 1). A scale of another dtype is rounded to the compute
        dtype, in which quanto multiplies.
        """
        axis = None if scale.numel() == 1 else 0
        scale = scale.reshape(() if axis is None else (-1, 1)).to(self.weight.dtype)
        weight = WeightQBytesTensor(qfloat8_e4m3fn, axis, codes.size(), codes.stride(), codes, scale, None)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        """Computes the layer's output, (…, in) → (…, out), in the input's dtype or, under autocast, in autocast's."""
        input = as_multiplied(input)
        # Autocast would give the product, and so its gradient, another type than quanto's backward pass multiplies in.
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input).to(input.dtype)


def eight_bit_floats(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Quantises a weight (out, in) to e4m3 floats by quanto, with one scale for each row.

    The scale is rounded to `dtype` before the weight is divided by it, so that its rounding adds no error. Returns the
    codes (out, in) and the scales, (out, 1) in `dtype`, or () for a weight of one row.
    """
    wide = weight.float()
    axis = 0 if len(wide) > 1 else None
    scale = absmax_scale(wide, qfloat8_e4m3fn, axis).clamp(min=torch.finfo(torch.float32).tiny).to(dtype)
    small = quantize_weight(wide, qtype=qfloat8_e4m3fn, axis=0, scale=scale.float(), optimized=False)
    return small._data, scale
