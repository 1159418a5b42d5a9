"""Tests the training loop of the embedded models' stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engines.mini.loop import Schedule, train

pytestmark = pytest.mark.slow

PLAN = Schedule(steps=40, lr=0.4, batch=16, warmup=1, ema=0.5, muon="matrix", seed=1)


class Line(nn.Module):
    """Learns y = 3x; Muon has its matrix, AdamW its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Linear(4, 4)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """Returns the mean squared error on numbers drawn for this step."""
        x = torch.randn((PLAN.batch, 4), generator=generator)
        return (self.matrix(x) - 3 * x).pow(2).mean()


def line(seed: int) -> Line:
    """Returns a model with random weights."""
    torch.manual_seed(seed)
    return Line()


def stopping(loss: Callable[[int, torch.Generator], Tensor], at: int) -> Callable[[int, torch.Generator], Tensor]:
    """Returns a loss that is interrupted at a step."""

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        if step == at:
            raise KeyboardInterrupt
        return loss(step, generator)

    return loss_of


def test_a_finished_stage_keeps_what_it_learned(tmp_path: Path) -> None:
    """The loss falls; started again, the stage loads the same averaged weights without another step."""
    model = line(0)
    first = model.loss(0, torch.Generator().manual_seed(9)).item()
    train("line", tmp_path, {"line": model}, model.loss, PLAN)
    assert model.loss(0, torch.Generator().manual_seed(9)).item() < 0.5 * first
    again = line(5)
    train("line", tmp_path, {"line": again}, stopping(again.loss, PLAN.steps - 1), PLAN)
    assert torch.equal(again.matrix.weight, model.matrix.weight)


def test_a_longer_training_is_no_checkpoint_of_a_shorter(tmp_path: Path) -> None:
    """A schedule with fewer steps than the checkpoint has trains from the start, as many steps as it says."""
    longer, fresh, shorter = line(0), line(0), line(0)
    plan = replace(PLAN, steps=10)
    train("line", tmp_path / "a", {"line": longer}, longer.loss, PLAN)
    whole = train("line", tmp_path / "b", {"line": fresh}, fresh.loss, plan)
    assert train("line", tmp_path / "a", {"line": shorter}, shorter.loss, plan) == whole
    assert torch.equal(shorter.matrix.weight, fresh.matrix.weight)


def test_no_warmup_begins_with_the_full_rate() -> None:
    """A warmup of 0 steps is one of 1: the first step has the schedule's own rate."""
    assert replace(PLAN, warmup=0).lr_at(0) == replace(PLAN, warmup=1).lr_at(0) == PLAN.lr


@pytest.mark.parametrize(("save_every", "saved"), [(0.0, 23), (60.0, None)])
def test_an_interrupted_stage_begins_where_its_checkpoint_is(
    save_every: float, saved: int | None, tmp_path: Path
) -> None:
    """From a checkpoint, or from the start where there is none yet, it ends with the weights of an unbroken run."""
    unbroken, broken, again = line(0), line(0), line(5 if saved else 0)
    whole = train("line", tmp_path / "a", {"line": unbroken}, unbroken.loss, PLAN)
    path = tmp_path / "b" / "line.pt"
    with pytest.raises(KeyboardInterrupt):
        train("line", path.parent, {"line": broken}, stopping(broken.loss, 23), PLAN, save_every)
    assert path.exists() == bool(saved)
    seen: list[int] = []

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        seen.append(step)
        return again.loss(step, generator)

    assert train("line", path.parent, {"line": again}, loss_of, PLAN) == whole
    assert seen == list(range(saved or 0, PLAN.steps))
    assert torch.equal(unbroken.matrix.weight, again.matrix.weight)
    assert torch.equal(unbroken.matrix.bias, again.matrix.bias)
