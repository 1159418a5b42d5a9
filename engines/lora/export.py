"""Adapter files: written for us and for other tools, and read back before anyone relies on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from engines.errors import BadInput, LoraMismatch
from engines.lora.naming import FORMS, Slot, prefixed, slot
from engines.parts.adapters import PEFT_CONFIG, read_adapter
from engines.registry import lora_files

State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Info:
    """What an adapter file tells about itself."""

    family: str
    base_model: str
    trigger: str
    rank: int
    alpha: float
    step: int
    dataset: str
    targets: str

    def metadata(self, form: str = "diffusers") -> dict[str, str]:
        """Ours, peft's, kohya's and the model specification's entries; all text, as safetensors wants it.

        Source: the ss_* entries of kohya-ss/sd-scripts, and Stability-AI/ModelSpec.
        """
        files = lora_files(self.family)
        told = {
            "family": self.family,
            "base_model": self.base_model,
            "trigger": self.trigger,
            "rank": str(self.rank),
            "alpha": str(self.alpha),
            "step": str(self.step),
            "dataset": self.dataset,
            "targets": self.targets,
            "ss_network_module": files.network,
            "ss_network_dim": str(self.rank),
            "ss_network_alpha": str(self.alpha),
            "ss_base_model_version": files.base_version,
            "ss_sd_model_name": self.base_model,
            "ss_steps": str(self.step),
            "modelspec.sai_model_spec": "1.0.0",
            "modelspec.architecture": files.architecture,
            "modelspec.implementation": files.implementation,
            "modelspec.title": f"{self.trigger or self.base_model} LoRA, step {self.step}",
            "modelspec.prediction_type": "flow",
        }
        if self.trigger:
            told["modelspec.trigger_phrase"] = self.trigger
        if form == "diffusers":
            told[PEFT_CONFIG] = json.dumps(self._peft_config(), sort_keys=True)
        return told

    def _peft_config(self) -> dict[str, Any]:
        """What makes diffusers and peft scale by alpha / rank; without it they take alpha = rank."""
        return {
            "transformer.r": self.rank,
            "transformer.lora_alpha": self.alpha,
            "transformer.target_modules": self.targets,
        }

    @classmethod
    def of(cls, metadata: Mapping[str, str], path: Path) -> Info:
        """Read back what `metadata` wrote. Raises: LoraMismatch."""
        try:
            return cls(
                family=metadata["family"],
                base_model=metadata["base_model"],
                trigger=metadata["trigger"],
                rank=int(metadata["rank"]),
                alpha=float(metadata["alpha"]),
                step=int(metadata["step"]),
                dataset=metadata["dataset"],
                targets=metadata["targets"],
            )
        except KeyError as error:
            raise LoraMismatch(
                f"{path.name} was not trained here: its metadata lacks {error}.",
                "Use it in the form that it has.",
            ) from error


def write_adapter(path: Path, state: State, info: Info) -> None:
    """Write a LoRA under diffusers' names, and read it back through the door that every engine uses.

    `state`: peft's names relative to the transformer. Raises: LoraMismatch where a tensor does not come back
    as it was.
    """
    tensors = {f"transformer.{name}": value.detach().cpu().contiguous() for name, value in state.items()}
    save_file(tensors, path, metadata=info.metadata())
    found, _ = read_adapter(path)
    lost = [name for name, value in state.items() if name not in found or not torch.equal(found[name], value.cpu())]
    if lost or len(found) != len(state):
        raise LoraMismatch(
            f"{path} does not read back as it was written: {len(lost)} of {len(state)} tensors differ.",
            "Check the disk, then continue the training.",
        )


def export(source: Path, path: Path, form: str) -> None:
    """Write one of our adapters for another tool; strength 1 there does what strength 1 does here.

    Raises: BadInput for an unknown form; LoraMismatch for a file that is not ours, or a module without a place.
    """
    if form not in FORMS:
        raise BadInput(f"There is no LoRA form named {form}.", f"Choose one of: {', '.join(FORMS)}.")
    state, metadata = read_adapter(source)
    info = Info.of(metadata, source)
    if form == "diffusers":
        return write_adapter(path, state, info)
    save_file(converted(state, info, form), path, metadata=info.metadata(form))
    return None


def converted(state: State, info: Info, form: str) -> dict[str, Tensor]:
    """Our tensors under kohya's or ComfyUI's names, with the alphas that those expect beside them.

    Where a tool has one module for several of ours, theirs gets our downs stacked and our ups on the block
    diagonal: the same product, at the sum of our ranks. Raises: LoraMismatch.
    """
    groups: dict[str, dict[int, str]] = {}
    slots: dict[str, Slot] = {}
    for module in dict.fromkeys(name.partition(".lora_")[0] for name in state):
        place = slot(info.family, module)
        if place is None:
            raise LoraMismatch(f"{form} has no name for {module}.", "Export it in diffusers' form.")
        groups.setdefault(place.module, {})[place.index] = module
        slots[place.module] = place
    out: dict[str, Tensor] = {}
    for theirs, ours in groups.items():
        down, up = _fused(state, ours, slots[theirs].widths)
        name = prefixed(form, theirs)
        out[f"{name}.lora_down.weight"] = down.contiguous()
        out[f"{name}.lora_up.weight"] = up.contiguous()
        out[f"{name}.alpha"] = torch.tensor(info.alpha / info.rank * down.shape[0])
    return out


def _fused(state: State, ours: Mapping[int, str], widths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """One (down, up) for all of a fused module; what is not trained there adds nothing."""
    pairs = {
        index: (state[f"{module}.lora_A.weight"], state[f"{module}.lora_B.weight"]) for index, module in ours.items()
    }
    if len(widths) == 1:
        return pairs[0]
    some, (down, up) = next(iter(pairs.items()))
    hidden = up.shape[0] // widths[some]
    for index, width in enumerate(widths):
        pairs.setdefault(index, (torch.zeros_like(down), up.new_zeros(width * hidden, up.shape[1])))
    ordered = [pairs[index] for index in range(len(widths))]
    return torch.cat([down for down, _ in ordered]), torch.block_diag(*(up for _, up in ordered))
