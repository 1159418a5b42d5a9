"""What a step lowers, as terms that add up: the flow-matching loss, and what keeps the class as the base has it.

What a term is shown is a function of (seed, batch number) alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from engines.api.params import TrainParams
from engines.training.data import BatchOrder, Tensors, seeded
from engines.training.densities import density
from engines.training.encoding import Encoded
from engines.training.examples import Examples
from engines.training.family import Family


@dataclass(frozen=True)
class Draw:
    """What one forward pass is shown: a batch, its noise (B, C, h, w), its noise levels (B,).

    `count` is how many examples the batch has in all; several processes are each shown some of them.
    """

    batch: Tensors
    noise: Tensor
    sigma: Tensor
    count: int


class Term(Protocol):
    """One summand of the loss, counting `weight` times."""

    weight: float

    def draw(self, number: int, ours: Sequence[int], device: torch.device) -> Draw | None:
        """Our rows of a batch, counted from the start of the training; None where there is nothing to say of them."""
        ...

    def losses(self, transformer: Any, draw: Draw) -> Tensor:
        """Of each example (B,), before `weight`."""
        ...


def terms(family: Family, encoded: Encoded, params: TrainParams) -> list[Term]:
    """What this training lowers; the first is what the adapter is trained for."""
    draws = _Draws(family, encoded.examples, params)
    found: list[Term] = [Flow(family, draws, params)]
    if params.prior_weight:
        found.append(Flow(family, _Draws(family, encoded.classes, params), params, params.prior_weight))
    if params.dop_weight:
        found.append(Preservation(family, draws, params.guidance, params.dop_weight))
    return found


class Flow:
    """The flow-matching loss; over pictures of the class, it is DreamBooth's prior preservation."""

    def __init__(self, family: Family, draws: _Draws, params: TrainParams, weight: float = 1.0) -> None:
        self.weight = weight
        self._family, self._draws = family, draws
        self._guidance = params.guidance
        self._density = density(params.timestep_density)

    def draw(self, number: int, ours: Sequence[int], device: torch.device) -> Draw | None:
        """Pictures with their words."""
        return self._draws.batch(number, ours, device)

    def losses(self, transformer: Any, draw: Draw) -> Tensor:
        """Of the velocity, each noise level counting as the density says."""
        losses = self._family.losses(transformer, draw.batch, draw.noise, draw.sigma, self._guidance)
        return losses * self._density.weight(draw.sigma)


class Preservation:
    """Differential output preservation: told of the class instead of the trigger, the model answers as its base does.

    Source: ostris/ai-toolkit, `diff_output_preservation` in extensions_built_in/sd_trainer/SDTrainer.py.
    """

    def __init__(self, family: Family, draws: _Draws, guidance: float, weight: float) -> None:
        self.weight = weight
        self._family, self._draws, self._guidance = family, draws, guidance

    def draw(self, number: int, ours: Sequence[int], device: torch.device) -> Draw | None:
        """Those pictures of the same batch whose captions hold the trigger, with the class's words."""
        return self._draws.of_class(number, ours, device)

    def losses(self, transformer: Any, draw: Draw) -> Tensor:
        """Of the velocity with the adapter on against that with it off."""
        shown = (draw.batch, draw.noise, draw.sigma, self._guidance)
        # The adapter is on again before the graph is built: checkpointing runs that forward once more in the backward.
        with torch.no_grad(), _adapter_off(transformer):
            base = self._family.predict(transformer, *shown)
        return (self._family.predict(transformer, *shown) - base).square().mean(dim=(1, 2))


class _Draws:
    """Examples to batches with their noise."""

    def __init__(self, family: Family, examples: Examples, params: TrainParams) -> None:
        self._family, self._examples, self._params = family, examples, params
        self._density = density(params.timestep_density)
        self._order = BatchOrder(examples.shapes(), params.batch_size, params.seed)

    def batch(self, number: int, ours: Sequence[int], device: torch.device) -> Draw | None:
        """Examples with their words, some without; outside a mask they count as much as the knob says."""
        chosen, wordless, mirrored, generator = self._begin(number)
        each = zip(chosen, wordless, mirrored, strict=True)
        rows = [self._examples.row(index, wordless=drop, mirrored=turn) for index, drop, turn in each]
        draw = self._noised(rows, [at for at in ours if at < len(rows)], generator, device)
        if draw is None or "mask" not in draw.batch:
            return draw
        outside = self._params.mask_outside
        return replace(draw, batch={**draw.batch, "mask": outside + (1 - outside) * draw.batch["mask"]})

    def of_class(self, number: int, ours: Sequence[int], device: torch.device) -> Draw | None:
        """Those of the same examples that name the trigger, told of the class instead; None if there is none."""
        chosen, _, mirrored, generator = self._begin(number)
        rows = [self._examples.class_row(index, mirrored=turn) for index, turn in zip(chosen, mirrored, strict=True)]
        told = [(at, row) for at, row in enumerate(rows) if row]
        mine = [place for place, (at, _) in enumerate(told) if at in ours]
        return self._noised([row for _, row in told], mine, generator, device)

    def _begin(self, number: int) -> tuple[list[int], list[bool], list[bool], torch.Generator]:
        """Indices, who is without words, who is mirrored; the mirror has dice of its own, for it may be off."""
        generator = seeded(self._params.seed, "noise", number)
        chosen = self._order.batch(number)
        wordless = torch.rand(len(chosen), generator=generator) < self._params.caption_dropout
        turned = torch.rand(len(chosen), generator=seeded(self._params.seed, "mirror", number)) < 0.5
        return chosen, wordless.tolist(), (turned & self._params.flip).tolist(), generator

    def _noised(
        self, rows: Sequence[Tensors], ours: list[int], generator: torch.Generator, device: torch.device
    ) -> Draw | None:
        """Everybody draws the noise of all rows and keeps that of their own."""
        if not ours:
            return None
        batch = self._family.collate(rows)
        latents = batch["latents"]
        noise = torch.randn(latents.shape, generator=generator)
        sigma = self._density.sample(len(latents), self._family.shift(latents), generator)
        mine = {name: value[ours].to(device) for name, value in batch.items()}
        return Draw(mine, noise[ours].to(device), sigma[ours].to(device), len(rows))


@contextmanager
def _adapter_off(transformer: Any) -> Iterator[None]:
    transformer.disable_adapters()
    try:
        yield
    finally:
        transformer.enable_adapters()
