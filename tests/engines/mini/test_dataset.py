"""Tests that pictures made in another way are never taken for those of a data set."""

from __future__ import annotations

from pathlib import Path

from engines.mini.dataset import Dataset, draw_all, edit_pair, key_of


def test_pictures_of_another_recipe_have_another_name(tmp_path: Path) -> None:
    """The key is the same in every folder; one other person after an edit, or one other drawing, changes it."""
    data = Dataset(tmp_path, 80)
    faithful = [edit_pair(scene, str(i)) for i, scene in enumerate(data.scenes)]
    assert faithful != data.pairs
    drawn = list(draw_all(data.scenes))
    assert data.key == Dataset(tmp_path / "other", 80).key == key_of(data.scenes, data.pairs, drawn)
    assert key_of(data.scenes, faithful, drawn) != data.key
    assert key_of(data.scenes, data.pairs, [255 - drawn[0], *drawn[1:]]) != data.key
    assert Dataset(tmp_path, 88).key != data.key
