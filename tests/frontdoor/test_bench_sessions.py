"""The sessions bench, with few visits: which rows it has, and that no file stays open."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from frontdoor.bench import ENTRIES
from frontdoor.bench.sessions import rows, served

pytestmark = pytest.mark.slow


def test_calls_pages_and_links_are_visited_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of visit has rows for memory and for open files, and leaves none open; none leaves this machine."""
    with socket.create_server(("127.0.0.1", 0)) as way_out:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{way_out.getsockname()[1]}")
        with served(tmp_path) as (client, process):
            found = {row.name: row for row in rows(client, process, 4, 4, 2)}
        way_out.setblocking(False)
        with pytest.raises(BlockingIOError):
            way_out.accept()
    for kind in ("4 × raw call", "4 × page", "2 × review link"):
        assert found[f"memory after {kind}"].value > 50
        assert found[f"open files more after {kind}"].ok
    assert "frontdoor.bench.sessions:measure" in ENTRIES.values()
