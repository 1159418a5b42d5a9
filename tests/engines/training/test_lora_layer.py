"""Compares the LoRA layer of trainings with peft's own."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow

IN, OUT, RANK, ALPHA = 12, 20, 4, 6.0


def _layer(lean: bool, base: Any) -> Any:
    """Returns a LoRA with random weights on a base layer; the up matrix is not zero."""
    import torch
    from peft import LoraConfig, inject_adapter_in_model
    from torch import nn

    from engines.training.lora_layer import use_lean_layers

    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"], init_lora_weights=False)
    torch.manual_seed(3)
    held = nn.Sequential(base).requires_grad_(False)
    layer = inject_adapter_in_model(use_lean_layers(config) if lean else config, held)[0]
    for name, weight in layer.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()
    return layer


def _passed(layer: Any, x: Any) -> dict[str, Any]:
    """Returns its output, and the gradients of its input and of its weights."""
    x = x.clone().requires_grad_()
    out = layer(x)
    (out.float() * out.float().cos()).sum().backward()
    return {
        "out": out,
        "x": x.grad,
        "A": layer.lora_A["default"].weight.grad,
        "B": layer.lora_B["default"].weight.grad,
    }


@pytest.mark.parametrize("held", ["float32", "bfloat16", "nf4", "int8", "fp8"])
@pytest.mark.parametrize("narrow", [False, True], ids=["plain", "autocast"])
def test_it_computes_what_pefts_layer_does(held: str, narrow: bool) -> None:
    """Output and gradients agree up to rounding, whatever the base is held in; gradients of weights are float32."""
    import torch
    from torch import nn

    from engines.training.lora_layer import LeanLinear
    from engines.weights.quantise import in_form

    torch.manual_seed(0)
    base: Any = nn.Sequential(nn.Linear(64, 64))
    if held in ("nf4", "int8", "fp8"):
        base = in_form(base, held, torch.bfloat16)
    elif held == "bfloat16":
        base = base.bfloat16()
    wide = torch.float32 if held == "float32" else torch.bfloat16
    x = torch.randn(2, 5, 64, dtype=torch.float32 if narrow else wide)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
        ours, theirs = (_passed(_layer(lean, base[0]), x) for lean in (True, False))

    assert isinstance(_layer(True, base[0]), LeanLinear)
    assert {ours[name].dtype for name in "AB"} == {torch.float32}
    close = 1e-5 if held == "float32" and not narrow else 0.03
    for name, value in theirs.items():
        error = (ours[name].float() - value.float()).norm() / value.float().norm()
        assert error < close, (name, float(error))


def test_switched_off_it_is_the_base() -> None:
    """With adapters disabled it computes the base layer; enabled again, it adds its update."""
    import torch
    from torch import nn

    base = nn.Linear(IN, OUT)
    layer, x = _layer(True, base), torch.randn(3, IN)
    acting = layer(x)
    layer.enable_adapters(False)
    assert torch.equal(layer(x), base(x))
    layer.enable_adapters(True)
    assert torch.equal(layer(x), acting) and not torch.equal(acting, base(x))


def test_its_gradients_are_those_of_its_forward() -> None:
    """They agree with finite differences in double precision."""
    import torch

    from engines.training.lora_layer import _Update

    torch.manual_seed(1)
    shapes = ((2, 3, OUT), (2, 3, IN), (RANK, IN), (OUT, RANK))
    y, x, down, up = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    assert torch.autograd.gradcheck(lambda *given: _Update.apply(*given, 1.5), (y, x, down, up), rtol=1e-4, atol=1e-4)
