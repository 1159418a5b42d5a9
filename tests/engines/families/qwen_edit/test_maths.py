"""Tests Qwen-Image-Edit's maths."""

from __future__ import annotations

import pytest
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture
def encoder(toy_qwen, qwen_folder):
    """Returns the tiny vision-language model."""
    from engines.weights import components

    return components.load(toy_qwen, qwen_folder, "text_encoder")


def test_positions_are_three_dimensional(encoder, qwen_folder) -> None:
    """Image tokens of a picture differ in row and column positions, and share one in time."""
    from engines.families.qwen_edit import maths as qwen

    inputs = qwen.vision_inputs(encoder, qwen.processor(qwen_folder), [qwen.PICTURE], [Image.new("RGB", (84, 84))])
    seen = {}

    def remember(module, args, kwargs):
        seen["positions"] = kwargs["position_ids"]

    handle = encoder.model.language_model.register_forward_pre_hook(remember, with_kwargs=True)
    encoder(**inputs)
    handle.remove()
    time, rows, columns = seen["positions"][-3:, 0, 1:10]
    assert time.unique().numel() == 1
    assert (rows - rows.min()).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (columns - columns.min()).tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]


def test_padding_is_invisible(toy_qwen, qwen_folder) -> None:
    """The transformer's prediction for a row does not depend on its padding."""
    import torch

    from engines.families.qwen_edit import maths as qwen
    from engines.weights import components

    transformer = components.load(toy_qwen, qwen_folder, "transformer")
    numbers = torch.Generator().manual_seed(5)
    tokens, refs = (torch.randn(1, 16, 64, generator=numbers) for _ in range(2))
    embeds = torch.randn(1, 5, 64, generator=numbers)
    short = qwen.Conditioning(embeds, None)
    long = qwen.Conditioning(torch.randn(1, 9, 64, generator=numbers), None)
    shapes = [(1, 4, 4), (1, 4, 4)]
    alone = qwen.velocity(transformer, tokens, refs, short, 0.5, shapes)
    both = qwen.velocity(
        transformer, tokens.repeat(2, 1, 1), refs.repeat(2, 1, 1), qwen.pad([short, long]), 0.5, shapes
    )
    assert alone.shape == tokens.shape
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-4)
    assert qwen.pad([short, short]).mask is None


def test_guidance_keeps_the_length(encoder) -> None:
    """Guided tokens have the norm of the positive prediction; scale 1 changes nothing."""
    import torch

    from engines.families.qwen_edit import maths as qwen

    positive, negative = torch.randn(2, 1, 7, 64)
    mixed = qwen.guided(positive, negative, 4.0)
    torch.testing.assert_close(mixed.norm(dim=-1), positive.norm(dim=-1))
    torch.testing.assert_close(qwen.guided(positive, negative, 1.0), positive)


@pytest.mark.parametrize(
    ("size", "expected"), [((1024, 1024), (1024, 1024)), ((1920, 1080), (1376, 768)), ((10, 4000), (64, 20480))]
)
def test_reference_size(size, expected) -> None:
    """Sizes are the pipeline's own: multiples of 32 near a megapixel at the same aspect."""
    from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_dimensions

    from engines.families.qwen_edit import maths as qwen

    assert qwen.reference_size(*size, 1024 * 1024, 32) == expected
    assert calculate_dimensions(1024 * 1024, size[0] / size[1]) == expected


def test_latents_go_there_and_back(toy_qwen, qwen_folder) -> None:
    """to_latents normalises by the VAE's own statistics, and to_images is its inverse."""
    import torch

    from engines.drawing.latents import to_pixels
    from engines.families.qwen_edit import maths as qwen
    from engines.weights import components

    vae = components.load(toy_qwen, qwen_folder, "vae")
    picture = Image.new("RGB", (64, 32), "teal")
    latents = qwen.to_latents(vae, picture)
    assert latents.shape == (1, 16, 8, 16)
    assert qwen.token_shape(latents) == (1, 4, 8)
    raw = vae.encode(to_pixels([picture])[:, :, None]).latent_dist.mode()
    mean, std = (
        torch.tensor(numbers).view(1, 16, 1, 1, 1) for numbers in (vae.config.latents_mean, vae.config.latents_std)
    )
    torch.testing.assert_close(latents[:, :, None] * std + mean, raw)
    assert [image.size for image in qwen.to_images(vae, latents)] == [(64, 32)]
    assert qwen.latent_factor(vae.config) == 4
