"""The first stage of a training: pictures and words to tensors, once, so that the encoders can leave."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from torch import Tensor

from engines.api import GenerateParams, Lease, OnStep, TrainParams, TrainRun
from engines.lora.data import Cache, Source, key, open_image, seeded, weights_hash
from engines.lora.family import Family, Preview

_LIBRARIES = ("diffusers", "transformers")  # the same weights have come to mean other embeddings with another version


@dataclass(frozen=True)
class Example:
    """Cache keys of what the loop needs of one item: its latents, its words, and what stands for no words."""

    latents: str
    words: str
    no_words: str


@dataclass(frozen=True)
class Encoded:
    """All that a training still needs once the encoders have left."""

    cache: Cache
    examples: tuple[Example, ...]
    previews: tuple[str, ...]

    def row(self, index: int, *, wordless: bool) -> dict[str, Tensor]:
        """One example's tensors, with or without its words."""
        example = self.examples[index]
        return {**self.cache[example.latents], **self.cache[example.no_words if wordless else example.words]}

    def shapes(self) -> list[tuple[tuple[str, tuple[int, ...]], ...]]:
        """Each example's latents by name and shape: what may share a batch is equal here."""
        return [self.cache.shapes(example.latents) for example in self.examples]


def encode(family: Family, run: TrainRun, sources: Sequence[Source], lease: Lease, on_step: OnStep) -> Encoded:
    """Fill the cache; the encoders are not even asked for when nothing is missing.

    It goes by content, encoder weights and library versions, so runs share it and nothing stale is ever found.
    """
    encoders = key(weights_hash(family.folder, family.encoders), *map(version, _LIBRARIES))
    cache = Cache(run.cache or run.folder / "cache")
    examples = tuple(_example(encoders, source, run.params) for source in sources)
    previews = tuple(_preview_key(encoders, preview) for preview in run.previews)
    wanted = {name for one in examples for name in (one.latents, one.words, one.no_words)}
    if not all(name in cache for name in (*wanted, *previews)):
        with lease.stage("encode") as parts:
            for index, (source, example) in enumerate(zip(sources, examples, strict=True)):
                on_step(0, run.params.steps, f"encoding picture {index + 1} of {len(sources)}")
                _encode_one(family, parts, source, example, cache, run.params)
            for name, preview in zip(previews, run.previews, strict=True):
                on_step(0, run.params.steps, "encoding previews")
                cache.fill(name, partial(family.encode_preview, parts, preview))
    return Encoded(cache, examples, previews)


def _encode_one(
    family: Family,
    parts: Mapping[str, Any],
    source: Source,
    example: Example,
    cache: Cache,
    params: TrainParams,
) -> None:
    image, references = open_image(source.item.image), [open_image(path) for path in source.item.references]
    generator = seeded(params.seed, example.latents, 0)
    cache.fill(example.latents, partial(family.encode_images, parts, image, references, params.resolution, generator))
    cache.fill(example.words, partial(family.encode_words, parts, source.item.caption, references))
    if params.caption_dropout > 0:
        cache.fill(example.no_words, partial(family.encode_words, parts, "", references))


def _example(encoders: str, source: Source, params: TrainParams) -> Example:
    """Content keys: the same picture, words, encoders and size are never encoded twice."""
    caption = source.item.caption
    return Example(
        latents=key("latents", encoders, source.references, source.image, params.resolution, params.seed),
        words=key("words", encoders, source.references, caption),
        no_words=key("words", encoders, source.references, "" if params.caption_dropout > 0 else caption),
    )


def _preview_key(encoders: str, preview: Preview) -> str:
    if isinstance(preview, GenerateParams):
        return key("preview", encoders, preview)
    pictures = (preview.source, *preview.references)
    pixels = [(image.size, hashlib.sha256(image.tobytes()).hexdigest()) for image in pictures]
    return key("preview", encoders, preview.params, pixels)
