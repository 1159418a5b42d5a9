"""Masks by hand: uploaded, painted, taken away."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from engines.api.errors import UserError
from studio.records.character import Character
from studio.records.image import ImageRecord
from studio.workplace.desk import Workplace
from tabs import curate
from tabs.common import canvas, masking


def test_what_was_painted_over_counts(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """The strokes, at the canvas's size, become a mask of the picture's; the gallery and the panel show it."""
    record = add()
    painting, easel, shown = masking.begin(studio.desk(anna.id), record.id)
    stroke = Image.new("RGBA", shown.size)
    ImageDraw.Draw(stroke).rectangle((0, 0, stroke.width // 2, stroke.height), fill=(250, 40, 40, 255))
    put_away, _ = masking.paint(studio.desk(anna.id), painting, {"layers": [stroke]})
    assert (easel["visible"], put_away["visible"]) == (True, False)
    kept = studio.store(anna.id).images.get(record.id)
    with Image.open(studio.store(anna.id).file(kept.mask)) as mask:
        assert mask.size == (record.width, record.height)
        assert (mask.getpixel((1, 1)), mask.getpixel((record.width - 2, 1))) == (255, 0)
    assert "mask" in curate.badges(kept)
    assert "what counts in training" in curate.draw_detail(studio.desk(anna.id), record.id)[0]
    masking.remove(studio.desk(anna.id), record.id)
    assert "what counts in training" not in curate.draw_detail(studio.desk(anna.id), record.id)[0]


def test_a_large_photograph_is_painted_on_small() -> None:
    """A browser gets at most 1536 pixels of the longer side, a small drawing is enlarged, and what is between stays."""
    shapes = [canvas.fitted(Image.new("RGB", size)).size for size in ((6000, 4000), (1536, 1000), (64, 48), (700, 500))]
    assert shapes == [(1536, 1024), (1536, 1000), (768, 576), (700, 500)]


def test_a_canvas_that_nobody_painted_is_no_mask(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """It says what to do, and nothing is kept."""
    record = add()
    with pytest.raises(UserError, match="Nothing was painted"):
        masking.paint(studio.desk(anna.id), record.id, {"layers": [Image.new("RGBA", (64, 64))]})
    assert not studio.store(anna.id).images.get(record.id).mask


def test_an_uploaded_mask_must_fit(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord], tmp_path: Path
) -> None:
    """One of the picture's size is kept; another is refused with both sizes."""
    record = add()
    Image.new("L", (record.width, record.height), 200).save(tmp_path / "fits.png")
    Image.new("L", (8, 8), 200).save(tmp_path / "small.png")
    masking.upload(studio.desk(anna.id), record.id, str(tmp_path / "fits.png"))
    mask = studio.store(anna.id).images.get(record.id).mask
    with pytest.raises(UserError, match="8×8"):
        masking.upload(studio.desk(anna.id), record.id, str(tmp_path / "small.png"))
    assert studio.store(anna.id).images.get(record.id).mask == mask != ""
