"""Optimisers by the names that trainers give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Optimizer = torch.optim.Optimizer

_WEIGHT_DECAY = 1e-4


@dataclass(frozen=True)
class Row:
    """One optimiser: how it is made and what it holds; the least rate of one stands in `engines.api.params`.

    `warmup`: over how many steps the rate rises evenly.
    """

    make: Callable[[list[Tensor], float], Optimizer]
    state_bytes: int  # per trained weight
    warmup: int = 20


def _adamw(weights: list[Tensor], rate: float) -> Optimizer:
    return torch.optim.AdamW(weights, lr=rate, weight_decay=_WEIGHT_DECAY, fused=True)


def _adamw8bit(weights: list[Tensor], rate: float) -> Optimizer:
    from bitsandbytes.optim import AdamW8bit  # slow to import, and only wanted here

    optimizer: Optimizer = AdamW8bit(weights, lr=rate, weight_decay=_WEIGHT_DECAY)
    return optimizer


def _prodigy(weights: list[Tensor], rate: float) -> Optimizer:
    """Adam that estimates its own step size, of which `rate` is a factor. Source: Mishchenko, Defazio 2023."""
    from prodigyopt import Prodigy

    optimizer: Optimizer = Prodigy(weights, lr=rate, use_bias_correction=True)
    return optimizer


OPTIMIZERS: Mapping[str, Row] = {
    "adamw": Row(_adamw, state_bytes=8),
    "adamw8bit": Row(_adamw8bit, state_bytes=2),
    # It starts from almost nothing by itself: under a warm-up its estimate stands still for a hundred steps.
    "prodigy": Row(_prodigy, state_bytes=16, warmup=1),
}
