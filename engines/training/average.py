"""The exponential moving average of what is being trained: calmer than its last step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """Averages of weights, kept beside them; with a decay of 0 there are none, and the weights speak for themselves."""

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self._decay = decay
        self._weights = list(weights) if decay else []
        self._averages = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the weights as they are after a step; faster at first, when there is little to remember.

        Source: `EMAModel.get_decay` in diffusers' training_utils.py.
        """
        decay = min(self._decay, (1 + step) / (10 + step))
        for average, weight in zip(self._averages, self._weights, strict=True):
            average.lerp_(weight, 1 - decay)

    @contextmanager
    def shown(self) -> Iterator[list[Tensor]]:
        """The averages in the weights' place for the length of a block; yields the weights as they are trained."""
        raw = [weight.data for weight in self._weights]
        self._put(self._averages)
        try:
            yield raw
        finally:
            self._put(raw)

    def go_on(self, raw: Sequence[Tensor]) -> None:
        """Train on from these weights, those of now being the averages."""
        for weight, value in zip(self._weights, raw, strict=True):
            weight.data = value.to(weight.device, copy=True)

    def _put(self, values: Sequence[Tensor]) -> None:
        for weight, value in zip(self._weights, values, strict=True):
            weight.data = value
