"""Trains the toy FLUX, its transformer and both text encoders together, on latents and captions of many people."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, T5EncoderModel

from engines.mini import configs, text_tokenizers, world
from engines.mini.attention import spelled_out_attention
from engines.mini.configs import Model, pack
from engines.mini.loop import Schedule, autocast, emphasis, train
from engines.mini.scene import Scene

_SHIFT = math.exp(0.47)
DROPOUT = 0.1
NAMED = 0.7  # share of captions with the person's traits, from which the model learns which colour is of hair
FACE = 4.0  # the most extra weight of a face's tokens; at 12 correct outfits fell from 95 to 86 %
Text = tuple[Tensor, Tensor]  # sequence (B, 32, 192), pooled (B, 128)
Velocity = Callable[[Tensor, Tensor, Tensor, Text], Tensor]


@dataclass(frozen=True)
class Flux:
    """Holds the three modules of a small FLUX model: the transformer and the text encoders CLIP and T5."""

    transformer: Model
    clip: CLIPTextModel
    t5: T5EncoderModel

    @classmethod
    def new(cls, seed: int) -> Flux:
        """Builds the three modules with random weights, drawn from `seed`."""
        torch.manual_seed(seed)
        return cls(
            configs.flux_transformer(),
            configs.clip_text(text_tokenizers.clip_tokenizer()),
            configs.t5_encoder(text_tokenizers.t5_tokenizer()),
        )

    def modules(self) -> dict[str, nn.Module]:
        """Returns the three modules as a dict, under the names "transformer", "clip" and "t5"."""
        return {"transformer": self.transformer, "clip": self.clip, "t5": self.t5}

    def encode(self, clip_ids: Tensor, t5_ids: Tensor) -> Text:
        """Encodes prompts, given as token ids (B, 32) of both tokenizers.

        Returns the sequence (B, 32, 192) from T5 and the pooled vector (B, 128) from CLIP.
        """
        clip_ids, t5_ids = clip_ids.to(self.clip.device), t5_ids.to(self.t5.device)
        return self.t5(t5_ids).last_hidden_state.float(), self.clip(clip_ids).pooler_output.float()

    def velocity(self, tokens: Tensor, sigma: Tensor, guidance: Tensor, text: Text) -> Tensor:
        """Predicts the velocity (noise − picture) of packed latents, (B, 64, 64).

        `tokens`: noisy packed latents (B, 64, 64); `sigma`, `guidance`: noise levels and guidance scales, (B,) each;
        `text`: what `encode` returned.
        """
        rows = torch.arange(8, device=tokens.device)
        still = torch.zeros(8, 8, device=tokens.device)
        place = torch.stack([still, rows[:, None].expand(8, 8), rows[None].expand(8, 8)], dim=-1)
        predicted: Tensor = self.transformer(
            hidden_states=tokens,
            timestep=sigma,
            guidance=guidance,
            encoder_hidden_states=text[0],
            pooled_projections=text[1],
            img_ids=place.reshape(64, 3),
            txt_ids=torch.zeros(text[0].shape[1], 3, device=tokens.device),
            return_dict=False,
        )[0]
        return predicted


@dataclass(frozen=True)
class Lesson:
    """Describes one stage of training the small FLUX model.

    `stage`: its name; `repeats`: for each pose, how often every picture with that pose is in the data; `guided_from`:
    the guidance input is trained only after this share (0…1) of the steps.
    """

    stage: str
    repeats: dict[str, int]  # pose -> how often each of its pictures is in the data
    guided_from: float  # share of the steps after which the guidance input is trained


STANDING = Lesson("flux", {"standing": 1, "sitting": 0, "T-pose": 0}, guided_from=0.75)
POSED = Lesson("flux_poses", {"standing": 1, "sitting": 2, "T-pose": 3}, guided_from=0.0)


@dataclass(frozen=True)
class Captions:
    """Holds the token ids of captions for CLIP and for T5, (N, 32) each."""

    clip: Tensor
    t5: Tensor

    @classmethod
    def of(cls, texts: list[str]) -> Captions:
        """Tokenises captions for both encoders, padded or cut to each encoder's fixed length."""
        tables = []
        for tokenizer in (text_tokenizers.clip_tokenizer(), text_tokenizers.t5_tokenizer()):
            length = tokenizer.model_max_length
            given = tokenizer(texts, padding="max_length", truncation=True, max_length=length)["input_ids"]
            tables.append(torch.tensor(given, dtype=torch.int16))
        return cls(*tables)

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the CLIP ids and the T5 ids, (B, 32) each, of the captions at the positions `index` (B,)."""
        return self.clip[index].long(), self.t5[index].long()


def training_texts(scenes: list[Scene], seed: int) -> list[str]:
    """Returns the captions for training: two of each scene, then one empty caption at the end.

    A scene's first caption lacks the person's traits (such as hair and skin), and its second has them. `varied` then
    changes some of the captions at random; `seed` decides how.
    """
    texts = []
    for i, scene in enumerate(scenes):
        rng = random.Random(f"wording {seed} {i}")
        for named in (False, True):
            texts.append(varied(world.caption(scene, identity=named), rng))
    return [*texts, ""]


def varied(caption: str, rng: random.Random) -> str:
    """Returns a caption unchanged or, in half of the cases, with its comma-separated parts shuffled and some left out.

    The first parts, which name the person and the person's traits, always stay in place.
    """
    parts = caption.split(", ")
    if rng.random() < 0.5:
        return caption
    first = 1 + sum(part.split()[-1] in ("skin", "eyes", "glasses", "freckles", "beard") for part in parts[1:5])
    rest = [part for part in parts[first:] if rng.random() > 0.12]
    rng.shuffle(rest)
    return ", ".join(parts[:first] + rest)


def draw_sigma(count: int, generator: torch.Generator) -> Tensor:
    """Draws noise levels for training, (count,).

    A fifth of them are uniform. The others are logit-normal and shifted towards noise as the sampler shifts its levels.
    """
    u = torch.sigmoid(torch.randn(count, generator=generator))
    shifted = _SHIFT * u / (1 + (_SHIFT - 1) * u)
    flat = torch.rand(count, generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.2, flat, shifted).clamp(1e-3, 1.0)


def train_flux(
    flux: Flux,
    lesson: Lesson,
    scenes: list[Scene],
    latents: Tensor,
    faces: Tensor,
    folder: Path,
    schedule: Schedule,
    compiled: bool = False,
) -> dict[str, float]:
    """Trains the small FLUX model on the pictures of one stage, `lesson`.

    `scenes`: what the pictures show, from which the captions are made; the stage may skip some. `latents`: the
    normalised latents of the pictures of all scenes, (N, 16, 16, 16). `faces`: for each token how much it shows of the
    facial expression, (N, 64); such tokens get more weight in the loss, because they are few. `folder`: for the
    checkpoint, from which an interrupted training resumes. `compiled`: whether to use torch.compile.
    Returns a dict with the number of `steps`, the final `loss` and the number of `parameters`.
    """
    captions = Captions.of(training_texts(scenes, schedule.seed))
    nothing = len(captions.clip) - 1
    shown = torch.tensor([i for i, scene in enumerate(scenes) for _ in range(lesson.repeats[scene.pose])])
    velocity: Velocity = torch.compile(flux.velocity, dynamic=False) if compiled else flux.velocity

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        n = schedule.batch
        rows = shown[torch.randint(len(shown), (n,), generator=generator)].sort().values
        named = torch.rand(n, generator=generator) < NAMED
        dropped = torch.rand(n, generator=generator) < DROPOUT
        index = torch.where(dropped, nothing, 2 * rows + named.long())
        clean = pack(latents[rows].float())
        noise = torch.randn(clean.shape, generator=generator)
        sigma = draw_sigma(n, generator)
        noisy = torch.lerp(clean, noise, sigma[:, None, None])
        guidance = 1 + 3 * torch.rand(n, generator=generator)
        clean, noise, noisy, sigma, guidance = (x.to(schedule.device) for x in (clean, noise, noisy, sigma, guidance))
        target = noise - clean
        with autocast(schedule.device):
            text = flux.encode(*captions.rows(index))
            if step >= lesson.guided_from * schedule.steps:
                guidance[::2] = 1.0
                empty = flux.encode(*captions.rows(torch.full((n // 2,), nothing)))
                target[1::2] += _guided_part(velocity, noisy[1::2], sigma[1::2], guidance[1::2], text, empty)
            out = velocity(noisy, sigma, guidance, text)
        error = (out.float() - target).pow(2).mean(dim=-1)
        return (emphasis(faces[rows].float(), FACE).to(schedule.device) * error).mean()

    with spelled_out_attention():
        return train(lesson.stage, folder, flux.modules(), loss_of, schedule)


@torch.no_grad()
def _guided_part(velocity: Velocity, noisy: Tensor, sigma: Tensor, guidance: Tensor, text: Text, empty: Text) -> Tensor:
    """Returns what classifier-free guidance at each sample's `guidance` adds to its target, (n, 64, 64).

    The samples are every second one of the batch whose prompts are in `text`.
    """
    both = tuple(torch.cat([prompt[1::2], none]) for prompt, none in zip(text, empty, strict=True))
    twice = torch.cat([noisy, noisy])
    out = velocity(twice, torch.cat([sigma, sigma]), torch.ones_like(sigma).repeat(2), (both[0], both[1]))
    prompted, unprompted = out.float().chunk(2)
    return (guidance - 1)[:, None, None] * (prompted - unprompted)


@torch.no_grad()
def generate(
    flux: Flux, texts: list[str], seed: int, steps: int = 28, guidance: float = 3.5, batch: int = 50
) -> Tensor:
    """Generates pictures from the prompts `texts` by Euler steps; returns normalised latents (N, 16, 16, 16).

    `seed`: of the initial noise; `guidance`: the guidance scale, an input of the model; `batch`: how many pictures are
    denoised at a time.
    """
    captions = Captions.of(texts)
    noise = torch.randn((len(texts), 64, 64), generator=torch.Generator().manual_seed(seed))
    levels = torch.linspace(1, 1 / steps, steps)
    levels = torch.cat([_SHIFT * levels / (1 + (_SHIFT - 1) * levels), torch.zeros(1)])
    parts = []
    for start in range(0, len(texts), batch):
        x = noise[start : start + batch]
        index = torch.arange(start, start + len(x))
        with autocast(x.device):
            text = flux.encode(*captions.rows(index))
            for now, after in itertools.pairwise(levels):
                v = flux.velocity(x, now.expand(len(x)), torch.full((len(x),), guidance), text)
                x = x + (after - now) * v.float()
        parts.append(configs.unpack(x))
    return torch.cat(parts)
