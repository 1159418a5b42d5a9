"""The quality advice on a picture: blurred, too dark, too small, or a duplicate. It never rejects or deletes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from engines.api.crops import lost
from engines.api.errors import NotFound
from engines.api.params import TrainParams
from engines.api.protocols import ModelSpec
from engines.catalogue.registry import Registry
from studio.records.base import UNLESS_DEFAULT, Part
from studio.records.image import CUT

if TYPE_CHECKING:
    from PIL.Image import Image

Floats = NDArray[np.float64]

NOTABLE_CUT = 0.05  # the usual photo formats 2:3, 3:4 and 9:16 lose less, so they cause no advice
_SIDE = 256  # pixels of the longer side at which sharpness is measured: it depends on resolution
_FINE_SIDE, _FINE_TIMES = 1024, 4  # pixels of the longer side at which fine detail is measured; the coarse is a quarter
_LARGE = 400  # pixels of the longer side from which a picture has a coarse and a fine detail; smaller ones have peers
_MIDDLE = 0.15  # the share of a picture left out at each edge: a background may be soft on purpose
_HASH_SIDE = 32
_HASH_KEPT = 8
_DUPLICATE = 6
_SIMILAR = 10
_BLUR_ABSOLUTE = 20.0
_BLUR_RELATIVE = 0.2
# Longer side in pixels -> the least fine detail of a sharp picture, measured on 26 photographs (docs/measured.md):
# sharp ones of 900 pixels and more have 0.17 to 0.51, of fewer 0.06 to 1.4; blurred by one pixel they have up to 0.05.
_SHARP_FROM = ((900, 0.1), (_LARGE, 0.055))
_ROUNDING = 0.5  # the variance that rounding to whole grey values adds to a second difference: 6 / 12
_DARK_LIGHT, _DARK_MEAN, _BRIGHT_MEAN = 100.0, 40.0, 215.0
_CLIPPED_SHARE = 0.4
_SMALL_SHARE = 0.75


@dataclass(frozen=True, kw_only=True)
class Measures(Part):
    """Holds quality measures of one picture; they are stored in its record, so that it is measured only once.

    `sharpness` is the variance of the Laplacian of the reduced picture, `brightness` the mean grey 0…255, `dark` and
    `bright` are the shares of nearly black and nearly white pixels, `light` is the 95th percentile of the greys. `fine`
    is the detail at 1024 pixels of the longer side as a share of that at a quarter of it. These six ignore the
    picture's edges. `light` and `fine` are None for a small picture, and where an older version measured. `phash` and
    `mirrored` are 64-bit perceptual hashes in hex, of the picture and of its mirror image.
    """

    width: int
    height: int
    sharpness: float
    brightness: float
    dark: float
    bright: float
    phash: str
    mirrored: str
    light: float | None = field(default=None, metadata=UNLESS_DEFAULT)
    fine: float | None = field(default=None, metadata=UNLESS_DEFAULT)

    @classmethod
    def kept(cls, data: Mapping[str, Any]) -> Self | None:
        """Returns the measures stored in a record's dict; None where it has none, or others than these."""
        known = {each.name: each.default is MISSING for each in fields(cls)}
        needed = {name for name, is_needed in known.items() if is_needed}
        return cls.from_json(data) if needed <= set(data) <= set(known) else None


def measure(image: Image) -> Measures:
    """Returns the quality measures of one picture, such as its sharpness, brightness and perceptual hash."""
    grey = image.convert("L")
    pixels = np.asarray(_middle(_shrunk(grey, _SIDE)), dtype=np.float64)
    is_large = max(image.size) >= _LARGE
    tiny = np.asarray(grey.resize((_HASH_SIDE, _HASH_SIDE)), dtype=np.float64)
    return Measures(
        width=image.width,
        height=image.height,
        sharpness=round(_sharpness(pixels), 2),
        brightness=round(float(pixels.mean()), 1),
        dark=round(float((pixels < 5).mean()), 4),
        bright=round(float((pixels > 250).mean()), 4),
        phash=_phash(tiny),
        mirrored=_phash(tiny[:, ::-1]),
        light=round(float(np.percentile(pixels, 95)), 1) if is_large else None,
        fine=_fine_detail(_middle(_shrunk(grey, _FINE_SIDE))) if is_large else None,
    )


def advise(measures: Measures, peers: Sequence[Measures] = (), wanted: int = 0) -> dict[str, str]:
    """Returns advice on training with a picture, as name of the problem -> text; an empty dict for none.

    `peers` are measures of the character's other pictures: by the median of their sharpness it is decided whether a
    small picture, which has no `fine`, is blurred. `wanted` is the side length in pixels that the model works at, 0 to
    skip the check of size.
    """
    advice: dict[str, str] = {}
    usual = float(np.median([peer.sharpness for peer in peers])) if len(peers) >= 3 else 0.0
    side = max(measures.width, measures.height)
    least = next((limit for fewest, limit in _SHARP_FROM if side >= fewest), 0.0)
    if measures.fine is not None and (measures.fine < least or measures.sharpness < _BLUR_ABSOLUTE):
        advice["blurred"] = f"looks blurred: {measures.fine:.3f} of its detail is fine; sharp pictures have {least}"
    elif measures.fine is None and measures.sharpness < max(_BLUR_ABSOLUTE, _BLUR_RELATIVE * usual):
        advice["blurred"] = f"looks blurred (sharpness {measures.sharpness:.0f}; usual here {usual:.0f})"
    if measures.light is not None and measures.light < _DARK_LIGHT:
        advice["dark"] = f"very dark: all but its lightest twentieth is below {measures.light:.0f} of 255"
    elif measures.light is None and (measures.brightness < _DARK_MEAN or measures.dark > _CLIPPED_SHARE):
        advice["dark"] = f"very dark (mean {measures.brightness:.0f} of 255, {measures.dark:.0%} black)"
    elif measures.brightness > _BRIGHT_MEAN and measures.bright > _CLIPPED_SHARE:
        advice["bright"] = f"overexposed (mean {measures.brightness:.0f} of 255, {measures.bright:.0%} white)"
    if min(measures.width, measures.height) < _SMALL_SHARE * wanted:
        size = f"{measures.width}×{measures.height}"
        advice["small"] = f"small ({size}; the model works at {wanted}): it will be enlarged"
    return advice


def share_lost(spec: ModelSpec, size: tuple[int, int], params: TrainParams | None = None) -> float:
    """Returns the largest share of a picture's area, 0…1, that training crops away to fit it to a trained size.

    `size` is the picture's (width, height). A trained size has about the area of a square whose side is the
    `resolution`, or one of the `resolutions`, in `params`. `params` None takes the generator's defaults. A side that is
    no whole number is skipped, because the check of the parameters refuses it.
    """
    knobs = params or spec.params(TrainParams)
    sides = [side for side in (knobs.resolution, *knobs.resolutions) if isinstance(side, int)]
    return max((lost(size, side**2, spec.multiple) for side in sides), default=0.0)


def advise_cut(registry: Registry, model: str, size: tuple[int, int]) -> dict[str, str]:
    """Returns advice, as the problem's name -> text, on a picture so elongated that training crops much of it away.

    Returns an empty dict for any other picture. `model` is the generator's name, `size` the picture's (width, height).
    """
    try:
        share = share_lost(registry.spec(model), size)
    except NotFound:
        return {}  # the pre-flight reports a model that is not in the registry
    if share < NOTABLE_CUT:
        return {}
    return {CUT: f"too long: training cuts {share:.0%} of it away at its ends; crop it to the part that matters"}


class LookAlikes:
    """Holds an index of pictures by perceptual hash, and finds the picture that looks most like a given one."""

    def __init__(self, known: Mapping[str, Measures] | None = None) -> None:
        self._ids: list[str] = []
        self._hashes = np.zeros((16, 2), dtype=np.uint64)
        for image, measures in (known or {}).items():
            self.add(image, measures)

    def add(self, image: str, measures: Measures) -> None:
        """Adds a picture's id to the index with the hashes in its measures."""
        if len(self._ids) == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
        self._hashes[len(self._ids)] = (int(measures.phash, 16), int(measures.mirrored, 16))
        self._ids.append(image)

    def closest(self, measures: Measures) -> tuple[str, str]:
        """Returns (id of the most similar picture in the index, words on how it is similar).

        `measures` are those of the given picture. Returns ("", "") when no picture is similar enough.
        """
        if not self._ids:
            return ("", "")
        bits = np.bitwise_count(self._hashes[: len(self._ids)] ^ np.uint64(int(measures.phash, 16)))
        at, side = np.unravel_index(int(bits.argmin()), bits.shape)
        distance = int(bits[at, side])
        if distance > _SIMILAR:
            return ("", "")
        how = "almost" if distance <= _DUPLICATE else "much like"
        return (self._ids[at], f"{how} {'a mirror image of' if side else 'the same picture as'}")


def _shrunk(grey: Image, side: int) -> Image:
    scale = side / max(grey.size)
    if scale >= 1:  # never enlarged: that would measure as blur
        return grey
    return grey.resize((max(1, round(grey.width * scale)), max(1, round(grey.height * scale))))


def _middle(grey: Image) -> Image:
    left, top = int(grey.width * _MIDDLE), int(grey.height * _MIDDLE)
    return grey.crop((left, top, grey.width - left, grey.height - top))


def _fine_detail(grey: Image) -> float | None:
    """Returns the variance of second differences of a picture as a share of that of the picture reduced to a quarter.

    Blur takes the fine detail and leaves the coarse, whatever the picture shows. The lower of both directions counts,
    since motion blurs one alone. None for a picture without coarse detail.
    """
    fine, coarse = (np.asarray(each, dtype=np.float64) for each in (grey, grey.reduce(_FINE_TIMES)))
    if min(coarse.shape) < 3:
        return None
    most, least = (np.array([np.diff(each, 2, axis).var() for axis in (0, 1)]) for each in (coarse, fine))
    return float(((least - _ROUNDING).clip(0) / most).min().round(4)) if most.all() else None


def _sharpness(pixels: Floats) -> float:
    if min(pixels.shape) < 3:
        return 0.0
    inner = -4 * pixels[1:-1, 1:-1]
    inner = inner + pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:]
    return float(inner.var())


def _phash(tiny: Floats) -> str:
    """Returns the perceptual hash that imagehash calls phash: the low frequencies compared with their median."""
    k, n = np.meshgrid(np.arange(_HASH_SIDE), np.arange(_HASH_SIDE), indexing="ij")
    matrix: Floats = np.cos(np.pi * (2 * n + 1) * k / (2 * _HASH_SIDE))  # rows of the DCT-II
    low = (matrix @ tiny @ matrix.T)[:_HASH_KEPT, :_HASH_KEPT].flatten().round(3)
    bits = low > np.median(low)
    return f"{int(''.join('1' if bit else '0' for bit in bits), 2):016x}"
