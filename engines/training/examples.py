"""What the loop knows of an item: which tensors of the cache are its picture, its words, its mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from engines.training.data import Cache, Tensors

Shape = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Example:
    """Cache keys of one item at one size, empty for what it has not; and of the same as seen in a mirror."""

    latents: str
    words: str
    no_words: str
    class_words: str = ""
    mask: str = ""
    mirrored: Example | None = None

    def needs(self) -> Iterator[str]:
        """All that must be in the cache."""
        yield from filter(None, (self.latents, self.words, self.no_words, self.class_words, self.mask))
        if self.mirrored:
            yield from self.mirrored.needs()


@dataclass(frozen=True)
class Examples:
    """Examples, and the cache that holds their tensors."""

    cache: Cache
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def row(self, index: int, *, wordless: bool, mirrored: bool = False) -> dict[str, Tensor]:
        """One example's tensors, with or without its words; where one example has a mask, all have."""
        example = self._example(index, mirrored)
        words = self.cache[example.no_words if wordless else example.words]
        latents = self.cache[example.latents]
        return {**latents, **words, **self._mask(example, latents["latents"])}

    def class_row(self, index: int, *, mirrored: bool = False) -> dict[str, Tensor]:
        """One example's tensors with the words of its class; empty for one whose words hold no trigger."""
        example = self._example(index, mirrored)
        return {**self.cache[example.latents], **self.cache[example.class_words]} if example.class_words else {}

    def shapes(self) -> list[Shape]:
        """Each example's latents by name and shape: what may share a batch is equal here."""
        return [self.cache.shapes(example.latents) for example in self.examples]

    def _example(self, index: int, mirrored: bool) -> Example:
        """Class pictures have no mirror image: nobody asked for one."""
        example = self.examples[index]
        return example.mirrored or example if mirrored else example

    def _mask(self, example: Example, latents: Tensor) -> Tensors:
        if example.mask:
            return self.cache[example.mask]
        return {"mask": torch.ones(1, 1, *latents.shape[-2:])} if self._masked else {}

    @cached_property
    def _masked(self) -> bool:
        return any(example.mask for example in self.examples)
