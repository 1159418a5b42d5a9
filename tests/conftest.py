"""What most tests start from: a library in a folder of its own, and one character's store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from studio.store import Library, Store

settings.register_profile("flenwheel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("flenwheel")

_COSTLY = ("slow", "browser")
_OF_ALL = r"^pytestmark = \[?\s*pytest\.mark\.({})\b"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file of which every test is left out is not imported either: the fast suite never pays for torch."""
    left_out = [mark for mark in _COSTLY if f"not {mark}" in config.option.markexpr]
    if collection_path.suffix != ".py" or not left_out:
        return None
    marked = re.search(_OF_ALL.format("|".join(left_out)), collection_path.read_text(encoding="utf-8"), re.MULTILINE)
    return True if marked else None


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """An empty library."""
    with Library(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def store(library: Library) -> Store:
    """The store of a fresh character named Mira."""
    return library.open(library.create("Mira").id)


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of real photographs; its README names their origins and licences."""
    return Path(__file__).parent / "photos"
