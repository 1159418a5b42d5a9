"""The bench of Review's keys, with few pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontdoor.bench import ENTRIES
from frontdoor.bench.review import rows, waits

pytestmark = pytest.mark.browser


def test_every_key_is_timed_to_the_next_picture(tmp_path: Path) -> None:
    """Each key has its time in a real browser, and the goal is for the 95th percentile."""
    times = waits(tmp_path / "home", 30, 8)

    assert len(times) == 8
    assert all(time > 0 for time in times)
    middle, late = rows(times, 30)
    assert "30 pending" in middle.name
    assert late.goal == "≤ 100 ms"
    assert late.ok == (late.value <= 100)
    assert ENTRIES["review"] == "frontdoor.bench.review:measure"
