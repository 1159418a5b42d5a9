"""Copies by local features: what is cut, turned or framed is found, and nothing else."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from engines.pictures import open_picture
from studio.judging.copies import Features, are_copies

NAMES = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "grace_hopper.jpg", "rocket.jpg")


@pytest.fixture(scope="module")
def originals(photos: Path) -> dict[str, Image.Image]:
    """Six different photographs by name."""
    return {name: open_picture(photos / name) for name in NAMES}


@pytest.mark.parametrize("change", ["cut", "square", "turned", "tilted", "framed", "barred"])
def test_copies_are_found(originals: dict[str, Image.Image], change: str) -> None:
    """A fifth cut off at a corner, a square, a quarter turn, a tilt, a border and a bar: the photograph is the same."""
    for name, image in originals.items():
        barred = image.copy()
        barred.paste("black", (0, int(image.height * 0.88), *image.size))
        changed = {
            "cut": image.crop((image.width // 5, image.height // 5, *image.size)),
            "square": ImageOps.fit(image, (min(image.size), min(image.size))),
            "turned": image.transpose(Image.Transpose.ROTATE_90),
            "tilted": image.rotate(3, Image.Resampling.BICUBIC),
            "framed": ImageOps.expand(image, 40, "white"),
            "barred": barred,
        }[change]
        assert are_copies(Features.of(changed), Features.of(image)), name


def test_different_photographs_are_no_copies(originals: dict[str, Image.Image]) -> None:
    """No two of six photographs are taken for one, nor is a picture without a corner."""
    described = [Features.of(image) for image in originals.values()]
    assert not any(are_copies(one, other) for one, other in combinations(described, 2))
    blank = Features.of(Image.new("RGB", (300, 300)))
    assert not are_copies(blank, blank)


def test_small_pictures_have_no_features(originals: dict[str, Image.Image]) -> None:
    """A drawing of 64 pixels is never compared: its likes differ by less than photographs of one moment."""
    small = Features.of(originals["astronaut.png"].resize((64, 64)))
    assert len(small.marks) == 0
    assert not are_copies(small, small)


def test_features_are_kept_as_bytes(originals: dict[str, Image.Image]) -> None:
    """What is read back is what was written."""
    found = Features.of(originals["camera.png"])
    again = Features.from_bytes(found.to_bytes())
    np.testing.assert_array_equal(found.points, again.points)
    np.testing.assert_array_equal(found.marks, again.marks)
