"""Translates module names of FLUX.1 into Black Forest Labs' own."""

from __future__ import annotations

from engines.training.module_names import BFL_ATTENTION, Names, Slot, bfl_slot

_LINEAR1 = (1, 1, 1, 4)
_DOUBLE: Names = {
    **BFL_ATTENTION,
    "ff.net.0.proj": ("img_mlp.0", 0, (1,)),
    "ff.net.2": ("img_mlp.2", 0, (1,)),
    "ff_context.net.0.proj": ("txt_mlp.0", 0, (1,)),
    "ff_context.net.2": ("txt_mlp.2", 0, (1,)),
    "norm1.linear": ("img_mod.lin", 0, (1,)),
    "norm1_context.linear": ("txt_mod.lin", 0, (1,)),
}
_SINGLE: Names = {
    "attn.to_q": ("linear1", 0, _LINEAR1),
    "attn.to_k": ("linear1", 1, _LINEAR1),
    "attn.to_v": ("linear1", 2, _LINEAR1),
    "proj_mlp": ("linear1", 3, _LINEAR1),
    "proj_out": ("linear2", 0, (1,)),
    "norm.linear": ("modulation.lin", 0, (1,)),
}


def flux_slot(module: str) -> Slot | None:
    """Returns the place of a diffusers FLUX.1 module in Black Forest Labs' layout, or None."""
    return bfl_slot(module, _DOUBLE, _SINGLE)
