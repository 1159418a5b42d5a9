"""Pictures to tensors, as torchvision does it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from torchvision.transforms.functional import crop


class InterpolationMode(Enum):
    """What Pillow calls the same."""

    NEAREST = Image.Resampling.NEAREST
    BILINEAR = Image.Resampling.BILINEAR
    BICUBIC = Image.Resampling.BICUBIC
    LANCZOS = Image.Resampling.LANCZOS


class Compose:
    """One after another."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self._transforms = transforms

    def __call__(self, image: Any) -> Any:
        """Apply all."""
        for transform in self._transforms:
            image = transform(image)
        return image


class Resize:
    """The shorter side to `size`, or both to (height, width)."""

    def __init__(
        self, size: int | Sequence[int], interpolation: InterpolationMode = InterpolationMode.BILINEAR
    ) -> None:
        self._size, self._filter = size, interpolation.value

    def __call__(self, image: Image.Image) -> Image.Image:
        """A resized copy."""
        if isinstance(self._size, int):
            scale = self._size / min(image.size)
            return image.resize((round(image.width * scale), round(image.height * scale)), self._filter)
        return image.resize((self._size[1], self._size[0]), self._filter)


class _Crop:
    def __init__(self, size: int | Sequence[int]) -> None:
        self._height, self._width = (size, size) if isinstance(size, int) else size


class CenterCrop(_Crop):
    """The middle."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """A cropped copy."""
        top, left = (image.height - self._height) // 2, (image.width - self._width) // 2
        return crop(image, top, left, self._height, self._width)


class RandomCrop(_Crop):
    """Any place."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """A cropped copy."""
        return crop(image, *self.get_params(image, (self._height, self._width)))

    @staticmethod
    def get_params(image: Image.Image, size: Sequence[int]) -> tuple[int, int, int, int]:
        """(top, left, height, width)."""
        height, width = size
        top, left = random.randint(0, image.height - height), random.randint(0, image.width - width)
        return top, left, height, width


class RandomHorizontalFlip:
    """Mirrored with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self._p = p

    def __call__(self, image: Image.Image) -> Image.Image:
        """The picture, or its mirror image."""
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < self._p else image


class ToTensor:
    """(H, W, 3) bytes to (3, H, W) in 0…1."""

    def __call__(self, image: Image.Image) -> Tensor:
        """A tensor."""
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


class Normalize:
    """(x − mean) / std."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean, self._std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __call__(self, image: Tensor) -> Tensor:
        """A tensor."""
        return (image - self._mean) / self._std
