"""Generates pictures of the character's class (any person) with the base model, for a training to learn as well.

This keeps a LoRA of one character from changing everyone of that class.
Source: Ruiz et al. 2022, DreamBooth: the class-specific prior preservation loss.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from engines.api.errors import BadInput
from engines.api.protocols import Lease, OnStep, TrainRun
from engines.api.triggers import replaced, says
from engines.training.data import Cache, Source, Tensors, key, seeded
from engines.training.examples import Example
from engines.training.family import Family, Parts


def class_words(caption: str, trigger: str, class_word: str) -> str:
    """Returns a caption with the class word (such as "person") in the trigger's place; "" if it lacks the trigger.

    Where the class word follows the trigger already, it is not repeated.
    """
    again = re.compile(rf"\s+{re.escape(class_word)}(?!\w)")

    def replacement(rest: str) -> tuple[str, str]:
        """Returns the class word and the rest, without the class word that followed the trigger."""
        twice = again.match(rest)
        return class_word, rest[twice.end() :] if twice else rest

    return replaced(caption, trigger, replacement) if says(caption, trigger) else ""


@dataclass(frozen=True)
class ClassPicture:
    """Describes a picture of the class (such as any person) that the base model generates for prior preservation.

    `words`: its caption; `source`: the training item from which the caption comes, and for an editor the input
    pictures; `drawing`: the cache key of the encoded prompt by which the picture is generated; `example`: the cache
    keys of the picture's latents and caption, for training.
    """

    words: str
    source: Source
    seed: int
    drawing: str  # cache key of the encoded preview that draws it
    example: Example


def class_pictures(family: Family, run: TrainRun, sources: Sequence[Source], encoders: str) -> tuple[ClassPicture, ...]:
    """Returns descriptions of the class pictures that a run's prior preservation needs; () if it is off.

    It generates nothing. The captions are those of the items in turn, with the class word in the trigger's place; each
    picture has its own seed. `encoders`: a hash of the encoders' weights, options and libraries, for the cache keys.
    Raises: BadInput if no caption has the trigger.
    """
    params = run.params
    if not params.prior_weight:
        return ()
    worded = [(source, class_words(source.item.caption, run.trigger, params.class_word)) for source in sources]
    named = [(source, words) for source, words in worded if words]
    if not named:
        raise BadInput(
            f"No caption says “{run.trigger}”, so nobody knows what to draw of its class.",
            "Put the trigger word into the captions, or train without prior preservation.",
        )
    base = (encoders, family.weights_hash(("transformer",)), params.base, params.resolution)
    pictures = []
    for seed in range(params.prior_pictures):
        source, words = named[seed % len(named)]
        knobs = family.class_params(words, params.resolution, seed)
        encoded_words = key("class words", base, source.references, words)
        latents = key("class picture", base, source.references, knobs)
        drawing = key("class drawing", base, source.references, knobs)
        pictures.append(ClassPicture(words, source, seed, drawing, Example(latents, encoded_words, encoded_words)))
    return tuple(pictures)


def encode_class_words(
    family: Family, parts: Parts, pictures: Sequence[ClassPicture], cache: Cache, resolution: int
) -> None:
    """Encodes the captions of the class pictures into the cache, both for training and for generating the pictures.

    `parts`: the loaded encoders, by component name; `resolution`: the pictures' width and height in pixels, ignored by
    editors.
    """
    for each in pictures:
        references = each.source.open_references()
        preview = family.class_preview(each.words, references, resolution, each.seed)
        cache.fill(each.drawing, partial(family.encode_preview, parts, preview))
        cache.fill(each.example.words, partial(family.encode_words, parts, each.words, references))


def draw_class_pictures(
    family: Family, run: TrainRun, pictures: Sequence[ClassPicture], cache: Cache, lease: Lease, on_step: OnStep
) -> None:
    """Generates the class pictures that the cache lacks, and stores their latents in the cache.

    The base model generates them. Each is also saved as a PNG in the run's folder. `lease`: gives access to the GPU,
    used only if a picture is missing; `on_step`: called with progress.
    """
    missing = [each for each in pictures if each.example.latents not in cache]
    if not missing:
        return
    with lease.stage("train") as parts:
        for index, each in enumerate(missing):
            what = f"drawing class picture {index + 1} of {len(missing)}"
            cache.fill(each.example.latents, partial(_draw, family, run, parts, each, cache, on_step, what))


def _draw(
    family: Family, run: TrainRun, parts: Parts, picture: ClassPicture, cache: Cache, on_step: OnStep, what: str
) -> Tensors:
    """Generates and saves one class picture, and returns its latents; `what` begins the progress message."""
    references, size = picture.source.open_references(), run.params.resolution
    preview = family.class_preview(picture.words, references, size, picture.seed)

    def tick(done: int, steps: int) -> None:
        on_step(0, run.params.steps, f"{what}: {done}/{steps}")

    image = family.draw(parts, cache[picture.drawing], preview, tick)
    file = run.folder / "class" / f"{picture.seed:04d}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)
    # By the picture's own seed, for runs of other seeds find these latents in a cache that they share.
    return family.encode_images(parts, image, references, size, seeded(picture.seed, picture.example.latents, 0))
