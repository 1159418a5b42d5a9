"""Distils the small editor into a LoRA for four steps without guidance, as Lightning does for the large editor."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from torch import Tensor

from engines.families.qwen_edit.training import QwenEditAdapter
from engines.mini.attention import spelled_out_attention
from engines.mini.configs import Model, pack
from engines.mini.loop import Schedule, autocast, train
from engines.mini.loras import Adapter
from engines.mini.train_edit import EditSet, changed, edit_levels, guided, mask_of, velocity
from engines.training.targets import ALL

STEPS = 4
FINER = 5
GUIDANCE = 4.0
FEW_STEPS = Adapter(
    name="few_steps", rank=32, targets=QwenEditAdapter.targets[ALL].pattern, base="mini-qwen-edit", family="qwen-edit",
    taught="few-step distillation",
)  # fmt: skip


@torch.no_grad()
def teacher_paths(model: Model, data: EditSet, count: int, seed: int, batch: int = 40) -> Tensor:
    """Samples the first `count` edits of `data` with the guided editor, to make the targets of a few-step LoRA.

    `model`: the editor without the LoRA; it takes `STEPS` × `FINER` Euler steps. Returns packed latents, bf16
    (count, STEPS + 1, 64, 64): of each edit the initial noise and the latents after every `FINER` steps, the last of
    which are the picture. `seed`: of the noise; `batch`: how many edits are denoised at a time.
    """
    coarse = edit_levels(STEPS)
    noise = torch.randn((count, 64, 64), generator=torch.Generator().manual_seed(seed))
    parts = []
    for start in range(0, count, batch):
        rows = torch.arange(start, min(start + batch, count))
        x = noise[rows].to(model.device)
        states = [x]
        for high, low in itertools.pairwise(coarse):
            for now, after in itertools.pairwise(torch.linspace(float(high), float(low), FINER + 1)):
                x = x + (after - now) * _guided(model, data, rows, x, now)
            states.append(x)
        parts.append(torch.stack(states, dim=1).bfloat16().cpu())
    return torch.cat(parts)


def _guided(model: Model, data: EditSet, rows: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """Returns the teacher's guided prediction for packed latents x (B, 64, 64) of the edits with indices `rows`."""
    reference, level = pack(data.before[rows].float()).to(x.device), sigma.expand(len(rows)).to(x.device)
    short = torch.full((len(rows),), data.negative_length)
    sides = ((data.embeds[rows], data.lengths[rows]), (data.negative_embeds[rows], short))
    with autocast(x.device):
        yes, no = (
            velocity(model, x, reference, level, text.float(), mask_of(lengths, text.shape[1])).float()
            for text, lengths in ((text.to(x.device), lengths.to(x.device)) for text, lengths in sides)
        )
    return guided(yes, no, GUIDANCE)


def train_few_steps(model: Model, data: EditSet, paths: Tensor, folder: Path, schedule: Schedule) -> dict[str, float]:
    """Adds a LoRA to `model` and trains it to take one step from each latent of `paths` to the next.

    `model`: the editor, whose own weights are frozen; `data`: the edits, with their pictures and instructions; `paths`:
    what `teacher_paths` returned for the first of these edits; `folder`: for the checkpoint, from which an interrupted
    training resumes. Returns a dict with the number of `steps`, the final `loss` and the number of trained
    `parameters`.
    """
    FEW_STEPS.add(model, schedule.seed)
    levels = edit_levels(STEPS)
    width = data.embeds.shape[1]

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        n = schedule.batch
        rows = torch.randint(len(paths), (n,), generator=generator)
        leap = torch.randint(STEPS, (n,), generator=generator)
        here, there = paths[rows, leap].float(), paths[rows, leap + 1].float()
        sigma, after = levels[leap], levels[leap + 1]
        reference = pack(data.before[rows].float())
        wanted = (there - here) / (after - sigma)[:, None, None]
        given = here, reference, sigma, data.embeds[rows].float(), mask_of(data.lengths[rows], width)
        with autocast(schedule.device):
            out = velocity(model, *(x.to(schedule.device) for x in given))
        error = (out.float() - wanted.to(schedule.device)).pow(2).mean(dim=-1)
        return (changed(paths[rows, -1].float(), reference).to(schedule.device) * error).mean()

    with spelled_out_attention():
        return train("few_steps", folder, {"transformer": model}, loss_of, schedule)
