"""Tests the labels from which the identity encoders learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.mini import world
from engines.mini.dataset import Dataset
from engines.mini.train_readers import faithful_rows, person_of

pytestmark = pytest.mark.slow


def test_whoever_an_encoder_is_shown_is_the_one_it_is_told(tmp_path: Path) -> None:
    """Every picture shows the person of its label; only the edits that changed the person are left out."""
    data = Dataset(tmp_path, 400)
    rows = faithful_rows(data)
    for row, label in zip(rows.tolist(), person_of(data, rows).tolist(), strict=True):
        assert data.all_scenes[row].person == world.train_person(label)
    left_out = set(range(800)) - set(rows.tolist())
    every = person_of(data, torch.arange(800)).tolist()
    assert left_out == {row for row in range(800) if data.all_scenes[row].person != world.train_person(every[row])}
    assert left_out
