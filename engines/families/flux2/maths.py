"""Holds the functions that compute with the components of FLUX.2 [klein], for generating and for training.

Conventions, as in diffusers' Flux2KleinPipeline: x_σ = (1 − σ)·x₀ + σ·noise, the transformer predicts noise − x₀, and
its `timestep` is σ itself (it multiplies by 1000 inside). There is no guidance embedder: guidance is true
classifier-free guidance against the negative prompt. Latents are normalised by the channels of their 2×2 patches;
`pack` orders those as the VAE's statistics do, so that everything else is as for FLUX.1. For an edit, the tokens of the
clean reference pictures follow those of the picture to draw; each reference has a time of its own among the positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from engines.api.params import EditParams, GenerateParams
from engines.drawing.latents import from_pixels, latent_factor, pack, to_pixels, unpack
from engines.drawing.sampling import Tick, euler, noise, shifted_sigmas
from engines.drawing.shortcuts import branch

__all__ = [
    "References", "edit", "encode_prompts", "latent_factor", "own_shift", "pack", "reference_size", "sample",
    "to_images", "to_latents", "velocity",
]  # fmt: skip

_LAYERS = (9, 18, 27)  # of the text encoder, whose hidden states klein was trained with
_LONG = 4300  # image tokens; above them the shift no longer depends on the number of steps
_APART = 10  # between the times of two reference pictures; the picture to draw has time 0

Transformer = Any  # diffusers' Flux2Transformer2DModel, a placeholder without types to mypy
Vae = Any  # diffusers' AutoencoderKLFlux2, likewise


class References(NamedTuple):
    """Holds the clean reference pictures of a batch of edits as tokens, one picture after another.

    `tokens`: packed normalised latents (B, m, 128); `positions`: (time, row, column, word) of each token, (m, 4).
    """

    tokens: Tensor
    positions: Tensor

    @classmethod
    def of(cls, latents: Sequence[Tensor]) -> References:
        """Returns the normalised latents (1, 32, h, w) of reference pictures, which may differ in size, as tokens."""
        grids = [
            _positions(each.shape[-2] // 2, each.shape[-1] // 2, 1, time=_APART * (index + 1))
            for index, each in enumerate(latents)
        ]
        return cls(torch.cat([pack(each) for each in latents], dim=1), torch.cat(grids))


def reference_size(width: int, height: int, area: int, multiple: int) -> tuple[int, int]:
    """Returns the size (width, height) to which a reference picture is scaled; a small one is not enlarged.

    It has at most about `area` pixels and the aspect ratio of `width` × `height`, up to sides that are multiples of
    `multiple`. A size that this function returned comes back unchanged. diffusers' Flux2KleinPipeline has the same
    sizes; it cuts the pixels beyond a multiple off, where this studio scales, so that a result lies on its source.
    """
    scale = min(1.0, math.sqrt(area / (width * height)))
    w, h = (max(multiple, int(side * scale) // multiple * multiple) for side in (width, height))
    return w, h


def own_shift(image_tokens: int, steps: int) -> float:
    """Returns the μ by which FLUX.2's noise schedule is shifted for `image_tokens` packed latents and `steps` steps.

    Two linear functions of the number of tokens give μ, one for 10 steps and one for 200. The result is interpolated
    between them by `steps`; for many tokens it is always the value for 200 steps. Source: `compute_empirical_mu` in
    black-forest-labs/flux2, as in diffusers' pipeline_flux2_klein.py.
    """
    at_200 = 0.00016927 * image_tokens + 0.45666666
    if image_tokens > _LONG:
        return at_200
    at_10 = 8.73809524e-05 * image_tokens + 1.89833333
    return at_200 + (at_10 - at_200) * (200 - steps) / 190


@torch.no_grad()
def encode_prompts(text_encoder: Any, tokenizer: Any, prompts: Sequence[str], text_tokens: int) -> Tensor:
    """Encodes prompts with Qwen3; returns three inner layers' hidden states side by side, (B, text_tokens, 3 × width).

    Each prompt is the only message of a chat, with thinking turned off. Tokens of padding are included. `text_tokens`:
    the number of tokens to which prompts are padded or truncated.
    """
    texts = [_chat(tokenizer, prompt) for prompt in prompts]
    read = tokenizer(texts, padding="max_length", max_length=text_tokens, truncation=True, return_tensors="pt")
    states = text_encoder.base_model(
        input_ids=read.input_ids.to(text_encoder.device),
        attention_mask=read.attention_mask.to(text_encoder.device),
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states
    return torch.cat([states[layer] for layer in _LAYERS], dim=-1)


def count_tokens(tokenizer: Any, prompt: str) -> int:
    """Returns the number of tokens of a prompt with the chat template around it."""
    return len(tokenizer(_chat(tokenizer, prompt), verbose=False).input_ids)


def _chat(tokenizer: Any, prompt: str) -> Any:
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )


@torch.no_grad()
def to_latents(
    vae: Vae, images: Sequence[Image.Image] | Tensor, sample: bool = True, generator: torch.Generator | None = None
) -> Tensor:
    """Encodes pictures of one size, or pixels (B, 3, H, W) in −1…1, as normalised latents (B, 32, h, w).

    `sample`: draw from the VAE's posterior with `generator`; otherwise its mode is taken.
    """
    pixels = images if isinstance(images, Tensor) else to_pixels(images)
    spread = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    latents = spread.sample(generator) if sample else spread.mode()
    mean, deviation = _statistics(vae)
    return unpack((pack(latents) - mean) / deviation, *latents.shape[-2:])


@torch.no_grad()
def to_images(vae: Vae, latents: Tensor) -> list[Image.Image]:
    """Decodes normalised latents (B, 32, h, w) to pictures."""
    mean, deviation = _statistics(vae)
    raw = pack(latents.to(vae.device, vae.dtype)) * deviation + mean
    return from_pixels(vae.decode(unpack(raw, *latents.shape[-2:]), return_dict=False)[0])


def _statistics(vae: Vae) -> tuple[Tensor, Tensor]:
    """Returns the mean and the standard deviation of each channel of a 2×2 patch: (128,) each."""
    return vae.bn.running_mean, (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()


def velocity(
    transformer: Transformer,
    packed: Tensor,
    prompt_embeds: Tensor,
    sigma: Tensor | float,
    h: int,
    w: int,
    references: References | None = None,
) -> Tensor:
    """Predicts the velocity (noise − x₀) of packed latents (B, n, 128) at noise levels 0…1; returns (B, n, 128).

    `prompt_embeds`: (B, t, c), as `encode_prompts` returns them. `sigma`: the noise level, one number or (B,). `h`,
    `w`: the height and width of the unpacked latents. `references`: for edits, the pictures that they are made from.
    """
    device, dtype, own = packed.device, packed.dtype, packed.shape[1]
    positions = _positions(h // 2, w // 2, 1)
    if references is not None:
        packed = torch.cat([packed, references.tokens.to(device, dtype)], dim=1)
        positions = torch.cat([positions, references.positions])
    predicted: Tensor = transformer(
        hidden_states=packed,
        timestep=torch.as_tensor(sigma, device=device, dtype=dtype).expand(packed.shape[0]),
        guidance=None,
        encoder_hidden_states=prompt_embeds.to(device, dtype),
        txt_ids=_positions(1, 1, prompt_embeds.shape[1]).to(device),
        img_ids=positions.to(device),
        return_dict=False,
    )[0]
    return predicted[:, :own]


def _positions(rows: int, columns: int, words: int, time: int = 0) -> Tensor:
    """Returns (time, row, column, word) of each token, (n, 4); integers, since bfloat16 rounds numbers beyond 256."""
    axes = [torch.tensor([time]), torch.arange(rows), torch.arange(columns), torch.arange(words)]
    return torch.cartesian_prod(*axes)


@torch.no_grad()
def sample(
    transformer: Transformer,
    prompt_embeds: Tensor,
    no_words: Tensor | None,
    params: Sequence[GenerateParams],
    scheduler_config: Mapping[str, Any],
    on_step: Tick,
    *,
    factor: int,
) -> Tensor:
    """Denoises pictures of one size and step count in one batch; returns normalised latents (B, 32, h, w) float32.

    `prompt_embeds`: (B, t, c), one row for each of `params`. `no_words`: the encoded negative prompt (1, t, c), used
    only where some guidance is above 1; None turns guidance off. `scheduler_config`: the content of
    scheduler_config.json. `on_step`: called after each step. `factor`: the VAE's downscaling, in pixels per latent.
    Each picture's noise depends on its own seed alone.
    """
    first = params[0]
    rows, columns = first.height // (2 * factor), first.width // (2 * factor)
    h, w = 2 * rows, 2 * columns
    dtype = transformer.dtype
    predict = _guided(transformer, prompt_embeds, no_words, [item.guidance for item in params])
    start = _noise(transformer, [item.seed for item in params], rows, columns)
    levels = shifted_sigmas(scheduler_config, first.steps, own_shift(start.shape[1], first.steps))

    def step(latents: Tensor, sigma: float) -> Tensor:
        return predict(latents.to(dtype), sigma, h, w, None)

    return unpack(euler(step, start, levels, on_step), h, w)


@torch.no_grad()
def edit(
    transformer: Transformer,
    prompt_embeds: Tensor,
    no_words: Tensor | None,
    references: References,
    size: tuple[int, int],
    params: Sequence[EditParams],
    scheduler_config: Mapping[str, Any],
    on_step: Tick,
) -> Tensor:
    """Denoises edits of equal sizes and step counts in one batch; returns normalised latents (B, 32, h, w) float32.

    `prompt_embeds`: (B, t, c), an encoded instruction for each of `params`. `no_words`: their encoded negative prompts
    (B, t, c), used only where some true_cfg is above 1; None turns guidance off. `references`: the pictures to edit.
    `size`: h and w, those of the first reference. `scheduler_config`, `on_step`, noise: as for `sample`.
    """
    (h, w), steps, dtype = size, params[0].steps, transformer.dtype
    predict = _guided(transformer, prompt_embeds, no_words, [item.true_cfg for item in params])
    start = _noise(transformer, [item.seed for item in params], h // 2, w // 2)
    shown = References(references.tokens.to(transformer.device, dtype), references.positions)
    levels = shifted_sigmas(scheduler_config, steps, own_shift(start.shape[1], steps))

    def step(latents: Tensor, sigma: float) -> Tensor:
        level = torch.tensor(sigma) * 1000 / 1000  # rounded as in diffusers' pipeline, which tells it in thousandths
        return predict(latents.to(dtype), level, h, w, shown)

    return unpack(euler(step, start, levels, on_step), h, w)


def _noise(transformer: Transformer, seeds: Sequence[int], rows: int, columns: int) -> Tensor:
    """Returns the noise that pictures of rows × columns tokens are made of, packed: (B, n, 128) float32."""
    drawn = noise(seeds, (transformer.config.in_channels, rows, columns))
    return drawn.flatten(2).transpose(1, 2).to(transformer.device)


def _guided(
    transformer: Transformer, prompt_embeds: Tensor, no_words: Tensor | None, scales: Sequence[float]
) -> Callable[[Tensor, Tensor | float, int, int, References | None], Tensor]:
    """Returns a function like `velocity` that applies classifier-free guidance where one of `scales` is above 1.

    `prompt_embeds`: (B, t, c); `no_words`: the encoded negative prompts, (1, t, c) or (B, t, c); None for no guidance.
    """
    device, dtype = transformer.device, transformer.dtype
    words = prompt_embeds.to(device, dtype)
    nothing = None
    if no_words is not None and any(scale > 1 for scale in scales):
        nothing = no_words.to(device, dtype).expand_as(words)
    guidance = torch.tensor(scales, device=device).view(-1, 1, 1)

    def predict(seen: Tensor, sigma: Tensor | float, h: int, w: int, references: References | None) -> Tensor:
        with branch(transformer, "cond"):
            wanted = velocity(transformer, seen, words, sigma, h, w, references)
        if nothing is None:
            return wanted
        with branch(transformer, "uncond"):
            unwanted = velocity(transformer, seen, nothing, sigma, h, w, references)
        return unwanted + guidance * (wanted - unwanted)

    return predict
