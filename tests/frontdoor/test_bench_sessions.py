"""The sessions bench, with few visits: which rows it has, and that no file stays open."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontdoor.bench import ENTRIES
from frontdoor.bench.sessions import rows, served

pytestmark = pytest.mark.slow


def test_calls_pages_and_links_are_visited_and_measured(tmp_path: Path) -> None:
    """Every kind of visit to a served studio has rows for memory and for open files, and leaves none open."""
    with served(tmp_path) as (client, process):
        found = {row.name: row for row in rows(client, process, 4, 4, 2)}
    for kind in ("4 × raw call", "4 × page", "2 × review link"):
        assert found[f"memory after {kind}"].value > 50
        assert found[f"open files more after {kind}"].ok
    assert "frontdoor.bench.sessions:measure" in ENTRIES.values()
