"""Computes crops: the part of a picture that a person chose, and the part that a training keeps.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from engines.api.errors import BadInput

Crop = tuple[float, ...]  # left, top, right, bottom in shares of the upright picture; empty: the whole picture

LEAST = 8  # pixels a side that a crop must leave
_ASPECT_LIMIT = 2.0  # of training sizes: longer pictures lose their ends
_ORDER = "Left must be less than right, top less than bottom, and all four shares of the picture from 0 to 1."


def pixels(crop: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Converts a crop from fractions of a picture's sides to pixels; returns (left, top, right, bottom).

    `crop`: left, top, right and bottom, each from 0 to 1; empty for the whole picture. `size`: the picture's (width,
    height) in pixels.
    """
    left, top, right, bottom = crop or (0, 0, 1, 1)
    return round(left * size[0]), round(top * size[1]), round(right * size[0]), round(bottom * size[1])


def checked(crop: Sequence[float], size: tuple[int, int], name: str) -> Crop:
    """Checks a crop and returns it as it is stored: rounded, or empty where it covers the whole picture.

    `crop`: left, top, right and bottom as fractions (0…1) of the picture's sides; empty for the whole picture. `size`:
    the picture's (width, height) in pixels; `name`: what error messages call the picture.
    Raises: BadInput for a crop that does not lie inside the picture, or that leaves fewer than `LEAST` pixels a side.
    """
    if not crop:
        return ()
    try:
        left, top, right, bottom = kept = tuple(round(float(side), 6) for side in crop)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{crop} is not a part of {name}.", _ORDER) from error
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise BadInput(f"{list(kept)} is not a part of {name}.", _ORDER)
    x, y, far, low = pixels(kept, size)
    if far - x < min(LEAST, size[0]) or low - y < min(LEAST, size[1]):
        raise BadInput(
            f"The crop leaves {far - x}×{low - y} pixels of {name}.",
            f"Leave at least {LEAST} a side, or take the whole picture.",
        )
    return () if (x, y, far, low) == (0, 0, *size) else kept


def cut(image: Image.Image, crop: Sequence[float], name: str = "the picture") -> Image.Image:
    """Returns the part of a picture that lies inside a crop; an empty crop returns the picture itself.

    `crop`: left, top, right and bottom as fractions (0…1) of the picture's sides; `name`: what error messages call the
    picture. Raises: BadInput for a crop that does not lie inside the picture, or that leaves too few pixels.
    """
    kept = checked(crop, image.size, name)
    return image.crop(pixels(kept, image.size)) if kept else image


def cut_size(crop: Sequence[float], size: tuple[int, int]) -> tuple[int, int]:
    """Returns the (width, height) in pixels of the part of a picture that lies inside a crop.

    `crop`: left, top, right and bottom as fractions (0…1) of the picture's sides; empty for the whole picture. `size`:
    the picture's (width, height) in pixels.
    """
    left, top, right, bottom = pixels(crop, size)
    return right - left, bottom - top


def bucket(size: tuple[int, int], area: int, multiple: int) -> tuple[int, int]:
    """Returns the (width, height) in pixels to which a picture is cropped and resized for training.

    `size`: the picture's own (width, height) in pixels; `area`: about how many pixels the result has. The result keeps
    the picture's aspect ratio, limited to 1:2…2:1.
    Both sides are multiples of a grid step, so that pictures of nearly the same shape share a batch. The step is about
    √area / 16 and a multiple of `multiple` pixels.
    """
    side = math.sqrt(area)
    grid = max(multiple, round(side / 16 / multiple) * multiple)
    aspect = min(max(size[0] / size[1], 1 / _ASPECT_LIMIT), _ASPECT_LIMIT)
    return _snap(side * math.sqrt(aspect), grid), _snap(side / math.sqrt(aspect), grid)


def lost(size: tuple[int, int], area: int, multiple: int) -> float:
    """Returns the fraction (0…1) of a picture's area that is lost when the picture is cropped for training.

    `size`, `area`, `multiple`: as in `bucket`; the picture is cropped to the aspect ratio of what `bucket` returns.
    """
    wide, high = bucket(size, area, multiple)
    ratio = size[0] * high / (size[1] * wide)
    return 1 - min(ratio, 1 / ratio)


def _snap(length: float, grid: int) -> int:
    return max(grid, round(length / grid) * grid)
