"""Crops by hand: four edges, a preview, saved, cleared, taken back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engines.api.errors import UserError
from studio.records.character import Character
from studio.records.image import ImageRecord
from studio.workplace.desk import Workplace
from tabs import curate
from tabs.common import cropping
from tests.tabs.conftest import studio_on_fakes


def test_what_the_edges_enclose_is_kept(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """Percents become the crop; gallery and panel show it, opened again the edges stand where they stood."""
    record = add()
    cropping.save(studio.desk(anna.id), record.id, 25.0, None, 75.0, 100.0)
    kept = studio.store(anna.id).images.get(record.id)
    assert kept.crop == (0.25, 0.0, 0.75, 1.0)
    assert "crop" in curate.badges(kept)
    assert "what counts in training" in curate.draw_detail(studio.desk(anna.id), record.id)[0]
    assert cropping.fill(studio.desk(anna.id), record.id)[:4] == [25.0, 0.0, 75.0, 100.0]

    cropping.clear(studio.desk(anna.id), record.id)
    assert studio.store(anna.id).images.get(record.id).crop == ()
    cropping.undo(studio.desk(anna.id), record.id)
    assert studio.store(anna.id).images.get(record.id).crop == kept.crop


def test_the_preview_says_what_would_be_left(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The box and its pixels, before anything is saved; a box that is too small is warned of, one that is none told."""
    record = add()
    half = cropping.draw(studio.desk(anna.id), record.id, 0, 0, 50, 100)
    assert f"{record.width // 2} × {record.height} of" in half and "width:50.00%" in half
    assert "that are trained" in half
    assert "that are trained" not in cropping.draw(studio.desk(anna.id), record.id, 0, 0, 100, 100)
    crossed = cropping.draw(studio.desk(anna.id), record.id, 60, 0, 50, 100)
    assert "fl-trouble" in crossed and "less than right" in crossed and "<img" in crossed
    assert studio.store(anna.id).images.get(record.id).crop == ()


def test_a_dragged_box_fills_the_fields(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """Its edges in percent, inside the picture, with the preview they give; nothing is kept before it is saved."""
    record = add()
    *edges, shown = cropping.drag(studio.desk(anna.id), {"edges": [-3, 12.345, 50, 101]}, record.id)
    assert edges == [0.0, 12.3, 50.0, 100.0]
    assert "width:50.00%" in str(shown)
    assert studio.store(anna.id).images.get(record.id).crop == ()
    assert len(cropping.drag(studio.desk(anna.id), {"edges": []}, record.id)) == 5


def test_edges_that_cross_are_refused(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """The picture is named, and nothing is kept."""
    record = add()
    with pytest.raises(UserError, match=record.name):
        cropping.save(studio.desk(anna.id), record.id, 60, 0, 50, 100)
    assert studio.store(anna.id).images.get(record.id).crop == ()


def test_nothing_is_shown_where_no_picture_is_open(studio: Workplace, anna: Character) -> None:
    """A closed panel stands at the whole picture."""
    assert cropping.fill(studio.desk(anna.id), "") == [0.0, 0.0, 100.0, 100.0, ""]
    assert cropping.draw(studio.desk(anna.id), "gone", 0, 0, 50, 50) == ""


def test_a_crop_is_there_after_a_restart(
    tmp_path: Path, studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """What the tab has saved, the next studio's tab shows."""
    record = add()
    cropping.save(studio.desk(anna.id), record.id, 0, 10, 90, 100)
    studio.close()
    again = studio_on_fakes(tmp_path)
    assert cropping.fill(again.desk(anna.id), record.id)[:4] == [0.0, 10.0, 90.0, 100.0]
    again.close()
