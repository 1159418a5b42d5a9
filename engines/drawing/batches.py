"""Divides pictures into batches that share a forward pass, and reports the progress of a job."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from engines.api.protocols import OnStep
from engines.drawing.sampling import Tick

T = TypeVar("T")


def chunks(items: Sequence[T], alike: Callable[[T], Hashable], size: int) -> Iterator[list[T]]:
    """Yields, in order, batches of at most `size` consecutive items for which `alike` returns equal values."""
    for _, group in groupby(items, key=alike):
        run = list(group)
        for start in range(0, len(run), size):
            yield run[start : start + size]


class Progress:
    """Reports the progress of a job that generates in batches, in denoising steps summed over all pictures.

    `on_step`: receives the reports; `total`: the steps of the whole job; `pictures`: the number of its pictures.
    """

    def __init__(self, on_step: OnStep, total: int, pictures: int) -> None:
        self._on_step = on_step
        self._total = total
        self._pictures = pictures
        self._steps = 0
        self._drawn = 0

    def say(self, message: str) -> None:
        """Reports a message between steps. Raises: Cancelled when the user stops the job."""
        self._on_step(self._steps, self._total, message)

    def chunk(self, count: int) -> Tick:
        """Returns the callback that reports the denoising steps of the next batch.

        `count`: the number of pictures in the batch. The sampling loop calls the callback after each step as
        tick(done, steps): the steps done for each picture of the batch, and the steps that each picture takes.
        """
        base, first = self._steps, self._drawn + 1
        self._drawn += count
        which = f"{first}" if count == 1 else f"{first}–{self._drawn}"

        def tick(done: int, steps: int) -> None:
            self._steps = base + done * count
            self._on_step(self._steps, self._total, f"picture {which} of {self._pictures}, step {done} of {steps}")

        return tick
