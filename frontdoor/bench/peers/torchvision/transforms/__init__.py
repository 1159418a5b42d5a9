"""The transforms of torchvision that diffusers' scripts use: pictures to tensors."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .functional import crop


class InterpolationMode(Enum):
    """Holds Pillow's resampling filters under the names that torchvision gives them."""

    NEAREST = Image.Resampling.NEAREST
    BILINEAR = Image.Resampling.BILINEAR
    BICUBIC = Image.Resampling.BICUBIC
    LANCZOS = Image.Resampling.LANCZOS


class Compose:
    """Applies transforms to a picture one after another; each gets the result of the one before it."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self._transforms = transforms

    def __call__(self, image: Any) -> Any:
        """Returns what the last transform returns for the picture."""
        for transform in self._transforms:
            image = transform(image)
        return image


class Resize:
    """Resizes a picture: its shorter side to `size`, or the whole picture where `size` is (height, width)."""

    def __init__(
        self, size: int | Sequence[int], interpolation: InterpolationMode = InterpolationMode.BILINEAR
    ) -> None:
        self._size, self._filter = size, interpolation.value

    def __call__(self, image: Image.Image) -> Image.Image:
        """Returns the resized picture."""
        if isinstance(self._size, int):
            scale = self._size / min(image.size)
            return image.resize((round(image.width * scale), round(image.height * scale)), self._filter)
        return image.resize((self._size[1], self._size[0]), self._filter)


class _Crop:
    """Holds the size of a crop, (height, width), or one number for both."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self._height, self._width = (size, size) if isinstance(size, int) else size


class CenterCrop(_Crop):
    """Crops the middle of a picture to `size`: (height, width), or one number for both, in pixels."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Returns the cropped picture."""
        top, left = (image.height - self._height) // 2, (image.width - self._width) // 2
        return crop(image, top, left, self._height, self._width)


class RandomCrop(_Crop):
    """Crops a picture to `size` at a random place; `size` is (height, width) or one number for both, in pixels."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Returns the cropped picture."""
        return crop(image, *self.get_params(image, (self._height, self._width)))

    @staticmethod
    def get_params(image: Image.Image, size: Sequence[int]) -> tuple[int, int, int, int]:
        """Returns a random (top, left, height, width) for a crop of `size`, which is (height, width)."""
        height, width = size
        top, left = random.randint(0, image.height - height), random.randint(0, image.width - width)
        return top, left, height, width


class RandomHorizontalFlip:
    """Mirrors a picture left to right with the probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        self._p = p

    def __call__(self, image: Image.Image) -> Image.Image:
        """Returns the picture or its mirror image."""
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < self._p else image


class ToTensor:
    """Converts an RGB picture to a float tensor (3, H, W) with values 0…1."""

    def __call__(self, image: Image.Image) -> Tensor:
        """Returns the tensor."""
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


class Normalize:
    """Normalises a tensor (C, H, W) to (x − mean) / std, with a mean and a standard deviation for each channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean, self._std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __call__(self, image: Tensor) -> Tensor:
        """Returns the normalised tensor, of the same shape (C, H, W)."""
        return (image - self._mean) / self._std
