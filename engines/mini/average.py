"""The mean of two trainings of one model, which can keep what either alone has lost (model soups)."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor


def mean_of(ours: dict[str, Tensor], others: dict[str, Tensor], weight: float) -> dict[str, Tensor]:
    """Mix two states, `weight` of the others' to 1 − weight of ours, in float32 and rounded to how ours are stored."""
    if {name: value.shape for name, value in ours.items()} != {name: value.shape for name, value in others.items()}:
        raise ValueError("these are not two states of one model: their names or shapes differ")
    return {name: ours[name].float().lerp(others[name].float(), weight).to(ours[name].dtype) for name in ours}


def average_file(ours: Path, others: Path, weight: float) -> None:
    """Put the mean with another safetensors file in the place of ours, swapped in whole."""
    with safe_open(ours, "pt") as file:
        metadata = file.metadata()
    part = ours.with_suffix(".part")
    save_file(mean_of(load_file(ours), load_file(others), weight), part, metadata)
    part.replace(ours)
