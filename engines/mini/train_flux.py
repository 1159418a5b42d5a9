"""Trains the small FLUX: transformer and both text encoders together, from latents and captions of generic people."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel, T5EncoderModel

from engines.mini import configs, words, world
from engines.mini.attention import spelled_out_attention
from engines.mini.configs import pack
from engines.mini.loop import Schedule, autocast, emphasis, train
from engines.mini.world import Scene

_SHIFT = math.exp(0.47)
DROPOUT = 0.1
NAMED = 0.7  # whose hair is red and whose shirt is learned from captions that name both
FACE = 4.0  # at 12 the faces took from the clothes: outfits fell from 95 to 86 % right
Text = tuple[Tensor, Tensor]
Velocity = Callable[[Tensor, Tensor, Tensor, Text], Tensor]


@dataclass(frozen=True)
class Flux:
    """The three modules of the generator that learn."""

    transformer: FluxTransformer2DModel
    clip: CLIPTextModel
    t5: T5EncoderModel

    @classmethod
    def new(cls, seed: int) -> Flux:
        """Build them with random weights."""
        torch.manual_seed(seed)
        return cls(
            configs.flux_transformer(),
            configs.clip_text(words.clip_tokenizer()),
            configs.t5_encoder(words.t5_tokenizer()),
        )

    def modules(self) -> dict[str, nn.Module]:
        """Name them for a checkpoint."""
        return {"transformer": self.transformer, "clip": self.clip, "t5": self.t5}

    def encode(self, clip_ids: Tensor, t5_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Encode ids (B, 32) twice: the sequence (B, 32, 192) and the pooled vector (B, 128)."""
        clip_ids, t5_ids = clip_ids.to(self.clip.device), t5_ids.to(self.t5.device)
        return self.t5(t5_ids).last_hidden_state.float(), self.clip(clip_ids).pooler_output.float()

    def velocity(self, tokens: Tensor, sigma: Tensor, guidance: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
        """Predict noise − picture for packed latents (B, 64, 64) at sigma (B,)."""
        rows = torch.arange(8, device=tokens.device)
        still = torch.zeros(8, 8, device=tokens.device)
        place = torch.stack([still, rows[:, None].expand(8, 8), rows[None].expand(8, 8)], dim=-1)
        return self.transformer(
            hidden_states=tokens,
            timestep=sigma,
            guidance=guidance,
            encoder_hidden_states=text[0],
            pooled_projections=text[1],
            img_ids=place.reshape(64, 3),
            txt_ids=torch.zeros(text[0].shape[1], 3, device=tokens.device),
            return_dict=False,
        )[0]


@dataclass(frozen=True)
class Lesson:
    """One stage of the generator's training: how often it is shown a pose, and from when on guidance acts."""

    stage: str
    shown: dict[str, int]
    guided_from: float


STANDING = Lesson("flux", {"standing": 1, "sitting": 0, "T-pose": 0}, guided_from=0.75)
POSED = Lesson("flux_poses", {"standing": 1, "sitting": 2, "T-pose": 3}, guided_from=0.0)


@dataclass(frozen=True)
class Captions:
    """Caption ids for each picture: plain and naming what is seen of the person; the last row is the empty caption."""

    clip: Tensor
    t5: Tensor

    @classmethod
    def of(cls, texts: list[str]) -> Captions:
        """Tokenise texts to their fixed lengths."""
        tables = []
        for tokenizer in (words.clip_tokenizer(), words.t5_tokenizer()):
            length = tokenizer.model_max_length
            given = tokenizer(texts, padding="max_length", truncation=True, max_length=length)["input_ids"]
            tables.append(torch.tensor(given, dtype=torch.int16))
        return cls(*tables)

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Give the ids of some rows."""
        return self.clip[index].long(), self.t5[index].long()


def training_texts(scenes: list[Scene], seed: int) -> list[str]:
    """Word every scene twice, without and with what one sees of the person, in a varied order; then nothing."""
    texts = []
    for i, scene in enumerate(scenes):
        rng = random.Random(f"wording {seed} {i}")
        for named in (False, True):
            texts.append(varied(world.caption(scene, identity=named), rng))
    return [*texts, ""]


def varied(caption: str, rng: random.Random) -> str:
    """Shuffle the parts after the person in half of the captions and leave some out, as people's prompts do."""
    parts = caption.split(", ")
    if rng.random() < 0.5:
        return caption
    first = 1 + sum(part.split()[-1] in ("skin", "eyes", "glasses", "freckles", "beard") for part in parts[1:5])
    rest = [part for part in parts[first:] if rng.random() > 0.12]
    rng.shuffle(rest)
    return ", ".join(parts[:first] + rest)


def draw_sigma(count: int, generator: torch.Generator) -> Tensor:
    """Draw noise levels: mostly logit-normal and shifted as the sampler is, a fifth uniform."""
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
    """Train on a lesson's pictures; from its mark on the guidance input learns to act as CFG does.

    `latents` (N, 16, 16, 16) are all scenes', normalised. `faces` (N, 64) says where an expression shows: without more
    weight there, so few tokens are hardly learned.
    """
    captions = Captions.of(training_texts(scenes, schedule.seed))
    nothing = len(captions.clip) - 1
    shown = torch.tensor([i for i, scene in enumerate(scenes) for _ in range(lesson.shown[scene.pose])])
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
    """Compute what CFG at each sample's guidance adds to its target; the samples are every second one of the text's."""
    both = tuple(torch.cat([told[1::2], untold]) for told, untold in zip(text, empty, strict=True))
    twice = torch.cat([noisy, noisy])
    out = velocity(twice, torch.cat([sigma, sigma]), torch.ones_like(sigma).repeat(2), (both[0], both[1]))
    told, untold = out.float().chunk(2)
    return (guidance - 1)[:, None, None] * (told - untold)


@torch.no_grad()
def generate(
    flux: Flux, texts: list[str], seed: int, steps: int = 28, guidance: float = 3.5, batch: int = 50
) -> Tensor:
    """Sample normalised latents (N, 16, 16, 16) with FLUX's own schedule, by Euler steps."""
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
