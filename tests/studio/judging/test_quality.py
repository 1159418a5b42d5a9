"""Advice on pictures: what is said, and that what is fine is left in peace."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from engines.pictures import open_picture
from studio.judging import quality


def scene(side: int = 256, seed: int = 3) -> Image.Image:
    """A sharp, evenly lit picture with structure at every scale."""
    blocks = Image.frombytes("L", (8, 8), bytes((seed * 37 * i * i + 11 * i) % 256 for i in range(64)))
    fine = Image.frombytes("L", (64, 64), bytes((seed + 7 * i * i) % 256 for i in range(4096)))
    sizes = (side, side)
    coarse = blocks.resize(sizes, Image.Resampling.BICUBIC)
    return Image.blend(coarse, fine.resize(sizes, Image.Resampling.NEAREST), 0.3).convert("RGB")


def test_a_good_picture_needs_no_advice() -> None:
    """Sharp, evenly lit and large enough: nothing is said."""
    assert quality.advise(quality.measure(scene()), wanted=256) == {}


def test_blur_is_told() -> None:
    """A defocused picture is called blurred, and its sharpness is far below the original's."""
    blurred = quality.measure(scene().filter(ImageFilter.GaussianBlur(5)))
    assert blurred.sharpness < 0.05 * quality.measure(scene()).sharpness
    assert "blurred" in quality.advise(blurred)


def test_sharp_is_relative_to_the_character() -> None:
    """A picture much softer than its peers is told, even where it would pass alone."""
    soft = quality.measure(scene().filter(ImageFilter.GaussianBlur(1)))
    peers = [quality.measure(scene(seed=seed)) for seed in (3, 5, 7)]
    assert "blurred" not in quality.advise(soft)
    assert "blurred" in quality.advise(soft, peers)


PHOTOGRAPHS = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "grace_hopper.jpg", "rocket.jpg")


@pytest.fixture(scope="module", params=PHOTOGRAPHS)
def photograph(request: pytest.FixtureRequest, photos: Path) -> Image.Image:
    """A photograph that is sharp and well lit, of 451 to 640 pixels."""
    return open_picture(photos / request.param)


def test_photographs_need_no_advice(photograph) -> None:
    """None of the sharp photographs, portraits on plain ground and dark suits among them, is called blurred or dark."""
    assert quality.advise(quality.measure(photograph)) == {}


@pytest.mark.parametrize("blur", ["lens", "hand", "enlarged"])
def test_a_blurred_photograph_is_told_without_peers(photograph, blur: str) -> None:
    """Blur of two pixels, a hand that shook, and a thumbnail that was enlarged are told on every photograph."""
    width, height = photograph.size
    blurred = {
        "lens": photograph.filter(ImageFilter.GaussianBlur(2)),
        "hand": photograph.resize((width // 12, height)).resize((width, height)),
        "enlarged": photograph.resize((192 * width // max(width, height), 192 * height // max(width, height))),
    }[blur].resize((width, height), Image.Resampling.BICUBIC)
    assert "blurred" in quality.advise(quality.measure(blurred))


def test_a_photograph_at_a_third_of_its_light_is_dark(photograph) -> None:
    """A picture whose lightest parts are dark is told, a dark suit is not."""
    assert "dark" in quality.advise(quality.measure(photograph.point(lambda value: int(value * 0.35))))


def test_small_flat_drawings_are_not_blurred() -> None:
    """A picture below the measuring size is never enlarged, which would read as blur."""
    assert quality.advise(quality.measure(scene(64)), wanted=64) == {}


@pytest.mark.parametrize(("level", "gate"), [(0.08, "dark"), (3.0, "bright")])
def test_exposure_is_told(level: float, gate: str) -> None:
    """Nearly black and burnt-out pictures are named as such."""
    image = scene().point(lambda value: min(255, int(value * level)))
    assert gate in quality.advise(quality.measure(image))


def test_small_is_told_against_the_models_size() -> None:
    """Small is what the model would have to enlarge a lot."""
    measures = quality.measure(scene(256))
    assert "small" in quality.advise(measures, wanted=1024)
    assert "small" not in quality.advise(measures, wanted=256)


@pytest.mark.parametrize("change", ["resize", "jpeg", "blur"])
def test_look_alikes_are_found_through_harmless_changes(change: str) -> None:
    """Another size, compression or softness is still the same picture."""
    image = scene()
    changed = {
        "resize": image.resize((130, 130)),
        "jpeg": image.quantize(32).convert("RGB"),
        "blur": image.filter(ImageFilter.GaussianBlur(1)),
    }[change]
    looks = quality.LookAlikes({"a": quality.measure(image)})
    assert looks.closest(quality.measure(changed)) == ("a", "almost the same picture as")


def test_mirror_images_are_found() -> None:
    """A flipped copy is called one."""
    looks = quality.LookAlikes({"a": quality.measure(scene())})
    flipped = quality.measure(scene().transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert looks.closest(flipped) == ("a", "almost a mirror image of")


def test_other_pictures_are_no_look_alikes() -> None:
    """Different pictures stay apart, and many can be remembered."""
    looks = quality.LookAlikes()
    assert looks.closest(quality.measure(scene())) == ("", "")
    for seed in range(10, 50):
        looks.add(str(seed), quality.measure(scene(64, seed)))
    assert looks.closest(quality.measure(scene(64, 23)))[0] == "23"
    assert looks.closest(quality.measure(Image.linear_gradient("L").convert("RGB"))) == ("", "")


def test_measures_survive_json() -> None:
    """Figures are read back as written; those of a small picture and of an older version have no light and no fine."""
    small, large = quality.measure(scene(64)), quality.measure(scene(512))
    assert [quality.Measures.kept(each.to_json()) for each in (small, large)] == [small, large]
    assert large.to_json().keys() - small.to_json().keys() == {"light", "fine"}
    measures = quality.measure(scene())
    assert quality.Measures.kept({}) is None
    assert quality.Measures.kept({**measures.to_json(), "new": 1}) is None


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (2, 900), (900, 30)])
def test_degenerate_sizes_are_measured(size: tuple[int, int]) -> None:
    """A sliver of a picture is measured without fuss."""
    assert quality.measure(Image.new("RGB", size)).sharpness == 0.0
