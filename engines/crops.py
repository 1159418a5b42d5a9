"""Which part of a picture counts: a box in shares of its upright sides, so that the file stays as it is. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from engines.errors import BadInput

Crop = tuple[float, ...]  # left, top, right, bottom in 0…1; empty for the whole picture

LEAST = 8  # pixels a side that must be left
_ORDER = "Give left, top, right and bottom as shares of the picture from 0 to 1, left before right, top before bottom."


def pixels(crop: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The crop's left, top, right and bottom in pixels of a picture of that size."""
    left, top, right, bottom = crop or (0, 0, 1, 1)
    return round(left * size[0]), round(top * size[1]), round(right * size[0]), round(bottom * size[1])


def checked(crop: Sequence[float], size: tuple[int, int], name: str) -> Crop:
    """A crop of a picture as it is kept: empty where it leaves nothing out. Raises: BadInput naming the picture."""
    if not crop:
        return ()
    try:
        left, top, right, bottom = kept = tuple(round(float(side), 6) for side in crop)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{crop} is no part of {name}.", _ORDER) from error
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise BadInput(f"{list(kept)} is no part of {name}.", _ORDER)
    x, y, far, low = pixels(kept, size)
    if far - x < min(LEAST, size[0]) or low - y < min(LEAST, size[1]):
        raise BadInput(
            f"The crop leaves {far - x}×{low - y} pixels of {name}.",
            f"Leave at least {LEAST} a side, or take the whole picture.",
        )
    return () if (x, y, far, low) == (0, 0, *size) else kept


def cut(image: Image.Image, crop: Sequence[float], name: str = "the picture") -> Image.Image:
    """What a crop leaves of a picture; the picture itself where there is none. Raises: BadInput."""
    kept = checked(crop, image.size, name)
    return image.crop(pixels(kept, image.size)) if kept else image
