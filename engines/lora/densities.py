"""Which noise levels a training visits, as rows of data.

Conventions: σ in (0, 1], 1 is pure noise; x_σ = (1 − σ)·x₀ + σ·ε. Densities carry the names that
kohya and ai-toolkit give them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engines.errors import BadInput


@dataclass(frozen=True)
class Density:
    """One way of drawing σ: even, or a logistic-normal bell; then shifted towards noise where asked.

    `shift` is a fixed factor e^μ; `resolution_shift` takes μ from the model's own scheduler, so that training
    sees the levels that drawing visits at that size.
    """

    even: bool = False
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0
    resolution_shift: bool = False

    def sample(self, count: int, mu: float, generator: torch.Generator) -> Tensor:
        """Noise levels (count,) float32; `mu` is the scheduler's shift for the pictures at hand."""
        if self.even:
            level = 1.0 - torch.rand(count, generator=generator)
        else:
            level = torch.sigmoid(self.mean + self.std * torch.randn(count, generator=generator))
        return shifted(level, math.exp(mu) if self.resolution_shift else self.shift)


DENSITIES = {
    "uniform": Density(even=True),
    "sigmoid": Density(),
    "logit_normal": Density(),  # what diffusers calls the same
    "shift": Density(shift=3.1582),  # sd-scripts' discrete_flow_shift for FLUX
    "resolution_shift": Density(resolution_shift=True),  # sd-scripts' flux_shift, musubi-tuner's qwen_shift
}


def density(name: str) -> Density:
    """A row by name. Raises: BadInput."""
    if name not in DENSITIES:
        raise BadInput(f"There is no timestep density named {name}.", f"Choose one of: {', '.join(DENSITIES)}.")
    return DENSITIES[name]


def shifted(level: Tensor, factor: float) -> Tensor:
    """σ pushed towards 1 by `factor` = e^μ. Source: time_shift in black-forest-labs/flux."""
    return factor * level / (1.0 + (factor - 1.0) * level)
