"""The part of a picture that counts."""

from __future__ import annotations

import math

import pytest
from PIL import Image

from engines.api.crops import checked, cut, cut_size, lost, pixels
from engines.api.errors import BadInput


def test_a_crop_is_cut_where_it_says() -> None:
    """Shares become whole pixels; without a crop, the picture itself comes back."""
    image = Image.new("RGB", (40, 20), "white")
    image.paste("red", (10, 5, 30, 20))

    assert pixels((0.25, 0.25, 0.75, 1.0), image.size) == (10, 5, 30, 20)
    assert cut(image, (0.25, 0.25, 0.75, 1.0)).getcolors() == [(300, (255, 0, 0))]
    assert cut(image, ()) is image


def test_a_crop_that_leaves_nothing_out_is_none() -> None:
    """The whole picture has one name."""
    assert checked((0, 0, 1, 1), (40, 20), "a.png") == ()
    assert checked((0.001, 0, 1, 0.999), (40, 20), "a.png") == ()
    assert checked([0, 0, 1, 0.5], (40, 20), "a.png") == (0, 0, 1, 0.5)


@pytest.mark.parametrize(
    ("crop", "words"),
    [
        ((0.5, 0, 0.5, 1), "a.png"),
        ((0.75, 0, 0.25, 1), "not a part of a.png"),
        ((0, -0.1, 1, 1), "not a part of a.png"),
        ((0, 0, 1, 1.1), "less than right"),
        ((0, 0, 1), "not a part of a.png"),
        ((0, 0, 1, math.nan), "not a part of a.png"),
        (("left", 0, 1, 1), "not a part of a.png"),
        ((0, 0, 0.1, 1), "4×20 pixels of a.png"),
    ],
)
def test_a_crop_that_cannot_be_is_refused(crop: tuple[float, ...], words: str) -> None:
    """It names the picture and says what would do."""
    with pytest.raises(BadInput, match=words):
        checked(crop, (40, 20), "a.png")


def test_what_training_cuts_off_is_a_share_of_the_picture() -> None:
    """Nothing of a square, little of the usual shapes of photos, a third of what is far too long."""
    sizes = [(1024, 1024), (3024, 4032), (6000, 4000), (1080, 1920), (256, 768), (2560, 1097)]
    shares = [round(lost(size, 1024**2, 16), 3) for size in sizes]
    assert shares == [0.0, 0.036, 0.025, 0.016, 0.303, 0.104]
    assert cut_size((0.0, 0.0, 1.0, 0.5), (256, 768)) == (256, 384)
