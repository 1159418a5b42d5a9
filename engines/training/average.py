"""Computes the exponential moving average (EMA) of the trained weights, which varies less than they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """Keeps an exponential moving average (EMA) of each trained weight.

    With a decay of 0 it keeps no averages, and its methods do nothing.
    """

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self._decay = decay
        self._weights = list(weights) if decay else []
        self._averages = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Updates the averages after the training step `step`, which counts from 1.

        The decay is at most (1 + step) / (10 + step), so that the averages follow the weights faster in the first
        steps.
        Source: `EMAModel.get_decay` in diffusers' training_utils.py.
        """
        decay = min(self._decay, (1 + step) / (10 + step))
        for average, weight in zip(self._averages, self._weights, strict=True):
            average.lerp_(weight, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[list[Tensor]]:
        """Puts the averages into the model in place of the trained weights, inside a `with` block.

        Yields the values of the trained weights, a list of tensors; they are put back at the end of the block. Without
        averages it changes nothing and yields an empty list.
        """
        trained = [weight.data for weight in self._weights]
        self._put(self._averages)
        try:
            yield trained
        finally:
            self._put(trained)

    def restore(self, trained: Sequence[Tensor]) -> None:
        """Sets the model's weights to `trained`, the values that a checkpoint stored; the averages stay as they are."""
        for weight, value in zip(self._weights, trained, strict=True):
            weight.data = value.to(weight.device, copy=True)

    def _put(self, values: Sequence[Tensor]) -> None:
        for weight, value in zip(self._weights, values, strict=True):
            weight.data = value
