"""How the startup bench waits for a page."""

from __future__ import annotations

import pytest

from frontdoor.bench.startup import _seconds_to_page

SERVER = """
from http.server import HTTPServer, SimpleHTTPRequestHandler
HTTPServer(("127.0.0.1", {port}), SimpleHTTPRequestHandler).serve_forever()
"""


def test_a_served_page_has_its_seconds() -> None:
    """An app that serves a page is measured, and ended."""
    assert 0 < _seconds_to_page(SERVER) < 60


def test_an_app_that_ends_is_not_waited_for() -> None:
    """Its exit code is told at once, and its own words are on the standard error."""
    with pytest.raises(RuntimeError, match="ended with the code 7"):
        _seconds_to_page("raise SystemExit(7)")
