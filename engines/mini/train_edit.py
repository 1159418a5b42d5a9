"""Trains the small Qwen-Image-Edit: (drawing, instruction) → drawing, conditioned by the frozen captioner's states."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import QwenImageTransformer2DModel
from torch import Tensor

from engines.mini import configs
from engines.mini.attention import spelled_out_attention
from engines.mini.configs import pack
from engines.mini.loop import Schedule, autocast, emphasis, train
from engines.mini.train_flux import draw_sigma

SHAPES = [(1, 8, 8), (1, 8, 8)]
DROPOUT = 0.1
NEGATIVE = " "


@dataclass(frozen=True)
class EditSet:
    """Normalised latents before and after (N, 16, 16, 16), the told embeds and those of " " for the first M pairs.

    `weights` (N,) says how often a pair is drawn: what is hard to learn is seen more.
    """

    before: Tensor
    after: Tensor
    told: Tensor
    told_lengths: Tensor
    untold: Tensor
    untold_length: int
    weights: Tensor


def mask_of(lengths: Tensor, width: int) -> Tensor:
    """Turn lengths (B,) into a 0/1 mask (B, width)."""
    return (torch.arange(width, device=lengths.device)[None] < lengths[:, None]).long()


def velocity(
    model: QwenImageTransformer2DModel,
    tokens: Tensor,
    reference: Tensor,
    sigma: Tensor,
    text: Tensor,
    mask: Tensor | None,
) -> Tensor:
    """Predict noise − picture for packed latents (B, 64, 64) beside a clean reference (B, 64, 64)."""
    out = model(
        hidden_states=torch.cat([tokens, reference], dim=1),
        timestep=sigma,
        encoder_hidden_states=text,
        encoder_hidden_states_mask=mask,
        img_shapes=[SHAPES] * len(tokens),
        return_dict=False,
    )[0]
    return out[:, : tokens.shape[1]]


def changed(clean: Tensor, reference: Tensor) -> Tensor:
    """Weigh tokens (B, 64) by what the edit changes, so that a new mouth counts as much as a new background."""
    return emphasis((clean - reference).norm(dim=-1))


def train_edit(
    data: EditSet, folder: Path, schedule: Schedule, compiled: bool = False
) -> tuple[QwenImageTransformer2DModel, dict[str, float]]:
    """Train the editor's transformer; one pair in ten is told nothing, so that true CFG works."""
    torch.manual_seed(schedule.seed)
    model = configs.qwen_transformer()
    predict = torch.compile(velocity, dynamic=False) if compiled else velocity
    width = data.told.shape[1]

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        n = schedule.batch
        rows = torch.multinomial(data.weights, n, replacement=True, generator=generator)
        dropped = torch.rand(n, generator=generator) < DROPOUT
        rows = torch.where(dropped, rows % len(data.untold), rows)
        text, lengths = data.told[rows].clone(), data.told_lengths[rows].clone()
        text[dropped] = 0
        text[dropped, : data.untold.shape[1]] = data.untold[rows[dropped]]
        lengths[dropped] = data.untold_length
        clean, reference = pack(data.after[rows].float()), pack(data.before[rows].float())
        noise = torch.randn(clean.shape, generator=generator)
        sigma = draw_sigma(n, generator)
        noisy = torch.lerp(clean, noise, sigma[:, None, None])
        given = noisy, reference, sigma, text.float(), mask_of(lengths, width)
        with autocast(schedule.device):
            out = predict(model, *(x.to(schedule.device) for x in given))
        clean, reference, noise = (x.to(schedule.device) for x in (clean, reference, noise))
        error = (out.float() - (noise - clean)).pow(2).mean(dim=-1)
        return (changed(clean, reference) * error).mean()

    with spelled_out_attention():
        return model, train("edit", folder, {"transformer": model}, loss_of, schedule)


def edit_levels(steps: int) -> Tensor:
    """Give the noise levels of Qwen-Image-Edit-2511's scheduler for a 64-token picture, (steps + 1,)."""
    scheduler = configs.qwen_scheduler()
    slope = (0.9 - 0.5) / (8192 - 256)
    mu = 0.5 + slope * (64 - 256)
    scheduler.set_timesteps(sigmas=[1 - i * (1 - 1 / steps) / (steps - 1) for i in range(steps)], mu=mu)
    return scheduler.sigmas.float()


def guided(yes: Tensor, no: Tensor, scale: float) -> Tensor:
    """Mix predictions by true CFG, each token's length kept as it was with the words."""
    mixed = no + scale * (yes - no)
    return mixed * (yes.norm(dim=-1, keepdim=True) / mixed.norm(dim=-1, keepdim=True).clamp_min(1e-6))


@torch.no_grad()
def edit(
    model: QwenImageTransformer2DModel,
    before: Tensor,
    told: tuple[Tensor, Tensor],
    untold: tuple[Tensor, Tensor],
    seed: int,
    steps: int = 20,
    scale: float = 4.0,
    batch: int = 48,
) -> Tensor:
    """Edit normalised latents (N, 16, 16, 16) by Euler steps with true CFG, each token's length kept."""
    noise = torch.randn((len(before), 64, 64), generator=torch.Generator().manual_seed(seed))
    levels = edit_levels(steps)
    parts = []
    for start in range(0, len(before), batch):
        rows = slice(start, start + batch)
        x, reference = noise[rows], pack(before[rows].float())
        sides = [(text[rows].float(), mask_of(lengths[rows], text.shape[1])) for text, lengths in (told, untold)]
        with autocast(x.device):
            for now, after in itertools.pairwise(levels):
                sigma = now.expand(len(x))
                yes, no = (velocity(model, x, reference, sigma, text, mask).float() for text, mask in sides)
                x = x + (after - now) * guided(yes, no, scale)
        parts.append(configs.unpack(x))
    return torch.cat(parts)
