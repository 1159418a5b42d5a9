"""What `launch.py test` does before the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from frontdoor.test import _ensure_chromium, files_in_memory


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for apt-get is a shell script")
def test_without_chromium_the_tests_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An apt-get that fails, as it does without a network, leaves a notice and raises nothing."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    _ensure_chromium()

    assert "Chromium is not installed" in capsys.readouterr().out


def test_the_tests_files_lie_in_memory_and_are_gone_afterwards(tmp_path: Path) -> None:
    """Pytest is told of a folder there, which is deleted with all that the tests left in it."""
    with files_in_memory(tmp_path, room=0) as environment:
        folder = Path(environment["PYTEST_DEBUG_TEMPROOT"])
        assert folder.parent == tmp_path
        (folder / "left.txt").touch()
    assert list(tmp_path.iterdir()) == []


def test_without_room_in_memory_the_tests_files_lie_on_the_disk(tmp_path: Path) -> None:
    """Too little of it, or no such folder, changes nothing."""
    with files_in_memory(tmp_path, room=1 << 60) as little, files_in_memory(tmp_path / "none", room=0) as nothing:
        assert (little, nothing) == ({}, {})
    assert list(tmp_path.iterdir()) == []
