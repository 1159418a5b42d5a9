"""Pictures of the character's class as the base model draws them, so that a LoRA of one does not become all.

Source: Ruiz et al. 2022, DreamBooth: the class-specific prior preservation loss.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from engines.api.errors import BadInput
from engines.api.params import Params
from engines.api.protocols import Lease, OnStep, TrainRun
from engines.api.triggers import replaced, says
from engines.drawing.sampling import Tick
from engines.training.data import Cache, Source, Tensors, key, seeded
from engines.training.examples import Example
from engines.training.family import Family


def class_words(caption: str, trigger: str, class_word: str) -> str:
    """A caption with the class word in the trigger's place, said once; empty where it holds no trigger."""
    again = re.compile(rf"\s+{re.escape(class_word)}(?!\w)")

    def told(rest: str) -> tuple[str, str]:
        """A class word that follows the trigger is the same one."""
        twice = again.match(rest)
        return class_word, rest[twice.end() :] if twice else rest

    return replaced(caption, trigger, told) if says(caption, trigger) else ""


@dataclass(frozen=True)
class ClassPicture:
    """One picture to draw: its words, whose references it is an edit of, and where its tensors will be."""

    words: str
    source: Source
    seed: int
    drawing: str  # what draws it, in the cache
    example: Example


def class_pictures(family: Family, run: TrainRun, sources: Sequence[Source], encoders: str) -> tuple[ClassPicture, ...]:
    """What to draw, captions in turn, each with a seed of its own; nothing where it is not asked for.

    `encoders`: what all that is encoded depends on, weights and libraries.
    Raises: BadInput where no caption holds the trigger.
    """
    params = run.params
    if not params.prior_weight:
        return ()
    spoken = [(source, class_words(source.item.caption, run.trigger, params.class_word)) for source in sources]
    asked = [(source, words) for source, words in spoken if words]
    if not asked:
        raise BadInput(
            f"No caption says “{run.trigger}”, so nobody knows what to draw of its class.",
            "Put the trigger word into the captions, or train without prior preservation.",
        )
    base = (encoders, family.weights_hash(("transformer",)), params.base, params.resolution)
    pictures = []
    for seed in range(params.prior_pictures):
        source, words = asked[seed % len(asked)]
        knobs = family.class_params(words, params.resolution, seed)
        pictures.append(_class_picture(base, source, words, knobs, seed))
    return tuple(pictures)


def encode_class_words(
    family: Family, parts: Mapping[str, Any], pictures: Sequence[ClassPicture], cache: Cache, resolution: int
) -> None:
    """All that the encoders are needed for."""
    for each in pictures:
        references = each.source.open_references()
        preview = family.class_preview(each.words, references, resolution, each.seed)
        cache.fill(each.drawing, partial(family.encode_preview, parts, preview))
        cache.fill(each.example.words, partial(family.encode_words, parts, each.words, references))


def draw_class_pictures(
    family: Family, run: TrainRun, pictures: Sequence[ClassPicture], cache: Cache, lease: Lease, on_step: OnStep
) -> None:
    """Draw what is not there yet with the model as it is, into the run's folder, and encode it."""
    missing = [each for each in pictures if each.example.latents not in cache]
    if not missing:
        return
    with lease.stage("train") as parts:
        for index, each in enumerate(missing):
            what = f"drawing class picture {index + 1} of {len(missing)}"
            tick = partial(_tick, on_step, run.params.steps, what)
            cache.fill(each.example.latents, partial(_draw, family, run, parts, each, cache, tick))


def _tick(on_step: OnStep, total: int, what: str, done: int, steps: int) -> None:
    on_step(0, total, f"{what}: {done}/{steps}")


def _draw(
    family: Family, run: TrainRun, parts: Mapping[str, Any], picture: ClassPicture, cache: Cache, tick: Tick
) -> Tensors:
    references, size = picture.source.open_references(), run.params.resolution
    preview = family.class_preview(picture.words, references, size, picture.seed)
    image = family.draw(parts, cache[picture.drawing], preview, tick)
    file = run.folder / "class" / f"{picture.seed:04d}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)
    return family.encode_images(parts, image, references, size, seeded(run.params.seed, picture.example.latents, 0))


def _class_picture(base: tuple[Any, ...], source: Source, words: str, knobs: Params, seed: int) -> ClassPicture:
    said = key("class words", base, source.references, words)
    drawn = key("class picture", base, source.references, knobs)
    drawing = key("class drawing", base, source.references, knobs)
    return ClassPicture(words, source, seed, drawing, Example(drawn, said, said))
