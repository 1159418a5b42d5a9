"""Trains the two toy autoencoders: FLUX's AutoencoderKL and Qwen's causal 3-D one, both 64×64×3 ↔ 16×16×16."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from torch import Tensor
from torch.nn import functional as F

from engines.mini.configs import Model, is_causal
from engines.mini.dataset import Pictures
from engines.mini.loop import Schedule, autocast, train

LATENT_CHANNELS = 16
_KL_WEIGHT = 2e-4
_DECIBELS = 0.05


def new_flux_vae() -> Model:
    """Builds a small, untrained autoencoder of FLUX's architecture; one latent stands for 4 × 4 pixels.

    It has no `quant_conv` and no `post_quant_conv` layer.
    """
    vae: Model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    _start_certain(vae.encoder.conv_out.bias)
    return vae


def new_qwen_vae() -> Model:
    """Builds a small, untrained autoencoder of Qwen-Image's architecture; one latent stands for 4 × 4 pixels."""
    vae: Model = AutoencoderKLQwenImage(
        base_dim=32,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        attn_scales=[],
        temperal_downsample=[False, True],
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
    )
    _start_certain(vae.quant_conv.bias)
    return vae


@torch.no_grad()
def _start_certain(moments_bias: Tensor) -> None:
    """Sets the initial posterior's noise low: with the usual noise, training can stay at the mean picture for long."""
    moments_bias[LATENT_CHANNELS:] = -6.0


def _still_forward(conv: Model, x: Tensor, cache_x: Any = None) -> Tensor:
    """Computes a causal 3-D convolution of a single frame as the 2-D one of its last slice."""
    padding = (conv._padding[3], conv._padding[1])
    out = F.conv2d(x[:, :, -1], conv.weight[:, :, -1], conv.bias, conv.stride[1:], padding)
    return out.unsqueeze(2)


def for_still_pictures(vae: Model) -> Model:
    """Replaces the causal 3-D convolutions of an autoencoder by 2-D ones, and returns the autoencoder.

    For a single frame the results are the same and are computed several times faster.
    """
    convolutions: list[Model] = [module for module in vae.modules() if isinstance(module, QwenImageCausalConv3d)]
    for each in convolutions:
        each.forward = types.MethodType(_still_forward, each)
    return vae


def encode_moments(vae: Model, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Encodes pixels (B, 3, H, W) in −1…1; returns the posterior's mean and log-variance, (B, 16, H/4, W/4) each."""
    moments = vae.quant_conv(vae.encoder(pixels.unsqueeze(2)))[:, :, 0] if is_causal(vae) else vae.encoder(pixels)
    mean, logvar = moments.float().chunk(2, dim=1)
    return mean, logvar.clamp(-30, 20)


def decode(vae: Model, latents: Tensor) -> Tensor:
    """Decodes latents (B, 16, h, w), which are not normalised, to pixels (B, 3, 4h, 4w) in −1…1."""
    if is_causal(vae):
        pixels: Tensor = vae.decoder(vae.post_quant_conv(latents.unsqueeze(2)))[:, :, 0]
    else:
        pixels = vae.decoder(latents)
    return pixels.float()


def to_pixels(pictures: Pictures) -> Tensor:
    """Converts uint8 pictures (B, H, W, 3) to pixels (B, 3, H, W) in −1…1."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _reconstruction(out: Tensor, wanted: Tensor) -> Tensor:
    """Returns the loss of a reconstruction: absolute and squared errors of pixels, and errors of their differences."""
    edges = (out.diff(dim=2) - wanted.diff(dim=2)).abs().mean() + (out.diff(dim=3) - wanted.diff(dim=3)).abs().mean()
    return (out - wanted).abs().mean() + F.mse_loss(out, wanted) + 0.5 * edges


def train_vae(
    kind: str, pictures: Pictures, folder: Path, schedule: Schedule, compiled: bool = False
) -> tuple[Model, dict[str, float]]:
    """Trains a small autoencoder on pictures.

    `kind`: "flux" or "qwen"; `folder`: for the checkpoint, from which an interrupted training resumes; `compiled`:
    whether to use torch.compile. It must be False for "flux", which learns nothing if it is compiled (torch 2.13,
    GroupNorm, CPU). Returns the autoencoder, and a dict with the number of `steps`, the final `loss` and the number of
    `parameters`.
    """
    torch.manual_seed(schedule.seed)
    vae = new_flux_vae() if kind == "flux" else for_still_pictures(new_qwen_vae())

    def forward(pixels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = encode_moments(vae, pixels)
        return mean, logvar, decode(vae, mean + noise * torch.exp(0.5 * logvar))

    fast = torch.compile(forward, dynamic=False) if compiled else forward
    side = pictures.shape[1] // 4

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(pictures), (schedule.batch,), generator=generator).numpy()
        pixels = to_pixels(pictures[np.sort(rows)])
        noise = torch.randn((schedule.batch, LATENT_CHANNELS, side, side), generator=generator)
        pixels, noise = pixels.to(schedule.device), noise.to(schedule.device)
        with autocast(schedule.device):
            mean, logvar, out = fast(pixels, noise)
        kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
        return _reconstruction(out, pixels) + _KL_WEIGHT * kl

    return vae, train(f"vae_{kind}", folder, {"vae": vae}, loss_of, schedule)


def polish_decoder(
    kind: str, vae: Model, latents: Tensor, pictures: Pictures, folder: Path, schedule: Schedule
) -> dict[str, float]:
    """Trains an autoencoder's decoder further, on `pictures` and their `latents` (N, 16, 16, 16).

    `latents`: as the encoder returns them, not normalised. The encoder does not change, so that latents which exist
    already stay valid. `folder`: for the checkpoint, from which an interrupted training resumes; `kind`: "flux" or
    "qwen", for the checkpoint's name. Returns a dict with the number of `steps`, the final `loss` and the number of
    `parameters`.
    """
    modules = {name: part for name, part in vae.named_children() if name in ("decoder", "post_quant_conv")}

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(latents), (schedule.batch,), generator=generator).sort().values
        wanted = to_pixels(pictures[rows.numpy()]).to(schedule.device)
        with autocast(schedule.device):
            out = decode(vae, latents[rows].float().to(schedule.device))
        squared = (out - wanted).pow(2).mean(dim=(1, 2, 3))
        return _reconstruction(out, wanted) + _DECIBELS * squared.log().mean()  # the mean of the pictures' PSNR

    return train(f"polish_{kind}", folder, modules, loss_of, schedule)


@torch.no_grad()
def encode_all(vae: Model, pictures: Pictures, batch: int = 64) -> Tensor:
    """Returns the latents of pictures, (N, 16, 16, 16) bf16: the means of the posterior, not normalised.

    They are computed on the autoencoder's device, `batch` pictures at a time, and returned on the CPU.
    """
    parts, device = [], next(vae.parameters()).device
    for start in range(0, len(pictures), batch):
        pixels = to_pixels(pictures[start : start + batch]).to(device)
        with autocast(device):
            parts.append(encode_moments(vae, pixels)[0].bfloat16().cpu())
    return torch.cat(parts)


@torch.no_grad()
def psnr(vae: Model, pictures: Pictures) -> float:
    """Encodes and decodes pictures, and returns the PSNR in dB of the results, averaged over the pictures."""
    values = []
    for start in range(0, len(pictures), 64):
        pixels = to_pixels(pictures[start : start + 64])
        with autocast(pixels.device):
            out = decode(vae, encode_moments(vae, pixels)[0]).clamp(-1, 1)
        error = (out - pixels).pow(2).mean(dim=(1, 2, 3))
        values.append(10 * torch.log10(4 / error))
    return float(torch.cat(values).mean())
