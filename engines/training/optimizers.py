"""Creates the optimisers of a training, by the names that `TrainParams.optimizer` may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from engines.catalogue.registry import load_class

_WEIGHT_DECAY = 1e-4


@dataclass(frozen=True)
class OptimizerRow:
    """Describes one optimiser that a training can use.

    `path`: its class as "module:Class", imported at its first use; `state_bytes`: the bytes of its state for each
    trained weight; `warmup`: the number of steps over which the learning rate rises linearly; `options`: keyword
    arguments of the class.
    """

    path: str
    state_bytes: int  # per trained weight
    warmup: int = 20
    options: Mapping[str, Any] = field(default_factory=dict)  # keywords of the class

    def make(self, weights: list[Tensor], rate: float) -> torch.optim.Optimizer:
        """Creates the optimiser for these weights, with the learning rate `rate`."""
        optimizer: torch.optim.Optimizer = load_class(self.path)(weights, lr=rate, **self.options)
        return optimizer


OPTIMIZERS: Mapping[str, OptimizerRow] = {
    "adamw": OptimizerRow("torch.optim:AdamW", state_bytes=8, options={"weight_decay": _WEIGHT_DECAY, "fused": True}),
    "adamw8bit": OptimizerRow("bitsandbytes.optim:AdamW8bit", state_bytes=2, options={"weight_decay": _WEIGHT_DECAY}),
    # Adam that estimates its own step size, of which the learning rate is a factor. Source: Mishchenko, Defazio 2023.
    # It starts from almost nothing by itself: under a warm-up its estimate stands still for a hundred steps.
    "prodigy": OptimizerRow("prodigyopt:Prodigy", state_bytes=16, warmup=1, options={"use_bias_correction": True}),
}
