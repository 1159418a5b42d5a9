"""Defines small convolutional nets that classify drawings: their attributes, and the person in them."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.wording import drawn as vocab


class _Block(nn.Module):
    def __init__(self, wide_in: int, wide: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(wide_in, wide, 3, stride, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, 1, 1, bias=False),
            nn.BatchNorm2d(wide),
        )
        self.skip = nn.Conv2d(wide_in, wide, stride, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Computes a residual block, (B, wide_in, H, W) → (B, wide, H/stride, W/stride)."""
        return F.relu(self.main(x) + self.skip(x))


class Trunk(nn.Module):
    """Computes features of a picture with convolutional blocks.

    These are the mean and the maximum of each channel of the last block. `widths`: the channels of the first layer and
    of each block.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        pairs = itertools.pairwise(widths)
        self.blocks = nn.Sequential(*(_Block(a, b, 2) for a, b in pairs))

    def forward(self, pixels: Tensor) -> Tensor:
        """Computes features of pictures in −1…1, (B, 3, 64, 64) → (B, 2 · widths[-1])."""
        x = self.blocks(self.stem(pixels))
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)


class Reader(nn.Module):
    """Classifies the scene attributes of a picture (angle, expression, outfit…), each with a softmax of its own.

    `widths`: the channels of the convolutional blocks.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 128)) -> None:
        super().__init__()
        self.trunk = Trunk(widths)
        self.flat = nn.Linear(2 * widths[-1], 192)
        self.heads = nn.ModuleDict({name: nn.Linear(192, len(values)) for name, values in vocab.SCENE_VALUES.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Computes for each attribute (angle, outfit…) its values' logits (B, values) from pixels (B, 3, 64, 64)."""
        features = F.relu(self.flat(self.trunk(pixels)))
        return {name: head(features) for name, head in self.heads.items()}


class Judge(nn.Module):
    """Embeds the person in a picture as a unit vector, to measure results; no model is trained with it.

    `widths`: the channels of the convolutional blocks; `size`: the length of the vector.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 160), size: int = 96) -> None:
        super().__init__()
        self.trunk = Trunk(widths)
        self.out = nn.Linear(2 * widths[-1], size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Computes a vector of length 1 for each picture, (B, 3, 64, 64) → (B, size)."""
        return F.normalize(self.out(self.trunk(pixels)).float(), dim=1)
