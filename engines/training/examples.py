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
    """Holds the cache keys of one training item's tensors, for one picture size; "" for a tensor that it lacks.

    `words`: key of the encoded caption; `no_words`: key of the encoded empty caption, or the same as `words` if
    captions are never dropped; `class_words`: key of the encoded caption in which the class word (such as "person")
    replaces the trigger; `mirrored`: the keys of the item flipped left to right, None if it is never flipped.
    """

    latents: str
    words: str
    no_words: str
    class_words: str = ""
    mask: str = ""
    mirrored: Example | None = None

    def needs(self) -> Iterator[str]:
        """Yields all cache keys that this example uses, including those of its mirrored example."""
        yield from filter(None, (self.latents, self.words, self.no_words, self.class_words, self.mask))
        if self.mirrored:
            yield from self.mirrored.needs()


@dataclass(frozen=True)
class Examples:
    """Holds the cache keys of all examples of a training, and loads their tensors from the cache."""

    cache: Cache
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def row(self, index: int, *, wordless: bool, mirrored: bool = False) -> dict[str, Tensor]:
        """Returns the tensors of one example by name: latents, encoded caption, and mask if there is one.

        `wordless`: use the empty caption; `mirrored`: use the flipped picture, if it was encoded. If any example of the
        data set has a mask, an example without one gets a mask of ones, (1, 1, h, w).
        """
        example = self._example(index, mirrored)
        words = self.cache[example.no_words if wordless else example.words]
        row = {**self.cache[example.latents], **words}
        if example.mask:
            return row | self.cache[example.mask]
        return row | {"mask": torch.ones(1, 1, *row["latents"].shape[-2:])} if self.masked else row

    def class_row(self, index: int, *, mirrored: bool = False) -> dict[str, Tensor]:
        """Returns the latents of one example and its encoded caption of the class, by name.

        In that caption the class word (such as "person") stands in the trigger's place. `mirrored`: use the flipped
        picture, if it was encoded. Returns {} if that caption is not encoded: the item's caption lacks the trigger, or
        the training does not need it.
        """
        example = self._example(index, mirrored)
        return {**self.cache[example.latents], **self.cache[example.class_words]} if example.class_words else {}

    def shapes(self) -> list[Shape]:
        """Returns for each example the names and shapes of its latents: of the picture, and of references if any.

        Only examples whose names and shapes are equal can share a batch.
        """
        return [self.cache.shapes(example.latents) for example in self.examples]

    @cached_property
    def masked(self) -> bool:
        """Returns whether any example has a mask."""
        return any(example.mask for example in self.examples)

    def _example(self, index: int, mirrored: bool) -> Example:
        """Returns an example, or with `mirrored` its flipped one; class pictures have none and stay unflipped."""
        example = self.examples[index]
        return example.mirrored or example if mirrored else example
