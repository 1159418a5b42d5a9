"""Tests the nets that measure drawings, with random weights."""

from __future__ import annotations

import pytest

from engines.mini.nets import Judge, Reader
from engines.mini.oracle import Oracle

pytestmark = pytest.mark.slow


def test_no_picture_is_no_reading_and_no_vector() -> None:
    """An empty list gives an empty list, and an array of no rows with the vectors' width."""
    oracle = Oracle(Reader().eval(), Judge(size=96).eval(), 0.5)
    assert oracle.read([]) == []
    assert oracle.embed([]).shape == (0, 96)
