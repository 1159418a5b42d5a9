"""How many pictures share a forward pass, and how their progress is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeVar

from engines.api.protocols import OnStep
from engines.drawing.sampling import Tick

T = TypeVar("T")


def chunks(items: Sequence[T], alike: Callable[[T], Any], size: int) -> Iterator[list[T]]:
    """Neighbours that are alike, at most `size` together; the order is kept, so results can be yielded early."""
    for _, group in groupby(items, key=alike):
        run = list(group)
        for start in range(0, len(run), size):
            yield run[start : start + size]


class Progress:
    """Turns steps of one chunk into steps of the whole job; one step is one picture's forward pass."""

    def __init__(self, on_step: OnStep, total: int, pictures: int) -> None:
        self._on_step = on_step
        self._total = total
        self._pictures = pictures
        self._steps = 0
        self._drawn = 0

    def say(self, message: str) -> None:
        """A sign of life between steps; raises Cancelled where the user wants out."""
        self._on_step(self._steps, self._total, message)

    def chunk(self, count: int) -> Tick:
        """The step callback of the next `count` pictures, drawn together."""
        base, first = self._steps, self._drawn + 1
        self._drawn += count
        which = f"{first}" if count == 1 else f"{first}–{self._drawn}"

        def tick(done: int, steps: int) -> None:
            self._steps = base + done * count
            self._on_step(self._steps, self._total, f"picture {which} of {self._pictures}, step {done} of {steps}")

        return tick
