"""What most tests start from: a library in a folder of its own, and one character's store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from studio.store import Library, Store

settings.register_profile("flenwheel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("flenwheel")


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """An empty library."""
    with Library(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def store(library: Library) -> Store:
    """The store of a fresh character named Mira."""
    return library.open(library.create("Mira").id)
