"""Holds the encoded examples of a training: the cache keys of latents, captions and masks, and their tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from engines.training.data import Cache

Shape = tuple[tuple[str, tuple[int, ...]], ...]  # of an example's latents: names and shapes


@dataclass(frozen=True)
class Example:
    """Holds the cache keys of one item at one size; "" stands for a tensor that the item lacks.

    `words`: the encoded caption; `no_words`: the empty caption; `class_words`: the caption with the class word in the
    trigger's place; `mirrored`: the example of the flipped item.
    """

    latents: str
    words: str
    no_words: str
    class_words: str = ""
    mask: str = ""
    mirrored: Example | None = None

    def needs(self) -> Iterator[str]:
        """Yields every cache key that the example and its mirrored example read."""
        yield from filter(None, (self.latents, self.words, self.no_words, self.class_words, self.mask))
        if self.mirrored:
            yield from self.mirrored.needs()


@dataclass(frozen=True)
class Examples:
    """Reads the tensors of a training's examples from the cache."""

    cache: Cache
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def row(self, index: int, *, wordless: bool, mirrored: bool = False) -> dict[str, Tensor]:
        """Returns one example's tensors by name: latents, encoded caption, and mask if any.

        `wordless`: take the empty caption; `mirrored`: take the flipped item, if there is one. Where any example has a
        mask, one without gets a mask of ones (1, 1, h, w).
        """
        example = self._example(index, mirrored)
        words = self.cache[example.no_words if wordless else example.words]
        row = {**self.cache[example.latents], **words}
        if example.mask:
            return row | self.cache[example.mask]
        return row | {"mask": torch.ones(1, 1, *row["latents"].shape[-2:])} if self.masked else row

    def class_row(self, index: int, *, mirrored: bool = False) -> dict[str, Tensor]:
        """Returns one example's tensors with the class word in its caption; {} where the caption lacks the trigger."""
        example = self._example(index, mirrored)
        return {**self.cache[example.latents], **self.cache[example.class_words]} if example.class_words else {}

    def shapes(self) -> list[Shape]:
        """Returns the names and shapes of each example's latents; examples of equal shapes can share a batch."""
        return [self.cache.shapes(example.latents) for example in self.examples]

    @cached_property
    def masked(self) -> bool:
        """Returns whether any example has a mask."""
        return any(example.mask for example in self.examples)

    def _example(self, index: int, mirrored: bool) -> Example:
        """Returns an example, or with `mirrored` its flipped one; class pictures have none and stay unflipped."""
        example = self.examples[index]
        return example.mirrored or example if mirrored else example
