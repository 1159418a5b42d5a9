"""Reads what a LoRA file is: whose names it has, which model's layers it changes, its ranks."""

from __future__ import annotations

from pathlib import Path

from engines.api.errors import LoraMismatch
from engines.api.params import LoraUse
from engines.catalogue.formats import header
from engines.catalogue.lora_bases import BASES, UNKNOWN, LoraFacts, base_of
from engines.drawing.lora_files import LEFT_OUT, read_adapter, touches_modulation

_NAMINGS = (  # the beginning or a part of a tensor's name -> the tool that writes such names
    ("lora_unet_", "kohya"),
    ("lora_transformer_", "OneTrainer"),
    ("diffusion_model.", "ComfyUI"),
    ("base_model.model.", "peft"),
    ("transformer.", "diffusers"),
)
_DECLARED = ("modelspec.architecture", "ss_base_model_version", "family")


def facts(path: Path) -> LoraFacts:
    """Reads a LoRA file completely and returns what it is; it is read for each family until its layers are known ones.

    Raises: NotFound; BadInput or LoraMismatch for a file that is damaged, or no plain LoRA of a known family.
    """
    found = header(path)
    metadata = found.get("__metadata__", {})
    naming = next((tool for part, tool in _NAMINGS if any(part in key for key in found)), "plain")
    told: list[LoraFacts] = []
    refusals: list[LoraMismatch] = []
    for family in dict.fromkeys(base.family for base in BASES):
        try:
            state, read = read_adapter(path, family)
        except LoraMismatch as error:
            refusals.append(error)
            continue
        shapes = {key.partition(".lora_A")[0]: value.shape for key, value in state.items() if ".lora_A." in key}
        base = base_of({module: inputs for module, (_, inputs) in shapes.items()}, family)
        ranks = [rank for rank, _ in shapes.values() if rank] or [0]
        told.append(
            LoraFacts(
                naming=naming,
                tensors=len(found) - ("__metadata__" in found),
                modules=len(shapes),
                ranks=(min(ranks), max(ranks)),
                base=base.name if base else UNKNOWN,
                family=base.family if base else "",
                declared=next((metadata[key] for key in _DECLARED if metadata.get(key)), ""),
                modulation=touches_modulation(LoraUse(file=str(path))),
                note=read.get(LEFT_OUT, ""),
            )
        )
    if not any(each.modules for each in told):
        raise next(iter(refusals), LoraMismatch(f"{path.name} holds no LoRA.", "Choose another file."))
    return next((each for each in told if each.base != UNKNOWN), told[0])
