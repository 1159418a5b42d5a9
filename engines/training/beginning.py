"""Begins a training with a LoRA file from elsewhere: what of it is trained on, and what stays as it is."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from engines.api.errors import BadInput
from engines.api.params import LoraUse, TrainParams
from engines.api.protocols import Loaded
from engines.drawing.lora_files import fitting, read_adapter
from engines.training.targets import Targets

KEPT = "kept"  # the adapter of the layers that are not trained


@dataclass(frozen=True)
class Beginning:
    """Holds a LoRA's tensors by peft's names, with its scales multiplied in.

    `trained`: those of the layers that the training changes; `kept`: those of all other layers, such as modulation,
    which act as they are and are written to the training's file.
    """

    trained: Mapping[str, Tensor]
    kept: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path, transformer: Loaded, family: str, params: TrainParams, targets: Targets) -> Beginning:
        """Reads a LoRA file and divides its tensors.

        `transformer`: the one to train, which may be without weights; `targets`: the layers that are trained.
        Raises: NotFound; LoraMismatch for a file that does not fit the transformer; BadInput for a LoKr or LoHa, a LoRA
        of a higher rank than the training's, or one that changes none of the trained layers.
        """
        state, _ = fitting(transformer, LoraUse(file=str(path), for_this_model=True), family, read_adapter)
        if any(".lora_" not in key for key in state):
            raise BadInput(f"{path.name} is a LoKr or LoHa.", "Begin with a plain LoRA, or with nothing.")
        ours = re.compile(targets.pattern)
        trained = {key: value for key, value in state.items() if ours.fullmatch(key.partition(".lora_")[0])}
        if not trained:
            raise BadInput(
                f"{path.name} changes none of the layers that are trained ({params.targets}).",
                "Choose other targets, or another LoRA to begin with.",
            )
        rank = max(value.shape[0] for key, value in trained.items() if ".lora_A." in key)
        if rank > params.rank:
            raise BadInput(f"{path.name} has rank {rank}, the training {params.rank}.", f"Train with rank {rank}.")
        return cls(trained, {key: value for key, value in state.items() if key not in trained})

    def filled(self, own: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
        """Returns the first weights of the LoRA in training, which has the effect of the file.

        `own`: its new weights; they stay where the file has none, or a lower rank: there the effect is 0. `scale`:
        alpha / rank of the training.
        """
        first = {name: value.clone() for name, value in own.items()}
        for name, value in self.trained.items():
            if ".lora_A." in name:
                first[name][: value.shape[0]] = value.to(first[name])
            else:
                first[name][:, : value.shape[1]] = value.to(first[name]) / scale
        return first


def attach_kept(transformer: Loaded, kept: Mapping[str, Tensor], adapter: str) -> None:
    """Attaches the layers that are not trained to a transformer, frozen, beside the LoRA called `adapter`."""
    if not kept:
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config` attribute")  # two adapters are intended
        transformer.load_lora_adapter(dict(kept), prefix=None, adapter_name=KEPT)
    transformer.set_adapters([adapter, KEPT])
    for name, weight in transformer.named_parameters():
        if f".{KEPT}." in name:
            weight.requires_grad_(False)
