"""The flow-matching schedule and its Euler steps, as diffusers' pipelines take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from engines.api.errors import BadInput

Velocity = Callable[[Tensor, float], Tensor]
Tick = Callable[[int, int], None]  # (steps done, steps in all)


def dynamic_shift(config: Mapping[str, Any], image_tokens: int) -> float:
    """The μ of resolution-dependent shifting, linear in the packed tokens of the picture.

    Source: `calculate_shift` in diffusers' pipeline_flux.py.
    """
    base_tokens, max_tokens = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base_shift, max_shift = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (max_shift - base_shift) / (max_tokens - base_tokens)
    return float(base_shift + slope * (image_tokens - base_tokens))


ENOUGH_STEPS = 2  # for any schedule


def demand_steps(scheduler_config: Mapping[str, Any], steps: int) -> None:
    """Refuse fewer steps than a schedule can follow: one stretched to end at a level needs one to begin at, too.

    Raises: BadInput.
    """
    least = 2 if scheduler_config.get("shift_terminal") else 1
    if steps < least:
        raise BadInput(
            f"{steps} step{'s' * (steps != 1)} cannot follow this noise schedule.", f"Ask for at least {least} steps."
        )


def sigmas(scheduler_config: Mapping[str, Any], steps: int, image_tokens: int) -> Tensor:
    """Noise levels from 1 to 0, one more than there are steps, shifted as the model was trained for.

    `image_tokens`: packed tokens of the picture to draw, references not counted. Returns (steps + 1,) float32.
    """
    return shifted_sigmas(scheduler_config, steps, dynamic_shift(scheduler_config, image_tokens))


def shifted_sigmas(scheduler_config: Mapping[str, Any], steps: int, mu: float) -> Tensor:
    """The same for a family that has a μ of its own: even levels shifted by it, (steps + 1,) float32."""
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(scheduler_config))
    even = np.linspace(1.0, 1 / steps, steps)
    scheduler.set_timesteps(sigmas=even.tolist(), mu=mu)
    return scheduler.sigmas.clone()


def noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise (len(seeds), *shape) float32; each picture's depends on its own seed alone.

    It is drawn on the CPU, so that a picture is the same on every device and in every batch.
    """
    return torch.stack([torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds])


def euler(velocity: Velocity, latents: Tensor, levels: Tensor, tick: Tick) -> Tensor:
    """Follow the velocity from noise to picture: x ← x + (σ′ − σ)·v, in float32.

    `velocity(latents, sigma)` answers dx/dσ = noise − picture; `tick(done, total)` may raise Cancelled.
    """
    steps = [float(level) for level in levels]
    for index, (sigma, following) in enumerate(pairwise(steps)):
        latents = latents + (following - sigma) * velocity(latents, sigma).float()
        tick(index + 1, len(steps) - 1)
    return latents
