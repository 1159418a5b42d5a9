"""Tests the precision of a training step."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("named", [False, True])
def test_attention_on_a_cpu_is_float32_between_narrow_products(named: bool) -> None:
    """Within autocast it takes and returns bfloat16 and rounds once, at its end; so do its gradients."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    from engines.training.precision import attention

    cpu = torch.device("cpu")
    rows = [torch.randn(2, 3, 8, 16, generator=torch.Generator().manual_seed(n)).bfloat16() for n in range(3)]
    narrow, wide = (
        [row.detach().to(dtype, copy=True).requires_grad_() for row in rows]
        for dtype in (torch.bfloat16, torch.float32)
    )
    with attention(cpu), torch.autocast("cpu", dtype=torch.bfloat16):
        given = dict(zip(("query", "key", "value"), narrow, strict=True))
        found = scaled_dot_product_attention(**given) if named else scaled_dot_product_attention(*narrow)
    expected = scaled_dot_product_attention(*wide)

    assert found.dtype is torch.bfloat16
    assert torch.equal(found, expected.bfloat16())
    found.float().square().sum().backward()
    expected.bfloat16().float().square().sum().backward()
    assert all(torch.equal(one.grad, other.grad.bfloat16()) for one, other in zip(narrow, wide, strict=True))


def test_a_gpu_is_asked_for_its_own_instructions() -> None:
    """A GPU that only emulates bfloat16, or none at all, gains nothing by it."""
    import torch

    from engines.training.precision import fast_bfloat16

    assert fast_bfloat16(torch.device("cuda")) is torch.cuda.is_bf16_supported(including_emulation=False)


def test_products_are_narrow_where_the_model_is() -> None:
    """A model held in bfloat16 computes in it on every device; a float32 one only on hardware that gains by it."""
    import torch

    from engines.training.precision import fast_bfloat16, narrow_products

    cpu, one = torch.device("cpu"), torch.ones(2, 2)
    for held, narrow in ((torch.bfloat16, True), (torch.float32, fast_bfloat16(cpu))):
        with narrow_products(cpu, held):
            assert (one @ one).dtype is (torch.bfloat16 if narrow else torch.float32)
