"""Weights as 8-bit floats, beside optimum-quanto's own modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def _quantos(dtype: str) -> Any:
    """A linear layer that quanto quantised and froze by itself."""
    import torch
    from optimum.quanto import freeze, qfloat8_e4m3fn, quantize

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 48)).to(getattr(torch, dtype))
    quantize(net, weights=qfloat8_e4m3fn)
    freeze(net)
    return net[0].requires_grad_(False)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_computes_what_quantos_module_does(dtype: str) -> None:
    """From the plain tensors of quanto's QLinear, output and gradient are those of that module, to the bit."""
    import torch

    from engines.weights.eight_bit_floats import LinearFloat8

    theirs = _quantos(dtype)
    ours = LinearFloat8(64, 48, device="meta", dtype=getattr(torch, dtype))
    ours.hold(theirs.weight._data, theirs.weight._scale)
    ours.bias = theirs.bias
    results = []
    for layer in (theirs, ours):
        x = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(1)).to(getattr(torch, dtype)).requires_grad_()
        out = layer(x)
        out.sum().backward()
        results.append((out, x.grad))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_as_close_as_quanto(dtype: str) -> None:
    """The error of a weight is not larger than where quanto chooses the scales in the weight's own type."""
    import torch
    from optimum.quanto import AbsmaxOptimizer, qfloat8_e4m3fn, quantize_weight

    from engines.weights.eight_bit_floats import eight_bit_floats

    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    scale = AbsmaxOptimizer()(weight, qtype=qfloat8_e4m3fn, axis=0)
    theirs = quantize_weight(weight, qtype=qfloat8_e4m3fn, axis=0, scale=scale)
    codes, scales = eight_bit_floats(weight, weight.dtype)

    def error(codes: Any, scale: Any) -> float:
        return float((codes.float() * scale.float() - weight.float()).norm() / weight.float().norm())

    assert error(codes, scales) <= error(theirs._data, theirs._scale) * 1.0001
    assert 0.02 < error(codes, scales) < 0.03


def test_no_wide_copy_waits_for_the_gradient() -> None:
    """What is kept of a layer for the backward pass is its codes and scales."""
    import torch

    from engines.weights.quantise import in_form

    layer = in_form(torch.nn.Sequential(torch.nn.Linear(64, 48)), "fp8", torch.bfloat16)
    kept: list[Any] = []
    x = torch.randn(4, 64, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: kept.append(saved) or saved, lambda saved: saved):
        layer(x).sum().backward()
    matrices = [saved for saved in kept if tuple(saved.shape) == (48, 64)]
    assert matrices and all(saved is layer[0].weight for saved in matrices)


@pytest.mark.parametrize("weight", [[[0.0] * 8] * 2, [[1.0, -2.0, 0.5, 0.0]]], ids=["zeros", "one row"])
def test_odd_weights_are_numbers(weight: list[list[float]]) -> None:
    """A row of zeros gives zeros back, and a weight of one row, for which quanto takes one scale in all, itself."""
    import torch

    from engines.weights.quantise import in_form

    layer = torch.nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight.data = torch.tensor(weight)
    small = in_form(torch.nn.Sequential(layer), "fp8", torch.float32)
    assert torch.allclose(small(torch.eye(len(weight[0]))), torch.tensor(weight).T, rtol=1e-5)


def test_a_file_is_mapped_and_not_copied(tmp_path: Path) -> None:
    """The codes that the layer multiplies by are the pages of the file."""
    import torch
    from safetensors import safe_open

    from engines.device.host import anonymous_bytes
    from engines.weights.aligned import write_aligned
    from engines.weights.eight_bit_floats import LinearFloat8, eight_bit_floats

    codes, scale = eight_bit_floats(torch.randn(256, 1024), torch.bfloat16)
    write_aligned(tmp_path / "w.safetensors", {"weight": codes, "weight_scale": scale})
    layer = LinearFloat8(1024, 256, False, device="meta", dtype=torch.bfloat16)
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        layer.hold(file.get_tensor("weight"), file.get_tensor("weight_scale"))
    held = layer.weight._data
    assert anonymous_bytes([(held.data_ptr(), held.nbytes)]) == 0
    assert torch.equal(held.float(), codes.float())


def test_it_moves_between_a_forward_and_its_backward_pass() -> None:
    """In an arena, where quanto's own `.to` breaks; nothing takes another kernel, and nothing changes."""
    import torch
    from optimum.quanto import WeightQBytesTensor

    from engines.device.arena import Arena
    from engines.weights.quantise import in_form

    layer = in_form(torch.nn.Sequential(torch.nn.Linear(64, 48)), "fp8", torch.bfloat16)
    x = torch.randn(4, 64, dtype=torch.bfloat16, requires_grad=True)
    out = layer(x)
    with pytest.raises(RuntimeError, match="Couldn't swap"):
        layer.to("cpu")
    arena = Arena(layer)
    arena.place("cpu")
    out.sum().backward()
    arena.drop()
    assert type(layer[0].weight.data) is WeightQBytesTensor
    assert x.grad is not None and torch.equal(layer(x), out)
