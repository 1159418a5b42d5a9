"""Compares FLUX.1's maths with diffusers' own."""

from __future__ import annotations

import pytest
from PIL import Image

pytestmark = pytest.mark.slow


def test_packing_is_diffusers_and_undoes_itself() -> None:
    """Tokens and positions are those of FluxPipeline, and unpack is the inverse of pack, for any aspect."""
    import torch
    from diffusers import FluxPipeline

    from engines.families.flux import maths as flux

    latents = torch.randn(2, 16, 6, 10)
    packed = flux.pack(latents)
    assert torch.equal(packed, FluxPipeline._pack_latents(latents, 2, 16, 6, 10))
    assert torch.equal(flux.unpack(packed, 6, 10), latents)
    assert torch.equal(flux.image_ids(6, 10), FluxPipeline._prepare_latent_image_ids(1, 3, 5, "cpu", torch.float32))


def test_latents_are_normalised(toy_flux, flux_folder) -> None:
    """to_latents is (z − shift) · scale; its sample repeats with its generator."""
    import torch

    from engines.drawing.latents import to_pixels
    from engines.families.flux import maths as flux
    from engines.weights import components

    vae = components.load(toy_flux, flux_folder, "vae")
    picture = Image.new("RGB", (64, 32), "orange")
    mode = flux.to_latents(vae, [picture], sample=False)
    raw = vae.encode(to_pixels([picture])).latent_dist.mode()
    torch.testing.assert_close(mode, (raw - 0.1) * 0.8)
    first, again = (flux.to_latents(vae, [picture], True, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, mode)
    assert flux.latent_factor(vae.config) == 4
    assert [image.size for image in flux.to_images(vae, mode)] == [(64, 32)]


def test_pixels_go_there_and_back() -> None:
    """Every grey level comes back from −1…1 unchanged."""
    import numpy as np

    from engines.drawing.latents import from_pixels, to_pixels

    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    (back,) = from_pixels(to_pixels([Image.fromarray(levels)]))
    assert np.array_equal(np.asarray(back), levels)
