"""Draws the noise levels of a training from a timestep density, and weights the loss at each level.

Conventions: σ in (0, 1], where 1 is pure noise; x_σ = (1 − σ)·x₀ + σ·ε. The densities have their names from kohya and
ai-toolkit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engines.api.errors import BadInput

# Sampled from the table of ostris/ai-toolkit, toolkit/timestep_weighing/default_weighing_scheme.py.
_AI_TOOLKIT = ((0.0, 0.45), (0.1, 0.72), (0.3, 0.73), (0.5, 0.93), (0.7, 1.27), (0.9, 1.50), (1.0, 0.91))


@dataclass(frozen=True)
class Density:
    """Describes from which distribution noise levels σ are drawn, and how the loss is weighted at each level.

    `even`: σ is uniform; otherwise the logit of σ is normal, with `mean` and `std`. `shift`: factor by which levels are
    then shifted towards noise. `resolution_shift`: shift by the factor of the model's own scheduler instead, which
    depends on the picture's size. `weights`: points (σ, weight of the loss), in order of σ.
    """

    even: bool = False
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0
    resolution_shift: bool = False
    weights: tuple[tuple[float, float], ...] = ((0.0, 1.0), (1.0, 1.0))

    def sample(self, count: int, mu: float, generator: torch.Generator) -> Tensor:
        """Draws `count` noise levels, (count,) float32.

        `mu`: the logarithm of the scheduler's shift factor for the pictures' size; used only with `resolution_shift`.
        """
        if self.even:
            level = 1.0 - torch.rand(count, generator=generator)
        else:
            level = torch.sigmoid(self.mean + self.std * torch.randn(count, generator=generator))
        return shifted(level, math.exp(mu) if self.resolution_shift else self.shift)

    def weight(self, level: Tensor) -> Tensor:
        """Returns the weight of the loss for each noise level in `level`, (count,) float32.

        It is interpolated linearly between the points of `weights`.
        """
        at, value = (torch.tensor(column, device=level.device) for column in zip(*self.weights, strict=True))
        right = torch.searchsorted(at, level.contiguous()).clamp(1, len(self.weights) - 1)
        part = (level - at[right - 1]) / (at[right] - at[right - 1])
        return torch.lerp(value[right - 1], value[right], part)


DENSITIES = {
    "uniform": Density(even=True),
    "sigmoid": Density(),
    "logit_normal": Density(),  # what diffusers calls the same
    "shift": Density(shift=3.1582),  # sd-scripts' discrete_flow_shift for FLUX
    "resolution_shift": Density(resolution_shift=True),  # sd-scripts' flux_shift, musubi-tuner's qwen_shift
    "weighted": Density(even=True, weights=_AI_TOOLKIT),
}


def density(name: str) -> Density:
    """Returns the timestep density with this name, such as "uniform". Raises: BadInput for an unknown name."""
    if name not in DENSITIES:
        raise BadInput(f"There is no timestep density named {name}.", f"Choose one of: {', '.join(DENSITIES)}.")
    return DENSITIES[name]


def shifted(level: Tensor, factor: float) -> Tensor:
    """Returns noise levels shifted towards 1 (pure noise): factor·σ / (1 + (factor − 1)·σ).

    Source: time_shift in black-forest-labs/flux, where `factor` is e^μ.
    """
    return factor * level / (1.0 + (factor - 1.0) * level)
