"""Measures the embedded toy models on drawings of people whom no model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engines.mini import world
from engines.mini.configs import Model
from engines.mini.dataset import PICTURES_PER_PERSON, Pictures, draw_all, edit_pair, held_out_scene
from engines.mini.export import denormalised, normalised
from engines.mini.loop import autocast
from engines.mini.nets import Judge, Reader
from engines.mini.people import IDENTITY_WORDS
from engines.mini.scene import Scene
from engines.mini.train_captioner import embed_edits, read_captions
from engines.mini.train_edit import NEGATIVE
from engines.mini.train_edit import edit as sample_edits
from engines.mini.train_flux import Flux, generate
from engines.mini.train_questions import read_answers, right_answer
from engines.mini.train_readers import auc, embed_identity, equal_error, in_batches
from engines.mini.train_vae import decode, encode_all
from engines.wording import drawn as vocab

READ_OF_GENERATOR = ("angle", "expression", "framing", "pose", "outfit", "background", "light", "style")


@dataclass(frozen=True)
class Unseen:
    """Holds drawings of people whom no model was trained on, to measure models with.

    `pictures`: (N, 64, 64, 3), one for each of `scenes`. Eight in a row show one person.
    """

    scenes: list[Scene]
    pictures: Pictures

    @classmethod
    def draw(cls, count: int, start: int = 0, **fixed: str) -> Unseen:
        """Draws `count` scenes of people whom no model was trained on.

        `start`: the number of the first scene; eight scenes in a row show one person. `fixed`: attributes that all
        scenes have, such as framing="head"; the others are random.
        """
        scenes = [held_out_scene(start + i, **fixed) for i in range(count)]
        return cls(scenes, np.stack(list(draw_all(scenes))))


def rounded(values: Mapping[str, SupportsFloat]) -> dict[str, float]:
    """Returns the values, by the same names, rounded to four decimals."""
    return {name: round(float(value), 4) for name, value in values.items()}


@torch.no_grad()
def reader_accuracy(reader: Reader, unseen: Unseen) -> dict[str, float]:
    """Returns for each attribute (angle, outfit…) the share of pictures that the reader net classifies correctly."""
    return rounded({name: np.mean(hits) for name, hits in _hits(reader, unseen.pictures, unseen.scenes).items()})


@torch.no_grad()
def _hits(reader: Reader, pictures: Pictures, scenes: list[Scene]) -> dict[str, npt.NDArray[np.bool_]]:
    """Returns for each attribute whether the reader classifies each picture as its scene says, (N,)."""
    hits = {}
    for name, values in vocab.SCENE_VALUES.items():

        def classified(pixels: Tensor, name: str = name) -> Tensor:
            found: Tensor = reader(pixels)[name].argmax(dim=1)
            return found

        read = in_batches(classified, pictures).numpy()
        hits[name] = read == np.array([values.index(getattr(scene, name)) for scene in scenes])
    return hits


@torch.no_grad()
def identity_figures(encoder: nn.Module, unseen: Unseen) -> dict[str, float]:
    """Returns how well an identity encoder tells whether two pictures show the same person.

    `auc`: the area under the ROC curve. `threshold`: the cosine similarity at which both errors are equally frequent:
    two people are taken for one, one person is taken for two. `equal_error`: the share of pairs with such an error.
    """
    vectors = in_batches(lambda x: embed_identity(encoder, x), unseen.pictures).numpy()
    who = np.arange(len(vectors)) // PICTURES_PER_PERSON
    rows, columns = np.triu_indices(len(vectors), 1)
    scores = np.einsum("nd,nd->n", vectors[rows], vectors[columns])
    same = who[rows] == who[columns]
    threshold, error = equal_error(scores[same], scores[~same])
    return rounded({"auc": auc(scores[same], scores[~same]), "threshold": threshold, "equal_error": error})


def caption_figures(model: Model, unseen: Unseen) -> dict[str, float]:
    """Captions the unseen pictures; returns for each attribute the share of the captions that name it correctly.

    Attributes are `angle`, `outfit` and so on; one that no caption should name is left out. The dictionary also has
    `all` (the share over all attributes), `leaks` (the number of captions that name a trait of the person, which they
    must not) and `captions` (the number of all captions). `model`: the captioner.
    """
    texts = read_captions(model, unseen.pictures)
    right: dict[str, list[bool]] = {name: [] for name in vocab.SCENE_VALUES}
    for text, scene in zip(texts, unseen.scenes, strict=True):
        parts = {part.strip().lower() for part in text.split(",")}
        for name in vocab.SCENE_VALUES:
            if name != "pose" or scene.framing == "full body":
                value = getattr(scene, name)
                right[name].append(vocab.CAPTION_WORDS.get(name, {}).get(value, value).lower() in parts)
    leaks = sum(bool(set(text.replace(",", " ").split()) & IDENTITY_WORDS) for text in texts)
    every = [hit for hits in right.values() for hit in hits]
    figures = rounded({name: np.mean(hits) for name, hits in right.items() if hits} | {"all": np.mean(every)})
    return figures | {"leaks": leaks, "captions": len(texts)}


def answer_figures(model: Model, unseen: Unseen) -> dict[str, float]:
    """Asks about the unseen pictures; returns for each attribute the share of right answers. `model`: as it answers."""
    return rounded(
        {
            name: np.mean(
                [
                    answer == right_answer(scene, name)
                    for answer, scene in zip(read_answers(model, unseen.pictures, name), unseen.scenes, strict=True)
                ]
            )
            for name in vocab.SCENE_VALUES
        }
    )


@torch.no_grad()
def decoded(vae: Model, latents: Tensor) -> Pictures:
    """Decodes normalised latents to pictures (N, 64, 64, 3) of 8-bit values."""
    parts = []
    for start in range(0, len(latents), 64):
        with autocast(latents.device):
            out = decode(vae, denormalised(vae, latents[start : start + 64].float()))
        parts.append(((out.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def generator_figures(
    draw: Callable[[list[str]], Pictures], reader: Reader, count: int = 200, first: int = 50_000
) -> dict[str, Any]:
    """Returns for each attribute (angle, outfit…) the share of generated pictures that show what their caption says.

    The dictionary also has `expression_in_head_shots`, the share for the expression in pictures of heads alone, where
    there are any, and `captions`, the number of captions. `draw`: generates pictures from captions; `reader`:
    classifies them. The captions describe `count` people whom no model was trained on, one scene of each; `first`: the
    number of the first scene.
    """
    scenes = [held_out_scene(first + i * PICTURES_PER_PERSON) for i in range(count)]
    pictures = draw([world.caption(scene, identity=True) for scene in scenes])
    hits = _hits(reader, pictures, scenes)
    read = {name: hits[name] for name in READ_OF_GENERATOR}
    read["expression_in_head_shots"] = hits["expression"][[scene.framing == "head" for scene in scenes]]
    return rounded({name: np.mean(every) for name, every in read.items() if len(every)}) | {"captions": count}


@dataclass(frozen=True)
class Generator:
    """Generates a picture (64, 64, 3) for each caption, when called with a list of captions.

    `flux`: the toy generator's transformer and text encoders; `vae`: its autoencoder; `steps`: the number of denoising
    steps.
    """

    flux: Flux
    vae: Model
    steps: int = 28

    def __call__(self, captions: list[str], seed: int = 7) -> Pictures:
        """Generates a picture for each caption, (N, 64, 64, 3)."""
        return decoded(self.vae, generate(self.flux, captions, seed=seed, steps=self.steps))


@dataclass(frozen=True)
class Editor:
    """Edits pictures (N, 64, 64, 3), when called with them and with an instruction for each.

    `transformer`, `vae`, `text`: the toy editor's models, of which `text` is the text encoder. `steps`: the number of
    denoising steps.
    """

    transformer: Model
    vae: Model
    text: Model
    steps: int = 20

    def __call__(self, pictures: Pictures, instructions: list[str], seed: int = 11) -> Pictures:
        """Edits each picture by its instruction; pictures and results are (N, 64, 64, 3)."""
        before = normalised(self.vae, encode_all(self.vae, pictures).float())
        prompts = embed_edits(self.text, instructions, pictures)
        negatives = embed_edits(self.text, [NEGATIVE] * len(pictures), pictures)
        return decoded(self.vae, sample_edits(self.transformer, before, prompts, negatives, seed, self.steps))


def editor_figures(
    edit: Callable[[Pictures, list[str]], Pictures],
    reader: Reader,
    judge: Judge,
    threshold: float,
    per_task: int = 24,
    first: int = 80_000,
) -> dict[str, Any]:
    """Edits drawings of people whom no model was trained on; returns three shares, 0 to 1, for each kind of edit.

    `done`: how often the change is made; `person_kept`: how often the person stays recognisable; `rest_kept`: how often
    each other attribute stays. `edit`: edits pictures by instructions; `reader`: classifies attributes. `judge`: embeds
    people as vectors. `threshold`: the cosine similarity from which on two pictures show one person. `per_task`: the
    number of scenes edited for each kind, which is also an entry of the result; `first`: the number of the first scene.
    """
    figures: dict[str, Any] = {"per_task": per_task}
    embed: Callable[[Tensor], Tensor] = judge
    for task in vocab.TASKS:
        pairs = []
        for i in range(per_task):
            fixed = {"framing": "full body"} if task == "pose" else {"framing": ("head", "bust")[i % 2]}
            scene = held_out_scene(first + i * PICTURES_PER_PERSON, **fixed)
            pairs.append(edit_pair(scene, f"measure {task} {first + i}", task))
        before = np.stack(list(draw_all([pair.before for pair in pairs])))
        result = edit(before, [pair.instruction for pair in pairs])
        hits = _hits(reader, result, [pair.after for pair in pairs])
        done = vocab.TASK_ATTRIBUTE[task]
        with torch.no_grad():
            likeness = (in_batches(embed, before) * in_batches(embed, result)).sum(dim=1).numpy()
        others = [hits[name] for name in vocab.SCENE_VALUES if name != done]
        figures[task] = rounded(
            {"done": np.mean(hits[done]), "person_kept": np.mean(likeness >= threshold), "rest_kept": np.mean(others)}
        )
    return figures
