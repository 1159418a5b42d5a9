"""Adds LoRAs to the embedded models, and writes them to files as the LoRAs that users train are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict

from engines.mini.configs import Model
from engines.mini.export import whole
from engines.training.export import Info, write_adapter


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Describes a LoRA of an embedded model: how it is built, and what its file says.

    `name`: its name in the model; `targets`: a regular expression for the names of the layers that it changes.
    `base`: the registry's name of the model that it is for, `family` that model's family. `taught`: what it was trained
    with, in words.
    """

    name: str
    rank: int
    targets: str
    base: str
    family: str
    taught: str

    def add(self, model: Model, seed: int) -> None:
        """Freezes the weights of `model` and adds the LoRA, whose first weights are drawn from `seed`."""
        model.requires_grad_(False)
        torch.manual_seed(seed)
        config = LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=self.targets)
        model.add_adapter(config, adapter_name=self.name)

    def save(self, model: Model, path: Path, steps: int) -> None:
        """Writes the LoRA in `model` to a safetensors file in bf16, completely or not at all.

        `steps`: the number of training steps, for the metadata.
        """
        info = Info(
            family=self.family,
            base_model=self.base,
            trigger="",
            rank=self.rank,
            alpha=float(self.rank),
            step=steps,
            dataset=self.taught,
            targets=self.targets,
        )
        state = get_peft_model_state_dict(model, adapter_name=self.name)
        with whole(path) as part:
            write_adapter(part, {name: value.bfloat16() for name, value in state.items()}, info)
