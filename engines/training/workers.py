"""Divides the examples of a step among the processes of a training, and adds up their gradients.

Every process draws the noise and the noise levels of the whole step, which are a function of the seed and the step, and
keeps its share of them. So several processes together train on exactly what one process would train on.
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
    """Interface through which one process of a training works with the others."""

    main: bool  # this process writes checkpoints and draws previews
    stop_requested: bool  # this process was asked to stop

    @property
    def stopping(self) -> bool:
        """Returns whether all processes must stop now; between two steps it is the same in every process."""
        ...

    def share(self, first: int, count: int) -> list[int]:
        """Returns the places in a batch of `count` examples that this process computes.

        `first`: the number of examples of the step that come before the batch.
        """
        ...

    def add_up(self, weights: Sequence[Tensor], figures: Tensor) -> Tensor:
        """Sums the weights' gradients over all processes, in place; returns the sum of all processes' `figures`."""
        ...

    def encoding(self) -> AbstractContextManager[None]:
        """Returns a context that one process of each machine passes first, to fill the cache for the others."""
        ...

    def check(self, examples: int) -> None:
        """Checks that a step has at least as many examples as there are processes. Raises: BadInput."""
        ...


class SingleWorker:
    """Computes every example, as the only process of a training."""

    main = True
    stop_requested = False

    @property
    def stopping(self) -> bool:
        """Returns whether a stop was requested."""
        return self.stop_requested

    def share(self, first: int, count: int) -> list[int]:
        """Returns all places of the batch."""
        del first
        return list(range(count))

    def add_up(self, weights: Sequence[Tensor], figures: Tensor) -> Tensor:
        """Returns the figures unchanged, since there is no other process."""
        del weights
        return figures

    def encoding(self) -> AbstractContextManager[None]:
        """Returns a context without effect."""
        return nullcontext()

    def check(self, examples: int) -> None:
        """Does nothing: a single process computes a step of any size."""


class DistributedWorkers:
    """Represents one of the processes that `accelerate launch` started, on machines that share the run's folder."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.main: bool = accelerator.is_main_process
        self.stop_requested = self._stopping = False

    @property
    def stopping(self) -> bool:
        """Returns whether any process had a stop request when the gradients were last summed."""
        return self._stopping

    def share(self, first: int, count: int) -> list[int]:
        """Returns the places in the batch of every n-th example of the step, n being the number of processes."""
        processes, ours = self._accelerator.num_processes, self._accelerator.process_index
        return [row for row in range(count) if (first + row) % processes == ours]

    def add_up(self, weights: Sequence[Tensor], figures: Tensor) -> Tensor:
        """Sums gradients, figures and stop requests of all processes in one message; returns the summed figures.

        A weight without a gradient adds zeros.
        """
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in weights]
        extra = torch.cat([figures, figures.new_tensor([float(self.stop_requested)])]).to(gradients[0].device)
        sent = torch.cat([*(each.flatten() for each in gradients), extra])
        received: Tensor = self._accelerator.reduce(sent, "sum")
        *summed, total = received.split([*(each.numel() for each in gradients), len(extra)])
        for weight, gradient in zip(weights, summed, strict=True):
            weight.grad = gradient.view_as(weight)
        *added, stop = total.cpu()
        self._stopping = bool(stop)
        return torch.stack(added)

    def encoding(self) -> AbstractContextManager[None]:
        """Returns Accelerate's context that the first process of each machine passes before the others."""
        first: AbstractContextManager[None] = self._accelerator.local_main_process_first()
        return first

    def check(self, examples: int) -> None:
        """Checks that a step has at least as many examples as there are processes. Raises: BadInput."""
        processes = self._accelerator.num_processes
        if examples < processes:
            raise BadInput(
                f"A step has {examples} examples for {processes} processes.",
                "Raise batch_size or gradient_accumulation to that many, or start fewer processes.",
            )
