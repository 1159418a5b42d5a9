"""What other tools call the same modules: pure names, no tensors.

`diffusers` is our own naming. `kohya` flattens module paths behind "lora_unet_"; `comfyui` keeps the dots
behind "diffusion_model.". Both use Black Forest Labs' modules for FLUX, where q, k and v are one; Qwen's are
as in diffusers.
Sources: networks/convert_flux_lora.py in kohya-ss/sd-scripts, convert_lora.py in kohya-ss/musubi-tuner,
comfy/lora.py in comfyanonymous/ComfyUI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from engines.catalogue.registry import load_class, lora_files

FORMS = ("diffusers", "kohya", "comfyui")
CUT_AT = {"flux": 3072}  # the one hidden size at which diffusers' converter of a family knows how to part fused layers


@dataclass(frozen=True)
class Slot:
    """Where one of our modules lies in another tool's: which of the fused outputs, of what widths.

    Widths are in hidden sizes; a module that is not fused has one, and its size does not matter.
    """

    module: str
    index: int = 0
    widths: tuple[int, ...] = (1,)


Names = Mapping[str, tuple[str, int, tuple[int, ...]]]  # our module in a block -> theirs, which output, widths

_QKV = (1, 1, 1)
_LINEAR1 = (1, 1, 1, 4)
BFL_ATTENTION: Names = {
    "attn.to_q": ("img_attn.qkv", 0, _QKV),
    "attn.to_k": ("img_attn.qkv", 1, _QKV),
    "attn.to_v": ("img_attn.qkv", 2, _QKV),
    "attn.to_out.0": ("img_attn.proj", 0, (1,)),
    "attn.add_q_proj": ("txt_attn.qkv", 0, _QKV),
    "attn.add_k_proj": ("txt_attn.qkv", 1, _QKV),
    "attn.add_v_proj": ("txt_attn.qkv", 2, _QKV),
    "attn.to_add_out": ("txt_attn.proj", 0, (1,)),
}
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
_BLOCK = re.compile(r"(single_transformer_blocks|transformer_blocks)\.(\d+)\.(.+)")
_STACKS = {"transformer_blocks": "double_blocks", "single_transformer_blocks": "single_blocks"}


def flux_slot(module: str) -> Slot | None:
    """Where a diffusers FLUX module lies in Black Forest Labs' layout; none if it has no place there."""
    return bfl_slot(module, _DOUBLE, _SINGLE)


def bfl_slot(module: str, double: Names, single: Names) -> Slot | None:
    """The same for any model of double and single blocks, by the tables of what its modules are called."""
    match = _BLOCK.fullmatch(module)
    if not match:
        return None
    table = double if match[1] == "transformer_blocks" else single
    if match[3] not in table:
        return None
    name, index, widths = table[match[3]]
    return Slot(f"{_STACKS[match[1]]}.{match[2]}.{name}", index, widths)


def slot(family: str, module: str) -> Slot | None:
    """Where a module lies in the layout that other tools have for a family; none if it has no place there."""
    names = lora_files(family).names
    found: Slot | None = load_class(names)(module) if names else Slot(module)
    return found


def prefixed(form: str, module: str) -> str:
    """A module's name in a form, ready for ".lora_down.weight" or ".lora_A.weight"."""
    return f"lora_unet_{module.replace('.', '_')}" if form == "kohya" else f"diffusion_model.{module}"
