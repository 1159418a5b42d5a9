"""The forms of weights beside each other: error, bits a weight, and the time of a layer on this machine's processor."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from statistics import median

import torch
from torch import Tensor, nn

from engines.api.forms import FULL_WIDTH, ROWS
from engines.weights.published import Scaled, wide
from engines.weights.quantise import FORMS
from frontdoor.bench.rows import Row

SHAPES = ((48, 64), (3072, 3072), (12288, 3072))  # a tiny test layer, FLUX's attention, FLUX's MLP: (out, in)
TOKENS, ROUNDS = 512, 5
_LARGEST = 448  # of e4m3 floats


def measure(options: argparse.Namespace) -> list[Row]:
    """Compares the forms on layers with random normal weights in bfloat16, on a CPU; returns the report's rows.

    For each shape and form: the relative error of the weight that the layer multiplies by, against float32; the bits a
    weight takes; and the milliseconds of a forward pass of `TOKENS` tokens. The last rows are the errors that a
    weight given as 8-bit floats has against what its file says. `options` is not used.
    """
    del options
    return [*(row for shape in SHAPES for row in compared(*shape)), *given(*SHAPES[1])]


def compared(rows: int, columns: int) -> Iterator[Row]:
    """Yields the report rows of all forms for one shape of weights (rows, columns), with random normal numbers.

    The times of all forms are taken by turns.
    """
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)) / columns**0.5
    layers = {form: _layer(weight, form) for form in (FULL_WIDTH, *ROWS)}
    x = torch.randn(TOKENS, columns, generator=torch.Generator().manual_seed(1)).bfloat16()
    seconds: dict[str, list[float]] = {form: [] for form in layers}
    with torch.inference_mode():
        for _ in range(1 + ROUNDS):  # the first warms up
            for form, layer in layers.items():
                started = time.perf_counter()
                layer(x)
                seconds[form].append(time.perf_counter() - started)
    plain = median(seconds[FULL_WIDTH][1:])
    for form, layer in layers.items():
        name, taken = f"{rows} × {columns} {form}", median(seconds[form][1:])
        size = FORMS[form].bytes(rows, columns, torch.bfloat16) if form in FORMS else 2 * weight.numel()
        yield Row(name=f"{name}: error", value=_error(layer, weight), unit="of the weight")
        yield Row(name=f"{name}: size", value=8 * size / weight.numel(), unit="bits a weight")
        yield Row(
            name=f"{name}: {TOKENS} tokens", value=taken * 1e3, unit="ms", peer="bf16", ratio=taken / plain,
            spread=(max(seconds[form][1:]) - min(seconds[form][1:])) / 2 * 1e3,
        )  # fmt: skip


def given(rows: int, columns: int) -> Iterator[Row]:
    """Yields report rows with the errors of a weight (rows, columns) that is given as 8-bit floats with one scale.

    The first keeps it as it is, the others quantise it anew.
    """
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)) / columns**0.5
    scale = weight.abs().max() / _LARGEST
    file = Scaled((weight / scale).to(torch.float8_e4m3fn), scale)
    meant = file.codes.float() * file.scale
    yield Row(name="given as fp8, kept: error", value=_error(_layer(file, "fp8"), meant), unit="of the file's weight")
    for form in ROWS:
        error = _error(_layer(wide(file), form), meant)
        yield Row(name=f"given as fp8, widened, then {form}: error", value=error, unit="of the file's weight")


def _layer(weight: Tensor | Scaled, form: str) -> nn.Module:
    """Returns a layer without a bias that holds a weight (out, in) in one form, in a module of its own."""
    rows, columns = weight.shape
    whole = nn.Linear(columns, rows, bias=False, device="meta", dtype=torch.bfloat16)
    if form not in FORMS:
        whole.weight = nn.Parameter(wide(weight).bfloat16(), requires_grad=False)
        return nn.Sequential(whole)
    layer = FORMS[form].empty(whole, torch.bfloat16)
    FORMS[form].fill(layer, FORMS[form].tensors(weight, torch.bfloat16))
    return nn.Sequential(layer)


def _error(layer: nn.Module, weight: Tensor) -> float:
    """Returns the relative error of the weight that a layer multiplies by: of its product with the identity."""
    with torch.inference_mode():
        held = layer(torch.eye(weight.shape[1], dtype=torch.bfloat16)).float().t()
    return float((held - weight).norm() / weight.norm())
