"""Compares FLUX.2's own maths with diffusers'."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.engines.families.flux2.tiny import SPEC

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("tokens", [256, 4096, 4300, 4301, 16384])
@pytest.mark.parametrize("steps", [4, 28, 50])
def test_the_shift_is_diffusers(tokens: int, steps: int) -> None:
    """μ is that of diffusers' pipeline for any number of tokens and steps, on both sides of its limit."""
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    from engines.families.flux2.maths import own_shift

    assert own_shift(tokens, steps) == pytest.approx(compute_empirical_mu(tokens, steps))


def test_latents_are_the_pipelines(flux2_pipe, flux2_folder) -> None:
    """A picture's latents are normalised by the VAE's statistics of 2×2 patches, as in the pipeline."""
    import torch

    from engines.drawing.latents import pack, to_pixels
    from engines.families.flux2 import maths as flux2
    from engines.weights import components

    image = Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 80).convert("RGB")
    vae = components.load(SPEC, flux2_folder, "vae")
    theirs = flux2_pipe._encode_vae_image(to_pixels([image]), torch.Generator())
    ours = flux2.to_latents(vae, [image], sample=False)
    torch.testing.assert_close(pack(ours), flux2_pipe._pack_latents(theirs))
