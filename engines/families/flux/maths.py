"""Holds the functions that compute with the components of FLUX.1, for generating and for training.

Conventions, as in diffusers' FluxPipeline: x_σ = (1 − σ)·x₀ + σ·noise, the transformer predicts noise − x₀, and its
`timestep` is σ itself (it multiplies by 1000 inside).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from engines.api.params import GenerateParams
from engines.drawing.latents import from_pixels, latent_factor, pack, to_pixels, unpack
from engines.drawing.sampling import Tick, euler, noise, sigmas
from engines.drawing.shortcuts import branch

__all__ = [
    "Conditioning", "encode_prompts", "image_ids", "latent_factor", "pack", "sample", "stack", "to_images",
    "to_latents", "unpack", "velocity",
]  # fmt: skip

Transformer = Any  # diffusers' FluxTransformer2DModel, a placeholder without types to mypy
Vae = Any  # diffusers' AutoencoderKL, likewise


@dataclass(frozen=True)
class Conditioning:
    """Holds B encoded prompts: `prompt_embeds` from T5 (B, text_tokens, width) and `pooled` from CLIP (B, width)."""

    prompt_embeds: Tensor  # (B, text_tokens, T5 width)
    pooled: Tensor  # (B, CLIP width)

    def __len__(self) -> int:
        return self.prompt_embeds.shape[0]

    @property
    def nbytes(self) -> int:
        """Returns the size of both tensors in bytes."""
        return self.prompt_embeds.nbytes + self.pooled.nbytes

    def rows(self, index: Sequence[int] | slice | Tensor) -> Conditioning:
        """Returns a Conditioning with the prompts at the positions `index` in the batch, in that order."""
        where = list(index) if isinstance(index, (list, tuple, range)) else index
        return Conditioning(self.prompt_embeds[where], self.pooled[where])

    def to(self, *args: Any, **kwargs: Any) -> Conditioning:
        """Returns a copy with `Tensor.to` applied to both tensors."""
        return Conditioning(self.prompt_embeds.to(*args, **kwargs), self.pooled.to(*args, **kwargs))


def stack(rows: Sequence[Conditioning]) -> Conditioning:
    """Concatenates several batches of encoded prompts into one batch."""
    return Conditioning(torch.cat([row.prompt_embeds for row in rows]), torch.cat([row.pooled for row in rows]))


def image_ids(h: int, w: int) -> Tensor:
    """Returns the position (0, row, column) of each packed token, for rotary embeddings: ((h/2)(w/2), 3) float32.

    `h`, `w`: the height and width of the unpacked latents; one token packs 2×2 of them.
    """
    rows, columns = torch.meshgrid(torch.arange(h // 2), torch.arange(w // 2), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()


@torch.no_grad()
def encode_prompts(
    parts: Mapping[str, Any], tokenizers: Mapping[str, Any], prompts: Sequence[str], text_tokens: int
) -> Conditioning:
    """Encodes B prompts with T5 and CLIP; returns a Conditioning with one row for each, on the encoders' device.

    T5 encodes padding too, as in FLUX's training. `parts`: text_encoder (CLIP) and text_encoder_2 (T5), by name.
    `tokenizers`: tokenizer (CLIP's) and tokenizer_2 (T5's), by name. `text_tokens`: the number of tokens to which T5's
    prompts are padded or truncated.
    """
    clip, t5 = parts["text_encoder"], parts["text_encoder_2"]
    short = tokenizers["tokenizer"]
    clip_ids = short(
        list(prompts), padding="max_length", max_length=short.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids
    t5_ids = tokenizers["tokenizer_2"](
        list(prompts), padding="max_length", max_length=text_tokens, truncation=True, return_tensors="pt"
    ).input_ids
    return Conditioning(
        prompt_embeds=t5(t5_ids.to(t5.device), output_hidden_states=False)[0],
        pooled=clip(clip_ids.to(clip.device), output_hidden_states=False).pooler_output,
    )


@torch.no_grad()
def to_latents(
    vae: Vae, images: Sequence[Image.Image] | Tensor, sample: bool = True, generator: torch.Generator | None = None
) -> Tensor:
    """Encodes pictures of one size, or pixels (B, 3, H, W) in −1…1, as normalised latents (B, 16, h, w).

    `sample`: draw from the VAE's posterior with `generator`; otherwise its mode is taken.
    """
    pixels = images if isinstance(images, Tensor) else to_pixels(images)
    spread = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    latents: Tensor = spread.sample(generator) if sample else spread.mode()
    normalised: Tensor = (latents - vae.config.shift_factor) * vae.config.scaling_factor
    return normalised


@torch.no_grad()
def to_images(vae: Vae, latents: Tensor) -> list[Image.Image]:
    """Decodes normalised latents (B, 16, h, w) to pictures."""
    raw = latents.to(vae.device, vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    return from_pixels(vae.decode(raw, return_dict=False)[0])


def velocity(
    transformer: Transformer,
    packed: Tensor,
    cond: Conditioning,
    sigma: Tensor | float,
    guidance: Tensor | float,
    h: int,
    w: int,
) -> Tensor:
    """Predicts the velocity (noise − x₀) of packed latents (B, n, 64) at noise levels 0…1; returns (B, n, 64).

    `cond`: the encoded prompts. `sigma` (the noise level), `guidance`: one number for all rows, or (B,). `guidance` is
    ignored where the model has no embedder for it. `h`, `w`: the height and width of the unpacked latents.
    """
    device, dtype = packed.device, packed.dtype
    predicted: Tensor = transformer(
        hidden_states=packed,
        timestep=_each(sigma, packed),
        guidance=_each(guidance, packed, torch.float32) if transformer.config.guidance_embeds else None,
        pooled_projections=cond.pooled.to(device, dtype),
        encoder_hidden_states=cond.prompt_embeds.to(device, dtype),
        txt_ids=torch.zeros(cond.prompt_embeds.shape[1], 3, device=device, dtype=dtype),
        img_ids=image_ids(h, w).to(device, dtype),
        return_dict=False,
    )[0]
    return predicted


def _each(value: Tensor | float, packed: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Expands one number to a number for each row of the batch, (B,), on the device of the tokens."""
    return torch.as_tensor(value, device=packed.device, dtype=dtype or packed.dtype).expand(packed.shape[0])


@torch.no_grad()
def sample(
    transformer: Transformer,
    cond: Conditioning,
    params: Sequence[GenerateParams],
    scheduler_config: Mapping[str, Any],
    on_step: Tick,
    *,
    factor: int,
) -> Tensor:
    """Denoises pictures of one size and step count in one batch; returns normalised latents (B, 16, h, w) float32.

    `params`: the pictures' parameters; `cond`: a row for each of `params`. `scheduler_config`: the content of
    scheduler_config.json. `on_step`: called after each step. `factor`: the VAE's downscaling, in pixels per latent.
    Each picture's noise depends on its own seed alone.
    """
    first = params[0]
    h, w = (2 * (side // (2 * factor)) for side in (first.height, first.width))
    channels = transformer.config.in_channels // 4
    device, dtype = transformer.device, transformer.dtype
    cond = cond.to(device, dtype)
    guidance = torch.tensor([item.guidance for item in params], device=device)

    def predict(latents: Tensor, sigma: float) -> Tensor:
        with branch(transformer, "cond"):
            return velocity(transformer, latents.to(dtype), cond, sigma, guidance, h, w)

    start = pack(noise([item.seed for item in params], (channels, h, w))).to(device)
    levels = sigmas(scheduler_config, first.steps, start.shape[1])
    return unpack(euler(predict, start, levels, on_step), h, w)
