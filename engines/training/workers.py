"""Who works on a step: one process, or several that each take some of its examples and add up what they found.

Every process draws the whole step's examples, noise and noise levels, which are a function of the seed and the step,
and keeps its share; so several processes learn from exactly what one would have learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from engines.api.errors import BadInput

if TYPE_CHECKING:
    from accelerate import Accelerator


class Workers(Protocol):
    """One process's view of all of them."""

    main: bool  # this one writes checkpoints and draws previews
    asked: bool  # somebody asked this process to stop

    @property
    def stopping(self) -> bool:
        """Whether all of them stop now: the same answer in each, from one step to the next."""
        ...

    def share(self, first: int, count: int) -> list[int]:
        """Which rows of a batch are ours; `first` counts the step's examples before it."""
        ...

    def add_up(self, weights: Sequence[Tensor], figures: Tensor) -> Tensor:
        """Sum every weight's gradient over all processes, in place; answers the sum of the figures."""
        ...

    def encoding(self) -> AbstractContextManager[None]:
        """One process a machine at a time fills the cache; the others then find it full."""
        ...

    def check(self, examples: int) -> None:
        """Refuse a step that has too few examples for all. Raises: BadInput."""
        ...


class Alone:
    """The usual case: one process does it all, and nothing is added to anything."""

    main = True
    asked = False

    @property
    def stopping(self) -> bool:
        """As soon as it was asked."""
        return self.asked

    def share(self, first: int, count: int) -> list[int]:
        """Every row."""
        del first
        return list(range(count))

    def add_up(self, weights: Sequence[Tensor], figures: Tensor) -> Tensor:
        """The figures as they are."""
        del weights
        return figures

    def encoding(self) -> AbstractContextManager[None]:
        """There is nobody to wait for."""
        return nullcontext()

    def check(self, examples: int) -> None:
        """One is never too many."""


class Several:
    """The processes that `accelerate launch` started, on one machine or on many that share the run's folder."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.main = accelerator.is_main_process
        self.asked = self._stopping = False

    @property
    def stopping(self) -> bool:
        """Once all know that one was asked, which they learn with a step's gradients."""
        return self._stopping

    def share(self, first: int, count: int) -> list[int]:
        """Every n-th example of the step."""
        processes, ours = self._accelerator.num_processes, self._accelerator.process_index
        return [row for row in range(count) if (first + row) % processes == ours]

    def add_up(self, weights: Sequence[Tensor], figures: Tensor) -> Tensor:
        """In one message; a weight that none of our examples reached counts as zeros."""
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in weights]
        extra = torch.cat([figures, figures.new_tensor([float(self.asked)])]).to(gradients[0].device)
        sent = torch.cat([*(each.flatten() for each in gradients), extra])
        received: Tensor = self._accelerator.reduce(sent, "sum")
        *summed, total = received.split([*(each.numel() for each in gradients), len(extra)])
        for weight, gradient in zip(weights, summed, strict=True):
            weight.grad = gradient.view_as(weight)
        *told, stop = total.cpu()
        self._stopping = bool(stop)
        return torch.stack(told)

    def encoding(self) -> AbstractContextManager[None]:
        """The machine's first process first."""
        return self._accelerator.local_main_process_first()

    def check(self, examples: int) -> None:
        """A process without an example would only wait."""
        processes = self._accelerator.num_processes
        if examples < processes:
            raise BadInput(
                f"A step has {examples} examples for {processes} processes.",
                "Raise batch_size or gradient_accumulation to that many, or start fewer processes.",
            )
