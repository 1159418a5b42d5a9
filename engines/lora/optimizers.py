"""Optimisers by the names that trainers give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Optimizer = torch.optim.Optimizer

_WEIGHT_DECAY = 1e-4


def _adamw(weights: list[Tensor], rate: float) -> Optimizer:
    return torch.optim.AdamW(weights, lr=rate, weight_decay=_WEIGHT_DECAY)


def _adamw8bit(weights: list[Tensor], rate: float) -> Optimizer:
    from bitsandbytes.optim import AdamW8bit  # slow to import, and only wanted here

    optimizer: Optimizer = AdamW8bit(weights, lr=rate, weight_decay=_WEIGHT_DECAY)
    return optimizer


OPTIMIZERS: Mapping[str, Callable[[list[Tensor], float], Optimizer]] = {
    "adamw": _adamw,
    "adamw8bit": _adamw8bit,
}
