"""Translates module names of a transformer into those of other tools; needs no tensors.

Our own names are those of `diffusers`. `kohya` writes module paths with underscores behind "lora_unet_"; `comfyui`
keeps the dots behind "diffusion_model.". Both use the layout of a model's makers, where that differs from diffusers':
in Black Forest Labs' layout q, k and v are one module.
Sources: networks/convert_flux_lora.py in kohya-ss/sd-scripts, convert_lora.py in kohya-ss/musubi-tuner, comfy/lora.py
in comfyanonymous/ComfyUI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from engines.catalogue.registry import load_class, lora_files

FORMS = ("diffusers", "kohya", "comfyui")


@dataclass(frozen=True)
class Slot:
    """Describes where another naming scheme has the weights of one diffusers module.

    `module`: the name of the module there. If that is a fused layer, such as q, k and v in one, `index` (from 0) tells
    which of its outputs belongs to the diffusers module; `widths`: the widths of all its outputs, as multiples of the
    hidden size.
    """

    module: str
    index: int = 0
    widths: tuple[int, ...] = (1,)


Names = Mapping[str, Slot]  # our module in a block -> its place in the other layout's block

_QKV = (1, 1, 1)
BFL_ATTENTION: Names = {
    "attn.to_q": Slot("img_attn.qkv", 0, _QKV),
    "attn.to_k": Slot("img_attn.qkv", 1, _QKV),
    "attn.to_v": Slot("img_attn.qkv", 2, _QKV),
    "attn.to_out.0": Slot("img_attn.proj"),
    "attn.add_q_proj": Slot("txt_attn.qkv", 0, _QKV),
    "attn.add_k_proj": Slot("txt_attn.qkv", 1, _QKV),
    "attn.add_v_proj": Slot("txt_attn.qkv", 2, _QKV),
    "attn.to_add_out": Slot("txt_attn.proj"),
}
_BLOCK = re.compile(r"(single_transformer_blocks|transformer_blocks)\.(\d+)\.(.+)")
_STACKS = {"transformer_blocks": "double_blocks", "single_transformer_blocks": "single_blocks"}


def bfl_slot(module: str, double: Names, single: Names) -> Slot | None:
    """Returns where Black Forest Labs' naming scheme has the weights of a diffusers module; None if nowhere.

    `module`: its full name in diffusers. `double`, `single`: tables for double-stream and for single-stream blocks;
    each maps the name of a module within a diffusers block to its place within Black Forest Labs' block.
    """
    match = _BLOCK.fullmatch(module)
    if not match:
        return None
    table = double if match[1] == "transformer_blocks" else single
    if match[3] not in table:
        return None
    found = table[match[3]]
    return replace(found, module=f"{_STACKS[match[1]]}.{match[2]}.{found.module}")


def slot(family: str, module: str) -> Slot | None:
    """Returns where the weights of a diffusers module are in the naming scheme of the model's makers.

    `family`: the name of the model family; `module`: the module's full name in diffusers. If the makers use diffusers'
    names, the result has the same name. Returns None if the makers' scheme has no such module.
    """
    names = lora_files(family).names
    found: Slot | None = load_class(names)(module) if names else Slot(module)
    return found


def prefixed(form: str, module: str) -> str:
    """Returns the name of a module in a LoRA file of kohya or comfyui.

    The result lacks the ending, such as ".lora_down.weight". `form`: kohya or comfyui; `module`: the module's name in
    the scheme of the model's makers.
    """
    return f"lora_unet_{module.replace('.', '_')}" if form == "kohya" else f"diffusion_model.{module}"
