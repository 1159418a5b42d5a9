"""Computes the terms of a training's loss: flow matching, and terms that preserve the base model's class.

Each term's batches are a function of (seed, batch number) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from engines.api.params import TrainParams
from engines.training.data import BatchOrder, Tensors, seeded
from engines.training.densities import density
from engines.training.encoding import Encoded
from engines.training.examples import Examples
from engines.training.family import Family, Transformer


@dataclass(frozen=True)
class Batch:
    """Holds the input of one forward pass of the transformer.

    `tensors`: the examples' encodings, by name; `noise`: (B, C, h, w); `sigma`: noise levels (B,). With several
    processes, B counts the examples that this process computes, and `count` those of all processes together.
    """

    tensors: Tensors
    noise: Tensor
    sigma: Tensor
    count: int


class Term(Protocol):
    """Interface of one term of the training loss; the loss is the sum of all terms, each times its `weight`."""

    weight: float

    def batch(self, number: int, ours: Sequence[int], device: torch.device) -> Batch | None:
        """Loads those examples of a batch that this process computes; returns None if there are none.

        `number`: counts batches from 0 since the training began; `ours`: the positions of this process's examples in
        the batch.
        """
        ...

    def losses(self, transformer: Transformer, batch: Batch) -> Tensor:
        """Returns the loss of each example, (B,), not yet multiplied by the term's `weight`."""
        ...


def terms(family: Family, encoded: Encoded, params: TrainParams) -> list[Term]:
    """Returns the terms of the training loss that the parameters ask for, of which the first is always flow matching.

    `encoded`: the training's encoded examples. Of the terms only the first is shown to the user as the loss.
    """
    batches = _Batches(family, encoded.examples, params)
    found: list[Term] = [FlowMatching(family, batches, params)]
    if params.prior_weight:
        of_class = _Batches(family, encoded.classes, params)
        found.append(FlowMatching(family, of_class, params, params.prior_weight))
    if params.dop_weight:
        found.append(OutputPreservation(family, batches, params.guidance, params.dop_weight))
    return found


class FlowMatching:
    """Computes the flow-matching loss of pictures with their captions.

    If its data are generated pictures of the class (such as any person), it is DreamBooth's prior preservation loss.
    """

    def __init__(self, family: Family, batches: _Batches, params: TrainParams, weight: float = 1.0) -> None:
        self.weight = weight
        self._family, self._batches = family, batches
        self._guidance = params.guidance
        self._density = density(params.timestep_density)

    def batch(self, number: int, ours: Sequence[int], device: torch.device) -> Batch | None:
        """Loads the examples of a batch that this process computes, with their captions; None if there are none.

        `number`: counts batches from 0 since the training began; `ours`: the positions of this process's examples in
        the batch.
        """
        return self._batches.captioned(number, ours, device)

    def losses(self, transformer: Transformer, batch: Batch) -> Tensor:
        """Returns each example's mean squared error, (B,), times the loss weight of the example's noise level."""
        losses = self._family.losses(transformer, batch.tensors, batch.noise, batch.sigma, self._guidance)
        return losses * self._density.weight(batch.sigma)


class OutputPreservation:
    """Computes a loss that makes the LoRA leave predictions for captions of the class (any person) unchanged.

    This is called differential output preservation.
    Source: ostris/ai-toolkit, `diff_output_preservation` in extensions_built_in/sd_trainer/SDTrainer.py.
    """

    def __init__(self, family: Family, batches: _Batches, guidance: float, weight: float) -> None:
        self.weight = weight
        self._family, self._batches, self._guidance = family, batches, guidance

    def batch(self, number: int, ours: Sequence[int], device: torch.device) -> Batch | None:
        """Loads those examples of a batch that this process computes, with the class word in the trigger's place.

        `number`: counts batches from 0 since the training began; `ours`: the positions of this process's examples in
        the batch. Examples whose captions lack the trigger are left out. Returns None if no example is left.
        """
        return self._batches.of_class(number, ours, device)

    def losses(self, transformer: Transformer, batch: Batch) -> Tensor:
        """Returns the mean squared difference of the predictions with and without the LoRA, by example (B,)."""
        inputs = (batch.tensors, batch.noise, batch.sigma, self._guidance)
        # The adapter is on again before the graph is built: checkpointing runs that forward once more in the backward.
        with torch.no_grad():
            transformer.disable_adapters()
            try:
                base = self._family.predict(transformer, *inputs)
            finally:
                transformer.enable_adapters()
        return (self._family.predict(transformer, *inputs) - base).square().mean(dim=(1, 2))


class _Batches:
    """Loads the examples of a batch and draws their noise."""

    def __init__(self, family: Family, examples: Examples, params: TrainParams) -> None:
        self._family, self._examples, self._params = family, examples, params
        self._density = density(params.timestep_density)
        self._order = BatchOrder(examples.shapes(), params.batch_size, params.seed)

    def captioned(self, number: int, ours: Sequence[int], device: torch.device) -> Batch | None:
        """Prepares examples with their captions; a share of `caption_dropout` gets the empty caption.

        Where examples have masks, the weight of the loss outside a mask is `mask_outside`.
        """
        chosen, wordless, mirrored, generator = self._choose(number)
        each = zip(chosen, wordless, mirrored, strict=True)
        rows = [self._examples.row(index, wordless=drop, mirrored=flip) for index, drop, flip in each]
        batch = self._noised(rows, [at for at in ours if at < len(rows)], generator, device)
        if batch is None or "mask" not in batch.tensors:
            return batch
        outside = self._params.mask_outside
        mask = outside + (1 - outside) * batch.tensors["mask"]
        return replace(batch, tensors={**batch.tensors, "mask": mask})

    def of_class(self, number: int, ours: Sequence[int], device: torch.device) -> Batch | None:
        """Prepares those examples of the same batch whose captions have the trigger, with the class word in its place.

        Returns None where no such example is this process's.
        """
        chosen, _, mirrored, generator = self._choose(number)
        rows = [self._examples.class_row(index, mirrored=flip) for index, flip in zip(chosen, mirrored, strict=True)]
        named = [(at, row) for at, row in enumerate(rows) if row]
        mine = [place for place, (at, _) in enumerate(named) if at in ours]
        return self._noised([row for _, row in named], mine, generator, device)

    def _choose(self, number: int) -> tuple[list[int], list[bool], list[bool], torch.Generator]:
        """Returns a batch's examples, which of them get no caption, which are mirrored, and the generator of its noise.

        Mirroring has a generator of its own, so that the noise is the same with and without it.
        """
        generator = seeded(self._params.seed, "noise", number)
        chosen = self._order.batch(number)
        wordless = torch.rand(len(chosen), generator=generator) < self._params.caption_dropout
        flipped = torch.rand(len(chosen), generator=seeded(self._params.seed, "mirror", number)) < 0.5
        return chosen, wordless.tolist(), (flipped & self._params.flip).tolist(), generator

    def _noised(
        self, rows: Sequence[Tensors], ours: list[int], generator: torch.Generator, device: torch.device
    ) -> Batch | None:
        """Draws the noise of all `rows`, the same in every process, and returns the examples at the places `ours`.

        Returns None where `ours` is empty.
        """
        if not ours:
            return None
        tensors = self._family.collate(rows)
        latents = tensors["latents"]
        noise = torch.randn(latents.shape, generator=generator)
        sigma = self._density.sample(len(latents), self._family.shift(latents), generator)
        mine = {name: value[ours].to(device) for name, value in tensors.items()}
        return Batch(mine, noise[ours].to(device), sigma[ours].to(device), len(rows))
