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
    """Interface through which one process of a training works with the training's other processes.

    `main`: whether this process writes checkpoints and generates previews; `stop_requested`: whether this process was
    asked to stop.
    """

    main: bool  # this process writes checkpoints and draws previews
    stop_requested: bool  # this process was asked to stop

    @property
    def stopping(self) -> bool:
        """Returns whether all processes must stop now; between two training steps all processes get the same answer."""
        ...

    def share(self, first: int, count: int) -> list[int]:
        """Returns which examples of a batch this process computes, as positions from 0 to `count` − 1.

        `first`: the number of examples in the earlier batches of the same training step.
        """
        ...

    def add_up(self, weights: Sequence[Tensor], figures: Tensor) -> Tensor:
        """Sums the gradients of `weights` over all processes, in place, and returns the sum of their `figures`.

        `figures`: the sums of losses and noise levels of this process, as `LossTally` has them.
        """
        ...

    def encoding(self) -> AbstractContextManager[None]:
        """Returns a context manager that lets one process of each machine run the block before the others.

        This process fills the cache of encoded pictures and captions; the others then only read it.
        """
        ...

    def check(self, examples: int) -> None:
        """Checks that a training step has at least as many examples as there are processes.

        `examples`: the number of examples in a step. Raises: BadInput.
        """
        ...


class SingleWorker:
    """Represents the only process of a training, which computes all examples."""

    main = True
    stop_requested = False

    @property
    def stopping(self) -> bool:
        """Returns whether this process was asked to stop."""
        return self.stop_requested

    def share(self, first: int, count: int) -> list[int]:
        """Returns the positions of all `count` examples of the batch, since there is no other process."""
        del first
        return list(range(count))

    def add_up(self, weights: Sequence[Tensor], figures: Tensor) -> Tensor:
        """Returns `figures` unchanged and leaves the gradients as they are, since there is no other process."""
        del weights
        return figures

    def encoding(self) -> AbstractContextManager[None]:
        """Returns a context manager that does nothing, since there is no other process to wait for."""
        return nullcontext()

    def check(self, examples: int) -> None:
        """Does nothing, since a single process can compute a step of any size."""


class DistributedWorkers:
    """Represents one of several processes that `accelerate launch` started, on one machine or on several.

    The machines share the run's folder.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.main: bool = accelerator.is_main_process
        self.stop_requested = self._stopping = False

    @property
    def stopping(self) -> bool:
        """Returns whether any process had been asked to stop by the time when the gradients were last summed."""
        return self._stopping

    def share(self, first: int, count: int) -> list[int]:
        """Returns which examples of a batch this process computes, as positions from 0 to `count` − 1.

        The examples of a training step are dealt to the processes in turn. `first`: the number of examples in the
        earlier batches of the same step.
        """
        processes, ours = self._accelerator.num_processes, self._accelerator.process_index
        return [row for row in range(count) if (first + row) % processes == ours]

    def add_up(self, weights: Sequence[Tensor], figures: Tensor) -> Tensor:
        """Sums the gradients of `weights` over all processes, in place, and returns the sum of their `figures`.

        `figures`: the sums of losses and noise levels of this process, as `LossTally` has them. Requests to stop are
        exchanged in the same message. A weight without a gradient counts as zeros.
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
        """Returns a context manager that lets the first process of each machine run the block before the others.

        This process fills the cache of encoded pictures and captions; the others then only read it.
        """
        first: AbstractContextManager[None] = self._accelerator.local_main_process_first()
        return first

    def check(self, examples: int) -> None:
        """Checks that a training step has at least as many examples as there are processes.

        `examples`: the number of examples in a step. Raises: BadInput.
        """
        processes = self._accelerator.num_processes
        if examples < processes:
            raise BadInput(
                f"A step has {examples} examples for {processes} processes.",
                "Raise batch_size or gradient_accumulation to that many, or start fewer processes.",
            )
