"""The bench of how a training's cost grows, on few pictures and steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontdoor.bench import costs

pytestmark = pytest.mark.slow


def test_each_number_of_pictures_and_steps_is_measured(tmp_path: Path) -> None:
    """Each number of pictures has two starts, the second from caches; steps are timed without the start."""
    rows = [*costs.starts(tmp_path, (2, 4)), *costs.lengths(tmp_path, 2, 2)]
    assert [row.name for row in rows] == [
        "to the first step, 2 pictures never seen",
        "to the first step, 2 pictures from caches",
        "to the first step, 4 pictures never seen",
        "to the first step, 4 pictures from caches",
        "again, 4 pictures",
        "2 steps",
        "4 steps",
    ]
    assert all(row.value > 0 for row in rows)
    assert [row.ok is None for row in rows] == [True, True, False, False, False, True, False]
    caches = {folder.name: len(list(folder.rglob("*.safetensors"))) for folder in tmp_path.glob("cache*")}
    assert caches["cache 4"] > caches["cache 2"] > 0
