"""Computes the flow-matching schedule and its Euler steps, as diffusers' pipelines do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from engines.api.errors import BadInput
from engines.api.protocols import Loaded
from engines.catalogue.shapes import Config

Velocity = Callable[[Tensor, float], Tensor]  # latents, sigma -> dx/dσ
Tick = Callable[[int, int], None]  # steps done, total steps
ENOUGH_STEPS = 2  # for any schedule


def dynamic_shift(config: Config, image_tokens: int) -> float:
    """Returns the μ of resolution-dependent shifting, which is linear in the number of image tokens.

    `config`: the scheduler's configuration; `image_tokens`: the number of the picture's packed tokens. Source:
    `calculate_shift` in diffusers' pipeline_flux.py.
    """
    base_tokens, max_tokens = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base_shift, max_shift = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (max_shift - base_shift) / (max_tokens - base_tokens)
    return float(base_shift + slope * (image_tokens - base_tokens))


def demand_steps(scheduler_config: Config, steps: int) -> None:
    """Checks that a noise schedule can be computed for this number of steps. Raises: BadInput.

    A schedule with `shift_terminal`, which is stretched to end at a given noise level, needs two steps; any other needs
    one.
    """
    least = 2 if scheduler_config.get("shift_terminal") else 1
    if steps < least:
        hint = f"Ask for at least {least} step{'s' * (least > 1)}."
        raise BadInput(f"{steps} step{'s' * (steps != 1)} cannot follow this noise schedule.", hint)


def sigmas(scheduler_config: Config, steps: int, image_tokens: int) -> Tensor:
    """Returns the noise levels from 1 to 0, (steps + 1,) float32, shifted as the model's scheduler shifts them.

    `image_tokens`: the number of packed tokens of the picture to generate, without those of reference pictures.
    """
    return shifted_sigmas(scheduler_config, steps, dynamic_shift(scheduler_config, image_tokens))


def shifted_sigmas(scheduler_config: Config, steps: int, mu: float) -> Tensor:
    """Returns the noise levels from 1 to 0, (steps + 1,) float32: evenly spaced, then shifted by `mu`.

    It is for a model family that computes μ itself; `sigmas` computes it from the scheduler's configuration.
    """
    scheduler: Loaded = FlowMatchEulerDiscreteScheduler.from_config(dict(scheduler_config))
    even = np.linspace(1.0, 1 / steps, steps)
    scheduler.set_timesteps(sigmas=even.tolist(), mu=mu)
    levels: Tensor = scheduler.sigmas.clone()
    return levels


def noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Returns standard normal noise (len(seeds), *shape) float32; each picture's noise depends only on its own seed.

    It is drawn on the CPU, so that a picture is the same on every device and in every batch.
    """
    return torch.stack([torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds])


def euler(velocity: Velocity, latents: Tensor, levels: Tensor, tick: Tick) -> Tensor:
    """Integrates the velocity from noise to picture: x ← x + (σ′ − σ)·v, in float32; returns the final latents.

    `velocity(latents, sigma)` returns dx/dσ = noise − picture; `levels`: the falling noise levels, one more than there
    are steps; `tick(done, total)` is called after each step and may raise Cancelled.
    """
    steps = [float(level) for level in levels]
    for index, (sigma, following) in enumerate(pairwise(steps)):
        latents = latents + (following - sigma) * velocity(latents, sigma).float()
        tick(index + 1, len(steps) - 1)
    return latents
