"""Converts pictures and latents for the families: 2×2 packing, pixels to tensors and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engines.catalogue.shapes import Config
from engines.pictures import to_rgb


def pack(latents: Tensor) -> Tensor:
    """Packs latents (B, C, H, W) in 2×2 patches into transformer tokens (B, (H/2)(W/2), 4C)."""
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(batch, (height // 2) * (width // 2), channels * 4)


def unpack(packed: Tensor, h: int, w: int) -> Tensor:
    """Unpacks transformer tokens (B, (h/2)(w/2), 4C) into latents (B, C, h, w)."""
    batch, _, channels = packed.shape
    patches = packed.reshape(batch, h // 2, w // 2, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(batch, channels // 4, h, w)


def to_pixels(images: Sequence[Image.Image]) -> Tensor:
    """Converts pictures of one size to a tensor (B, 3, H, W), float32 in −1…1."""
    stack = np.stack([np.asarray(to_rgb(image), dtype=np.float32) for image in images])
    return torch.from_numpy(stack / 255.0).permute(0, 3, 1, 2) * 2.0 - 1.0


def from_pixels(pixels: Tensor) -> list[Image.Image]:
    """Converts a tensor (B, 3, H, W) in −1…1 to pictures; values outside that range are clipped."""
    unit = (pixels.float() * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in (unit * 255).round().astype("uint8")]


def resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Returns a picture in RGB, stretched or shrunk to `width` × `height` pixels."""
    is_plain = image.mode == "RGB" and not image.info and not image.getexif()  # what `to_rgb` made: it need not copy
    image = image if is_plain else to_rgb(image)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def latent_factor(vae_config: Config) -> int:
    """Returns a VAE's downscaling factor: the side of a picture in pixels, divided by the side of its latents."""
    return int(2 ** (len(vae_config["block_out_channels"]) - 1))
