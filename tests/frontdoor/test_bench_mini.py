"""The embedded family's bench."""

from contextlib import closing
from pathlib import Path

import pytest

from frontdoor.bench.mini import Workbench, one_by_one
from frontdoor.studio import open_studio

pytestmark = pytest.mark.slow


def test_the_shipped_weights_are_small_and_see_sharply(tmp_path: Path) -> None:
    """Weights are read as they lie on the disk, in whatever type, and size and autoencoders meet their goals."""
    with closing(open_studio(tmp_path / "home")) as studio:
        rows = list(Workbench(studio, tmp_path).weights())
    assert len(rows) == 3
    assert all(row.ok for row in rows), [(row.name, row.value) for row in rows]


def test_a_picture_is_timed_alone() -> None:
    """No batch hides what one costs; the first, which still loads things, does not count."""
    asked: list[list[str]] = []
    row = one_by_one("a picture", lambda items: asked.append(list(items)), ["a", "b", "c"], 0.8)
    assert asked == [["a"], ["a"], ["b"], ["c"]]
    assert row.ok is True and row.spread is not None
