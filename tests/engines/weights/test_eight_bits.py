"""Weights in 8 bits, beside the implementation that others use."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_as_close_as_quanto(dtype: str) -> None:
    """The error of a weight in 8 bits is not larger than that of optimum-quanto's qint8, a scale a row."""
    import torch
    from optimum.quanto import AbsmaxOptimizer, qint8, quantize_weight

    from engines.weights.eight_bits import eight_bits

    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    scale = AbsmaxOptimizer()(weight, qtype=qint8, axis=0)
    theirs = quantize_weight(weight, qtype=qint8, axis=0, scale=scale).dequantize().float()
    levels, scales = eight_bits(weight, weight.dtype)
    ours = levels.float() * scales.float()[:, None]

    def error(guess: torch.Tensor) -> float:
        return float((guess - weight.float()).norm() / weight.float().norm())

    assert error(ours) <= error(theirs) * 1.0001
    assert 0 < error(ours) < 0.01


def test_gradients_pass_through() -> None:
    """The gradient at the input is that of the widened weight, and no wide copy waits for it."""
    import torch

    from engines.weights.quantise import FORMS

    plain = torch.nn.Linear(32, 16)
    layer = FORMS["int8"].empty(plain, torch.float32)
    FORMS["int8"].fill(layer, FORMS["int8"].tensors(plain.weight.detach(), torch.float32))
    layer.bias = plain.bias
    inputs = torch.randn(4, 32, requires_grad=True)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: kept.append(saved) or saved, lambda saved: saved):
        layer(inputs).sum().backward()

    wide = layer.weight.float() * layer.scale[:, None]
    assert torch.allclose(inputs.grad, wide.sum(dim=0).expand(4, -1), atol=1e-5)
    assert not any(saved.shape == wide.shape and saved.is_floating_point() for saved in kept)


def test_a_row_of_zeros_stays_zero() -> None:
    """A weight without any size gives a scale that is a number, and zeros back."""
    import torch

    from engines.weights.eight_bits import eight_bits

    levels, scales = eight_bits(torch.zeros(2, 8), torch.bfloat16)
    assert bool(torch.isfinite(scales).all())
    assert int(levels.abs().sum()) == 0


@pytest.mark.parametrize("form", ["nf4", "int8", "fp8"])
def test_under_autocast_a_layer_answers_as_a_plain_one(form: str) -> None:
    """What a norm leaves in float32 is multiplied and answered in autocast's type; without autocast, in its own."""
    import torch

    from engines.weights.quantise import in_form

    small = in_form(torch.nn.Sequential(torch.nn.Linear(64, 64)), form, torch.bfloat16)
    wide = torch.randn(4, 64, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = small(wide)
    assert answer.dtype == torch.bfloat16
    answer.sum().backward()
    assert wide.grad is not None and wide.grad.dtype == torch.float32
    assert small(wide).dtype == torch.float32
