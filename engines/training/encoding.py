"""Encodes all pictures and captions of a training once, in its first stage, so that the encoders can be unloaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import zip_longest

from engines.api.errors import BadInput
from engines.api.params import GenerateParams
from engines.api.protocols import Lease, OnStep, TrainRun
from engines.pictures import pixel_hash
from engines.training.data import Cache, Source, Tensors, key, seeded
from engines.training.examples import Example, Examples
from engines.training.family import Family, Parts, Preview
from engines.training.prior_preservation import class_pictures, class_words, draw_class_pictures, encode_class_words

_LIBRARIES = ("diffusers", "transformers")  # other versions have made other embeddings of the same weights


@dataclass(frozen=True)
class Encoded:
    """Holds what a training needs after the encoders are unloaded: the cache of encoded tensors, and its keys.

    `examples`: the training pictures with their captions; `classes`: generated pictures of the class (any person),
    empty without prior preservation; `previews`: the cache keys of the encoded preview prompts, in order.
    """

    cache: Cache
    examples: Examples
    classes: Examples
    previews: tuple[str, ...]  # cache keys


def encode(
    family: Family,
    run: TrainRun,
    sources: Sequence[Source],
    lease: Lease,
    on_step: OnStep,
    version_of: Callable[[str], str] = version,
) -> Encoded:
    """Encodes a run's pictures, captions and previews, except those that its cache has; returns the cache keys of all.

    With prior preservation it also generates and encodes the missing pictures of the class (any person). `sources`: the
    run's items with their hashes; `lease`: gives access to the GPU, used only if something is missing; `on_step`:
    called with progress; `version_of`: returns the version of a library, which is part of the cache keys.
    Raises: BadInput for a picture or mask that cannot be used, or if prior preservation is on and no caption has the
    trigger.
    """
    # 1. The cache keys of all that the run needs, mirror images and class pictures too.
    weights = family.weights_hash((*family.encoders, *family.tokenizers))
    params, encoders = run.params, key(weights, family.encoding_options(), *map(version_of, _LIBRARIES))
    cache = Cache(run.cache or run.folder / "cache")
    sized = [(source, size) for size in (params.resolution, *params.resolutions) for source in sources]
    mirrored = [(source.mirror(), size) for source, size in sized] if params.flip else []
    plain, twins = ([_example(encoders, source, size, run) for source, size in each] for each in (sized, mirrored))
    examples = tuple(replace(each, mirrored=twin) for each, twin in zip_longest(plain, twins))
    previews = tuple(_preview_key(encoders, preview) for preview in run.previews)
    classes = class_pictures(family, run, sources, encoders)

    # 2. What the cache lacks of these.
    wanted = {name for example in examples for name in example.needs()}
    wanted |= {name for each in classes for name in (each.drawing, each.example.words)}
    if not all(name in cache for name in (*wanted, *previews)):
        with lease.stage("encode") as parts:
            found = zip((*sized, *mirrored), (*plain, *twins), strict=True)
            new = [each for each in found if not all(name in cache for name in each[1].needs())]
            for index, ((source, size), example) in enumerate(new):
                on_step(0, params.steps, f"encoding picture {index + 1} of {len(new)}")
                _encode_example(family, parts, source, size, example, cache, run)
            for name, preview in zip(previews, run.previews, strict=True):
                on_step(0, params.steps, "encoding previews")
                cache.fill(name, partial(family.encode_preview, parts, preview))
            encode_class_words(family, parts, classes, cache, params.resolution)

    # 3. The class pictures, which the transformer draws.
    draw_class_pictures(family, run, classes, cache, lease, on_step)
    drawn = tuple(each.example for each in classes)
    return Encoded(cache, Examples(cache, examples), Examples(cache, drawn), previews)


def _encode_example(
    family: Family, parts: Parts, source: Source, size: int, example: Example, cache: Cache, run: TrainRun
) -> None:
    """Encodes one item for training at `size`² pixels; stores the tensors that the cache lacks. Raises: BadInput."""
    item, params, opened = source.item, run.params, source.open()
    references = opened.references
    generator = seeded(params.seed, example.latents, 0)
    cache.fill(example.latents, partial(family.encode_images, parts, opened.image, references, size, generator))
    cache.fill(example.words, partial(family.encode_words, parts, item.caption, references))
    if params.caption_dropout > 0:
        cache.fill(example.no_words, partial(family.encode_words, parts, "", references))
    if example.class_words:
        words = class_words(item.caption, run.trigger, params.class_word)
        cache.fill(example.class_words, partial(family.encode_words, parts, words, references))
    if (mask := opened.mask) is None:
        return

    def covered() -> Tensors:
        shares = family.encode_mask(parts, mask, size, cache[example.latents]["latents"])
        if not shares.any():
            where = f" within the crop of {item.image}" if item.crop else ""
            raise BadInput(
                f"The mask {item.mask} is black{where}.", "Paint white what should count, or train without it."
            )
        return {"mask": shares}

    cache.fill(example.mask, covered)


def _example(encoders: str, source: Source, size: int, run: TrainRun) -> Example:
    """Returns the cache keys of one item for training at `size`² pixels; encodes nothing."""
    caption, params = source.item.caption, run.params
    of_class = class_words(caption, run.trigger, params.class_word) if params.dop_weight else ""
    return Example(
        latents=key("latents", encoders, source.references, source.image, size, params.seed),
        words=key("words", encoders, source.references, caption),
        no_words=key("words", encoders, source.references, "" if params.caption_dropout > 0 else caption),
        class_words=key("words", encoders, source.references, of_class) if of_class else "",
        mask=key("mask", encoders, source.image, source.mask, size) if source.mask else "",
    )


def _preview_key(encoders: str, preview: Preview) -> str:
    """Returns the cache key of an encoded preview, from its parameters and its pictures' pixels."""
    if isinstance(preview, GenerateParams):
        return key("preview", encoders, preview)
    pixels = [pixel_hash(image) for image in (preview.source, *preview.references)]
    return key("preview", encoders, preview.params, pixels)
