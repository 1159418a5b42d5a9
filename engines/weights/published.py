"""Opens files of weights as others publish them, and reads one tensor at a time at the width in which it computes.

Formats: safetensors, also in 8-bit floats with or without scales; and GGUF.
Sources: Comfy-Org/ComfyUI, comfy/ops.py and comfy/quant_ops.py (scales of 8-bit floats); city96/ComfyUI-GGUF, loader.py
(names and shapes in GGUF files of diffusion models).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engines.api.errors import ModelMissing
from engines.catalogue import formats

Mapped: TypeAlias = Any  # an open safetensors file: safetensors has no types
_EIGHT_BIT = (torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class Scaled:
    """Holds a weight as the 8-bit floats of a file, and the scale that they are multiplied by.

    `codes`: (out, …) float8_e4m3fn; `scale`: float32, () or (out, 1).
    """

    codes: Tensor
    scale: Tensor

    @property
    def shape(self) -> torch.Size:
        """Returns the shape of the weight."""
        return self.codes.shape

    @property
    def device(self) -> torch.device:
        """Returns the device of the codes."""
        return self.codes.device

    def to(self, device: str | torch.device) -> Scaled:
        """Returns the same weight on another device."""
        return Scaled(self.codes.to(device), self.scale.to(device))


Weight: TypeAlias = Tensor | Scaled


def wide(weight: Weight) -> Tensor:
    """Returns a weight as one tensor: 8-bit floats times their scale, in bfloat16; any other as it is."""
    if not isinstance(weight, Scaled):
        return weight
    return (weight.codes.float() * weight.scale).to(torch.bfloat16)


class Published(Protocol):
    """Represents an open file of weights: its tensors by name, their shapes, and their numbers."""

    def keys(self) -> Iterable[str]:
        """Returns the names of the weights, without those of scales that belong to a weight."""
        ...

    def shape(self, key: str) -> tuple[int, ...]:
        """Returns the shape of a weight, without reading its numbers."""
        ...

    def tensor(self, key: str) -> Tensor:
        """Returns a weight's numbers; where `scale` is not 0 they are e4m3 floats that have yet to be multiplied by it.

        One that is stored otherwise in 8 bits or fewer comes as bfloat16, with its scale multiplied in.
        """
        ...

    def scale(self, key: str) -> Tensor:
        """Returns a weight's scales in float32, each as many times as it counts for rows: (rows, 1).

        They are 0 for a weight that has none. Only a matrix has some; those of a bias are (rows,), and 0.
        """
        ...


@contextmanager
def opened(file: Path) -> Iterator[Mapped]:
    """Opens a safetensors file, memory-mapped, for the length of a `with` block; yields the open file.

    Raises: ModelMissing if the file is missing or damaged.
    """
    if not file.is_file():
        raise ModelMissing(f"{file} is not there.", "Download the whole model folder again.")
    try:
        with safe_open(file, framework="pt") as mapped:
            yield mapped
    except SafetensorError as error:
        raise ModelMissing(f"{file} is damaged ({error}).", "Delete that file and download it again.") from error


@contextmanager
def published(file: Path) -> Iterator[Published]:
    """Opens a file of weights, memory-mapped, for the length of a `with` block.

    Yields its weights; they are read one by one when they are asked for. Raises: ModelMissing if the file is missing or
    damaged.
    """
    if file.suffix.lower() == formats.GGUF:
        yield _Gguf(file)
    else:
        with opened(file) as mapped:
            yield _Safetensors(mapped)


class _Safetensors:
    """A safetensors file, whose 8-bit floats may have scales beside them."""

    def __init__(self, mapped: Mapped) -> None:
        self._mapped = mapped
        names = mapped.keys()
        self._scales = {f"{module}.weight": f"{module}.{end}" for module, end in formats.scales(names)}
        self._keys = [name for name in names if not formats.SCALE.search(name)]

    def keys(self) -> Iterable[str]:
        return self._keys

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._mapped.get_slice(key).get_shape())

    def tensor(self, key: str) -> Tensor:
        weight: Tensor = self._mapped.get_tensor(key)
        if weight.dtype not in _EIGHT_BIT or self._is_kept(key):
            return weight
        return (weight.float() * self._factor(key, weight.ndim)).to(torch.bfloat16)

    def scale(self, key: str) -> Tensor:
        shape = self.shape(key)
        return self._factor(key, 2).expand(shape[0], 1) if self._is_kept(key) else _no_scales(shape)

    def _is_kept(self, key: str) -> bool:
        """Returns whether a weight is a matrix of e4m3 floats."""
        return self._mapped.get_slice(key).get_dtype() == "F8_E4M3" and len(self.shape(key)) == 2

    def _factor(self, key: str, dimensions: int) -> Tensor:
        """Returns what a weight of so many dimensions is multiplied by: 1 where the file has no scale for it."""
        found = self._mapped.get_tensor(self._scales[key]).float() if key in self._scales else torch.ones(())
        return found.reshape(-1, *[1] * (dimensions - 1)) if found.numel() > 1 else found.reshape(())


class _Gguf:
    """A GGUF file; its shapes are written with the last dimension first."""

    def __init__(self, file: Path) -> None:
        self._tensors = formats.gguf_tensors(file)

    def keys(self) -> Iterable[str]:
        return self._tensors

    def shape(self, key: str) -> tuple[int, ...]:
        return self._tensors[key].shape

    def tensor(self, key: str) -> Tensor:
        from gguf import dequantize

        held = self._tensors[key].held
        numbers = np.array(dequantize(held.data, held.tensor_type), dtype=np.float32)  # a copy: the file is read-only
        weight = torch.from_numpy(numbers).reshape(self._tensors[key].shape)
        return weight if held.tensor_type.name in ("F32", "F16") else weight.to(torch.bfloat16)

    def scale(self, key: str) -> Tensor:
        return _no_scales(self.shape(key))


def _no_scales(shape: tuple[int, ...]) -> Tensor:
    """Returns the zeros that stand for the scales of a weight that has none."""
    return torch.zeros((shape[0], 1) if len(shape) > 1 else shape)
