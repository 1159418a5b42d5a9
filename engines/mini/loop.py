"""Runs the training loop that all stages share: seeded by step, checkpointed, resumable, with progress and ETA."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from engines.mini.export import save_tensors


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Holds the settings of a stage's training; the learning rate warms up, stays at `lr`, and falls to zero.

    `warmup`: in steps; `decay`: the share of the steps over which the rate falls. `ema`: the decay of the weights'
    moving average, 0 for no average. `muon`: weight matrices with this text in their names are trained by Muon (Jordan
    et al. 2024), all other weights by AdamW; "" uses AdamW alone. `device`: where the stage trains.
    """

    steps: int
    lr: float
    batch: int
    warmup: int = 60
    decay: float = 0.4
    ema: float = 0.0
    weight_decay: float = 0.01
    muon: str = ""
    seed: int = 0
    device: torch.device = field(default_factory=torch.get_default_device)

    def lr_at(self, step: int) -> float:
        """Returns the learning rate of a step; the first step is 0."""
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.lr * min(1.0, (step + 1) / max(1, self.warmup), max(0.0, left))

    def optimizers(self, modules: dict[str, nn.Module]) -> list[torch.optim.Optimizer]:
        """Creates the optimisers of the modules' weights: AdamW, and Muon if any matrices match the setting `muon`.

        Muon's steps are scaled to the size of AdamW's.
        """
        named = [(name, p) for m in modules.values() for name, p in m.named_parameters() if p.requires_grad]
        matrices = [p for name, p in named if self.muon and self.muon in name and p.ndim == 2]
        ours = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in ours]
        adamw = torch.optim.AdamW(rest, lr=self.lr, weight_decay=self.weight_decay, betas=(0.9, 0.98))
        if not matrices:
            return [adamw]
        decay, scale = self.weight_decay, "match_rms_adamw"
        return [torch.optim.Muon(matrices, lr=self.lr, weight_decay=decay, adjust_lr_fn=scale), adamw]


Loss = Callable[[int, torch.Generator], Tensor]  # of (step, generator): a scalar


def autocast(device: torch.device) -> torch.autocast:
    """Returns a context manager in which torch computes in bf16 on `device`."""
    return torch.autocast(device.type, torch.bfloat16)


def train(
    stage: str,
    folder: Path,
    modules: dict[str, nn.Module],
    loss_of: Loss,
    schedule: Schedule,
    save_every: float = 60.0,
) -> dict[str, float]:
    """Trains `modules` together until the schedule ends, from the last checkpoint if there is one.

    A checkpoint that was trained for longer than the schedule is replaced and not used. `stage`: the stage's name, also
    used for the checkpoint file. `loss_of(step, generator)`: returns the loss of a step; it draws its random numbers
    from `generator`, on the CPU, so that all devices get the same. `folder`: gets the checkpoint, every `save_every`
    seconds and at the end. The modules end on the CPU, with the moving average as their weights if the schedule has
    one. Returns a dictionary: `steps`, `loss` (smoothed, at the end) and `parameters` (their number).
    """
    # 1. The modules, their optimisers and averages, as the last checkpoint has them.
    path = folder / f"{stage}.pt"
    for m in modules.values():
        m.to(schedule.device)
    parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
    optimizers = schedule.optimizers(modules)
    average = [p.detach().clone() for p in parameters] if schedule.ema else []
    first, smooth = _resume(path, modules, optimizers, average, schedule.steps)
    started = saved = time.monotonic()

    # 2. The steps.
    for step in range(first, schedule.steps):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = schedule.lr_at(step)
        generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
        loss = loss_of(step, generator)
        for p in parameters:
            p.grad = None
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        decay = min(schedule.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, p in zip(average, parameters, strict=False):
                mean.lerp_(p, 1 - decay)
        value = loss.item()
        smooth = value if math.isnan(smooth) else 0.98 * smooth + 0.02 * value
        if step % 25 == 0 or step + 1 == schedule.steps:
            rate = (time.monotonic() - started) / (step - first + 1)
            eta = rate * (schedule.steps - step - 1) / 60
            line = {"stage": stage, "step": step, "of": schedule.steps, "loss": round(smooth, 5)}
            print(json.dumps(line | {"s_per_step": round(rate, 3), "eta_min": round(eta, 1)}), flush=True)
        if time.monotonic() - saved > save_every or step + 1 == schedule.steps:
            _save(path, modules, optimizers, average, step + 1, smooth)
            saved = time.monotonic()

    # 3. The averages in the weights' place, back on the host.
    for p, mean in zip(parameters, average, strict=False):
        p.data.copy_(mean)
    for m in modules.values():
        m.cpu()
    return {"steps": schedule.steps, "loss": round(smooth, 5), "parameters": sum(p.numel() for p in parameters)}


def _save(
    path: Path,
    modules: dict[str, nn.Module],
    optimizers: list[torch.optim.Optimizer],
    average: list[Tensor],
    step: int,
    smooth: float,
) -> None:
    """Writes a checkpoint completely or not at all; `step` is the next step, `smooth` the smoothed loss."""
    state = {
        "modules": {name: m.state_dict() for name, m in modules.items()},
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "average": average,
        "step": step,
        "smooth": smooth,
    }
    save_tensors(state, path)


def _resume(
    path: Path, modules: dict[str, nn.Module], optimizers: list[torch.optim.Optimizer], average: list[Tensor], most: int
) -> tuple[int, float]:
    """Loads a checkpoint, if there is one of at most `most` steps; returns the next step and the smoothed loss."""
    if not path.exists():
        return 0, math.nan
    state = torch.load(path, weights_only=True, map_location=torch.get_default_device())  # optimisers move their own
    if state["step"] > most:
        return 0, math.nan
    for name, module in modules.items():
        module.load_state_dict(state["modules"][name])
    for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    for mean, kept in zip(average, state["average"], strict=True):
        mean.copy_(kept)
    return int(state["step"]), float(state["smooth"])


def emphasis(change: Tensor, most: float = 12.0) -> Tensor:
    """Returns loss weights of tokens (B, L), larger where `change` (B, L), such as an edit's effect, is larger.

    A weight is 1 plus the ratio of the token's change to its picture's mean change; this ratio is clipped at `most`.
    """
    return 1 + (change / change.mean(dim=1, keepdim=True).clamp_min(1e-3)).clamp(max=most)
