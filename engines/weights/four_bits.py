"""Takes weights that bitsandbytes has stored in 4 bits, at full width again or as the codes that they are."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from bitsandbytes import functional
from torch import Tensor

BLOCK, NESTED_BLOCK = 64, 256  # numbers that share a scale, and scales that share one

State = Any  # bitsandbytes' QuantState, whose attributes have no types


@dataclass(frozen=True)
class FourBit:
    """Holds a weight in 4 bits: two codes in a byte, and bitsandbytes' `state` with scales, block size and shape."""

    codes: Tensor
    state: State

    @classmethod
    def of(cls, codes: Tensor, state: Mapping[str, Tensor]) -> FourBit:
        """Takes the codes and what is stored beside them, by the endings of the tensors' names, such as "absmax"."""
        return cls(codes.view(torch.uint8).reshape(-1, 1), functional.QuantState.from_dict(dict(state), codes.device))

    @property
    def shape(self) -> torch.Size:
        """Returns the shape of the weight at full width."""
        return torch.Size(self.state.shape)

    def to(self, device: str) -> FourBit:
        """Returns the weight on another device."""
        self.state.to(device)
        return FourBit(self.codes.to(device), self.state)

    def full(self) -> Tensor:
        """Returns the weight at full width; what was lost when it was rounded to 4 bits stays lost."""
        flat, side = copy(self.state), self.state.blocksize
        if self.shape.numel() % side == 0:
            flat.shape = torch.Size(
                (self.shape.numel() // side, side)
            )  # its CPU code errs on rows shorter than a block
        weight: Tensor = functional.dequantize_4bit(self.codes, flat)
        return weight.reshape(self.shape)

    def kept(self, dtype: torch.dtype) -> dict[str, Tensor] | None:
        """Returns the tensors to store where the codes can stay as they are; None where blocks or levels are others.

        Keys: the endings of names, as bitsandbytes saves them. `dtype`: the compute dtype. Scales of blocks that are
        not quantised themselves are quantised as bitsandbytes' double quantisation does.
        """
        state = self.state
        nested = state.nested and state.state2.blocksize == NESTED_BLOCK
        if state.quant_type != "nf4" or state.blocksize != BLOCK or (state.nested and not nested):
            return None
        scales, offset, more = state.absmax, state.offset, state.state2
        if not nested:
            offset = scales.float().mean()
            scales, more = functional.quantize_blockwise(scales.float() - offset, blocksize=NESTED_BLOCK)
        own = functional.QuantState(
            scales, state.shape, state.code, state.blocksize, state.quant_type, dtype, offset, more
        )
        beside = {f"weight.{name}": tensor.clone() for name, tensor in own.as_dict(packed=True).items()}
        return {"weight": self.codes, **beside}
