"""Translates module names of FLUX.1 into Black Forest Labs' own."""

from __future__ import annotations

from engines.training.module_names import BFL_ATTENTION, Names, Slot, bfl_slot

_LINEAR1 = (1, 1, 1, 4)
_DOUBLE: Names = {
    **BFL_ATTENTION,
    "ff.net.0.proj": Slot("img_mlp.0"),
    "ff.net.2": Slot("img_mlp.2"),
    "ff_context.net.0.proj": Slot("txt_mlp.0"),
    "ff_context.net.2": Slot("txt_mlp.2"),
    "norm1.linear": Slot("img_mod.lin"),
    "norm1_context.linear": Slot("txt_mod.lin"),
}
_SINGLE: Names = {
    "attn.to_q": Slot("linear1", 0, _LINEAR1),
    "attn.to_k": Slot("linear1", 1, _LINEAR1),
    "attn.to_v": Slot("linear1", 2, _LINEAR1),
    "proj_mlp": Slot("linear1", 3, _LINEAR1),
    "proj_out": Slot("linear2"),
    "norm.linear": Slot("modulation.lin"),
}


def flux_slot(module: str) -> Slot | None:
    """Returns which module of Black Forest Labs' layout has the weights of a diffusers FLUX.1 module; None if none has.

    `module`: a path such as "transformer_blocks.0.attn.to_q". Black Forest Labs' layout fuses some modules, such as q,
    k and v into `qkv`; the result then also says which part of the fused module belongs to `module`.
    """
    return bfl_slot(module, _DOUBLE, _SINGLE)
