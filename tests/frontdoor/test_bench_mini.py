"""The embedded family's bench."""

from contextlib import closing
from pathlib import Path

import pytest

from frontdoor.bench.mini import Workbench, one_by_one
from frontdoor.studio import open_studio

pytestmark = pytest.mark.slow


def test_the_shipped_weights_are_small_and_reconstruct_sharply(tmp_path: Path) -> None:
    """Weights are read in whatever type they are stored, and size and autoencoders meet their goals."""
    with closing(open_studio(tmp_path / "home")) as workplace:
        rows = list(Workbench(workplace, tmp_path).weights())
    assert len(rows) == 3
    assert all(row.ok for row in rows), [(row.name, row.value) for row in rows]


def test_a_picture_is_timed_alone() -> None:
    """Items are timed without a batch; the first run, which still loads weights, does not count."""
    asked: list[list[str]] = []
    row = one_by_one("a picture", lambda items: asked.append(list(items)), ["a", "b", "c"], 0.8)
    assert asked == [["a"], ["a"], ["b"], ["c"]]
    assert row.ok is True and row.spread is not None
