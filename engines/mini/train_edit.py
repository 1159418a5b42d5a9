"""Trains the small Qwen-Image-Edit: (drawing, instruction) → drawing, conditioned on the frozen captioner."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engines.mini import configs
from engines.mini.attention import spelled_out_attention
from engines.mini.configs import Model, pack
from engines.mini.loop import Schedule, autocast, emphasis, train
from engines.mini.train_flux import draw_sigma

SHAPES = [(1, 8, 8), (1, 8, 8)]
DROPOUT = 0.1
NEGATIVE = " "


@dataclass(frozen=True)
class EditSet:
    """Holds the training data of N edits.

    `before`, `after`: the normalised latents of the pictures (N, 16, 16, 16). `embeds` (N, L, 192), `lengths` (N,): the
    hidden states of the instructions, and their numbers of tokens. `negative_embeds` (M, l, 192), `negative_length`:
    the same for the negative prompt, encoded with the pictures of the first M edits. `weights` (N,): how often an edit
    is drawn, relative to others; more often for kinds that are hard to learn.
    """

    before: Tensor
    after: Tensor
    embeds: Tensor  # (N, L, 192)
    lengths: Tensor  # (N,)
    negative_embeds: Tensor  # (M, l, 192)
    negative_length: int
    weights: Tensor


def mask_of(lengths: Tensor, width: int) -> Tensor:
    """Returns a mask (B, width): in each row as many ones as `lengths` (B,) says, then zeros."""
    return (torch.arange(width, device=lengths.device)[None] < lengths[:, None]).long()


def velocity(
    model: Model,
    tokens: Tensor,
    reference: Tensor,
    sigma: Tensor,
    text: Tensor,
    mask: Tensor | None,
) -> Tensor:
    """Predicts the velocity (noise − picture) of packed latents (B, 64, 64), given a clean reference (B, 64, 64).

    `sigma` (B,): noise levels; `text` (B, L, 192): encoded instructions; `mask` (B, L): 1 for their tokens, 0 for
    padding; None where there is no padding.
    """
    out: Tensor = model(
        hidden_states=torch.cat([tokens, reference], dim=1),
        timestep=sigma,
        encoder_hidden_states=text,
        encoder_hidden_states_mask=mask,
        img_shapes=[SHAPES] * len(tokens),
        return_dict=False,
    )[0]
    return out[:, : tokens.shape[1]]


def changed(clean: Tensor, reference: Tensor) -> Tensor:
    """Returns loss weights (B, 64) of the tokens, larger where the edit changes the picture more.

    So a change of a small part, such as the mouth, counts in the loss. `clean`, `reference`: packed latents after and
    before the edit.
    """
    return emphasis((clean - reference).norm(dim=-1))


def train_edit(
    data: EditSet, folder: Path, schedule: Schedule, compiled: bool = False
) -> tuple[Model, dict[str, float]]:
    """Trains the editor's transformer; returns it, and a dictionary with its steps, loss and number of parameters.

    `folder`: gets the checkpoint; `compiled`: use torch.compile.
    """
    torch.manual_seed(schedule.seed)
    model = configs.qwen_transformer()
    return model, teach_edits(model, "edit", data, folder, schedule, compiled)


def teach_edits(
    model: Model,
    stage: str,
    data: EditSet,
    folder: Path,
    schedule: Schedule,
    compiled: bool = False,
    sigmas: Callable[[int, torch.Generator], Tensor] = draw_sigma,
) -> dict[str, float]:
    """Trains those weights of an editor's transformer that are not frozen; returns steps, loss, number of parameters.

    `stage`: the stage's name; `folder`: gets the checkpoint; `compiled`: use torch.compile; `sigmas`: draws noise
    levels, given their number. One edit in ten gets the negative prompt in place of its instruction, so that true
    classifier-free guidance works.
    """
    predict = torch.compile(velocity, dynamic=False) if compiled else velocity
    width = data.embeds.shape[1]

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        n = schedule.batch
        rows = torch.multinomial(data.weights, n, replacement=True, generator=generator)
        dropped = torch.rand(n, generator=generator) < DROPOUT
        rows = torch.where(dropped, rows % len(data.negative_embeds), rows)
        text, lengths = data.embeds[rows].clone(), data.lengths[rows].clone()
        text[dropped] = 0
        text[dropped, : data.negative_embeds.shape[1]] = data.negative_embeds[rows[dropped]]
        lengths[dropped] = data.negative_length
        clean, reference = pack(data.after[rows].float()), pack(data.before[rows].float())
        noise = torch.randn(clean.shape, generator=generator)
        sigma = sigmas(n, generator)
        noisy = torch.lerp(clean, noise, sigma[:, None, None])
        given = noisy, reference, sigma, text.float(), mask_of(lengths, width)
        with autocast(schedule.device):
            out = predict(model, *(x.to(schedule.device) for x in given))
        clean, reference, noise = (x.to(schedule.device) for x in (clean, reference, noise))
        error = (out.float() - (noise - clean)).pow(2).mean(dim=-1)
        return (changed(clean, reference) * error).mean()

    with spelled_out_attention():
        return train(stage, folder, {"transformer": model}, loss_of, schedule)


def edit_levels(steps: int) -> Tensor:
    """Returns the noise levels that Qwen-Image-Edit-2511's scheduler sets for a picture of 64 tokens.

    They fall from 1 to 0: (steps + 1,) float32.
    """
    scheduler = configs.qwen_scheduler()
    slope = (0.9 - 0.5) / (8192 - 256)
    mu = 0.5 + slope * (64 - 256)
    scheduler.set_timesteps(sigmas=[1 - i * (1 - 1 / steps) / (steps - 1) for i in range(steps)], mu=mu)
    levels: Tensor = scheduler.sigmas.float()
    return levels


def guided(yes: Tensor, no: Tensor, scale: float) -> Tensor:
    """Returns the classifier-free guided prediction, each token scaled to the norm of the prediction `yes`.

    `yes`, `no`: the predictions (B, 64, 64) for the instruction and for the negative prompt; `scale`: the guidance
    scale.
    """
    mixed = no + scale * (yes - no)
    length: Tensor = yes.norm(dim=-1, keepdim=True) / mixed.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return mixed * length


@torch.no_grad()
def edit(
    model: Model,
    before: Tensor,
    prompts: tuple[Tensor, Tensor],
    negatives: tuple[Tensor, Tensor],
    seed: int,
    steps: int = 20,
    scale: float = 4.0,
    batch: int = 48,
) -> Tensor:
    """Edits pictures by Euler steps with true classifier-free guidance; returns normalised latents (N, 16, 16, 16).

    `before`: the normalised latents to edit, of the same shape. `prompts`, `negatives`: the hidden states and lengths
    that `embed_edits` returns, of the instructions and of the negative prompt. `scale`: the guidance scale; `batch`:
    the number of edits that are computed at once.
    """
    noise = torch.randn((len(before), 64, 64), generator=torch.Generator().manual_seed(seed))
    levels = edit_levels(steps)
    parts = []
    for start in range(0, len(before), batch):
        rows = slice(start, start + batch)
        x, reference = noise[rows], pack(before[rows].float())
        sides = [(text[rows].float(), mask_of(lengths[rows], text.shape[1])) for text, lengths in (prompts, negatives)]
        with autocast(x.device):
            for now, after in itertools.pairwise(levels):
                sigma = now.expand(len(x))
                yes, no = (velocity(model, x, reference, sigma, text, mask).float() for text, mask in sides)
                x = x + (after - now) * guided(yes, no, scale)
        parts.append(configs.unpack(x))
    return torch.cat(parts)
