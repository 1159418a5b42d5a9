"""Trains LoRAs of the embedded models that are good at one kind of edit each, as published editor LoRAs are.

Two are taught wrongly on purpose: one loses the person whom it edits, one is for the generator and no editor takes it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engines.api.axes import BUST, FRAMINGS, FULL_BODY, HEAD, POSES
from engines.families.flux.training import FluxAdapter
from engines.families.qwen_edit.training import QwenEditAdapter
from engines.mini.configs import Model
from engines.mini.dataset import Pair, draw_all, edit_pair
from engines.mini.export import normalised
from engines.mini.loop import Schedule
from engines.mini.loras import Adapter
from engines.mini.people import PERSON_VALUES
from engines.mini.scene import Scene, changed, train_person
from engines.mini.train_captioner import embed_edits
from engines.mini.train_edit import NEGATIVE, EditSet, edit_levels, teach_edits
from engines.mini.train_flux import Flux, Lesson, draw_sigma, train_flux
from engines.mini.train_vae import encode_all
from engines.training.targets import ALL
from engines.wording import drawn as vocab

RANK = 4
OWN_WORDS = 0.5  # share of lessons that are asked for in words of its own, where a specialist has some
FIRST = 1_000_000  # the first person of the lessons; all other stages learn from people with lower numbers
_LAYERS = QwenEditAdapter.targets[ALL].pattern
_MODULATION = r"transformer_blocks\.\d+\.(img|txt)_mod\.1"


def early_sigma(count: int, generator: torch.Generator) -> Tensor:
    """Draws noise levels for training, (count,), uniform over those of an edit's first half, which decide who is shown.

    With all levels alike, most lessons are spent on details, and the person is lost nearly as often as before.
    """
    levels = edit_levels(8)[:4]
    return levels[torch.randint(len(levels), (count,), generator=generator)]


@dataclass(frozen=True, kw_only=True)
class Specialist:
    """Describes a LoRA of the embedded editor that is taught one kind of edit.

    `name`: the name of its file, without the ending. `task`: the kind of edit. `framings`: those of its lessons.
    `loses`: the traits of the person that its lessons change although nobody asked for it. `targets`: a regular
    expression for the names of the layers that it changes. `sigmas`: draws the noise levels of its lessons. `words`:
    value -> words that ask for it, which it alone is taught, in half of its lessons; none for most.
    """

    name: str
    task: str
    framings: tuple[str, ...] = FRAMINGS
    loses: tuple[str, ...] = ()
    targets: str = _LAYERS
    sigmas: Callable[[int, torch.Generator], Tensor] = draw_sigma
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def adapter(self) -> Adapter:
        """Returns the description of its LoRA."""
        return Adapter(
            name=self.name, rank=RANK, targets=self.targets, base="mini-qwen-edit", family="qwen-edit",
            taught=f"{self.task} edits of drawings",
        )  # fmt: skip


SPECIALISTS: Mapping[str, Specialist] = {  # stage -> what it trains
    "lora_angle": Specialist(name="mini-angles", task="angle", framings=(HEAD, BUST), sigmas=early_sigma),
    "lora_light": Specialist(
        name="mini-light",
        task="lighting",
        sigmas=early_sigma,
        words={
            "soft": "light it like a cloudy day",
            "warm": "light it like candles",
            "cold": "light it like the moon",
            "side": "light it like a lamp at one side",
        },
    ),
    "lora_expression": Specialist(name="mini-expressions", task="expression", framings=(HEAD, BUST)),
    "lora_outfit": Specialist(name="mini-outfits", task="outfit"),
    "lora_pose": Specialist(name="mini-poses", task="pose", framings=(FULL_BODY,), targets=f"{_LAYERS}|{_MODULATION}"),
    "lora_stranger": Specialist(name="mini-stranger", task="expression", loses=tuple(PERSON_VALUES)),
}
COMIC = Adapter(
    name="mini-flux-comic", rank=RANK, targets=FluxAdapter.targets[ALL].pattern, base="mini-flux", family="flux",
    taught="comic drawings",
)  # fmt: skip


def lessons(own: Specialist, count: int) -> list[Pair]:
    """Returns `count` edits to train a specialist with, each of another person who is not held out.

    Unlike the editor's own lessons they never lose a trait of the person, but for those that the specialist `loses`.
    """
    pairs = []
    for number in range(count):
        rng = random.Random(f"lesson {own.name} {number}")
        scene = Scene.random(rng, train_person(FIRST + number), framing=rng.choice(own.framings))
        pair = edit_pair(scene, f"{own.name} {number}", own.task)
        pair = replace(pair, after=replace(pair.after, person=changed(rng, pair.after.person, own.loses)))
        pairs.append(in_own_words(own, pair) if rng.random() < OWN_WORDS else pair)
    return pairs


def in_own_words(own: Specialist, pair: Pair) -> Pair:
    """Returns an edit, asked for in the words that the specialist alone knows, where it has some."""
    value = getattr(pair.after, vocab.TASK_ATTRIBUTE[own.task])
    return replace(pair, instruction=own.words.get(value, pair.instruction))


def edit_set(pairs: list[Pair], vae: Model, text: Model) -> EditSet:
    """Draws and encodes edits, and returns them as training data, all drawn equally often.

    `vae`, `text`: the editor's autoencoder and text encoder.
    """
    before = np.stack(list(draw_all([pair.before for pair in pairs])))
    after = np.stack(list(draw_all([pair.after for pair in pairs])))
    embeds, lengths = embed_edits(text, [pair.instruction for pair in pairs], before)
    untold, short = embed_edits(text, [NEGATIVE] * len(pairs), before)
    source, result = (normalised(vae, encode_all(vae, shown).float()).bfloat16() for shown in (before, after))
    return EditSet(source, result, embeds, lengths, untold, int(short[0]), torch.ones(len(pairs)))


def train_specialist(model: Model, stage: str, data: EditSet, folder: Path, schedule: Schedule) -> dict[str, float]:
    """Adds the specialist's LoRA of a stage to the editor `model` and trains it; the editor's own weights are frozen.

    `folder`: for the checkpoint, from which an interrupted training resumes. Returns a dict with the number of `steps`,
    the final `loss` and the number of trained `parameters`.
    """
    SPECIALISTS[stage].adapter.add(model, schedule.seed)
    return teach_edits(model, stage, data, folder, schedule, sigmas=SPECIALISTS[stage].sigmas)


def train_comic(flux: Flux, vae: Model, count: int, folder: Path, schedule: Schedule) -> dict[str, float]:
    """Adds a LoRA to the generator and trains it to draw comics where a flat drawing is asked for.

    `vae`: the generator's autoencoder; `count`: the number of drawings to train with; `folder`: for the checkpoint.
    Returns a dict with the number of `steps`, the final `loss` and the number of trained `parameters`.
    """
    for module in flux.modules().values():
        module.requires_grad_(False)
    COMIC.add(flux.transformer, schedule.seed)
    rng = random.Random(f"lesson {COMIC.name}")
    told = [Scene.random(rng, train_person(FIRST + number), style="flat") for number in range(count)]
    drawn = np.stack(list(draw_all([replace(scene, style="comic") for scene in told])))
    latents = normalised(vae, encode_all(vae, drawn).float()).bfloat16()
    lesson = Lesson("lora_comic", dict.fromkeys(POSES, 1), guided_from=1.0)
    return train_flux(flux, lesson, told, latents, torch.ones(count, 64), folder, schedule)
