"""The bench of photographs, with small ones: its rows and their goals."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontdoor.bench import ENTRIES
from frontdoor.bench.photographs import rows

pytestmark = pytest.mark.slow


def test_each_place_that_opens_a_photograph_has_a_row(tmp_path: Path) -> None:
    """An import, the mask panel and the sources of edits are measured, and small photographs meet every goal."""
    found = list(rows(tmp_path, (600, 900), 2))
    assert [row.unit for row in found] == ["CPU s", "bytes", "bytes"]
    assert [row.ok for row in found] == [True, True, True]
    assert found[1].value > 0
    assert "frontdoor.bench.photographs:measure" in ENTRIES.values()
