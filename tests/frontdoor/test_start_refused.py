"""A start that the disk refuses is two lines, not a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from frontdoor.cli import main
from studio.store.lock import FolderLock


def home_is_a_file(home: Path) -> None:
    """Where the home should be lies a file."""
    home.write_text("x")


def lock_is_a_folder(home: Path) -> None:
    """The lock cannot be opened for writing."""
    (home / "flenwheel.lock").mkdir(parents=True)


def journal_is_a_folder(home: Path) -> None:
    """The journal cannot be read."""
    (home / "flenwheel.journal").mkdir(parents=True)


def snapshot_is_a_folder(home: Path) -> None:
    """The snapshot cannot be read."""
    (home / "flenwheel.json").mkdir(parents=True)


@pytest.mark.parametrize("harm", [home_is_a_file, lock_is_a_folder, journal_is_a_folder, snapshot_is_a_folder])
def test_two_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: Callable[[Path], None]) -> None:
    """Exit code 1, what is wrong with the file's name, and what to do."""
    harm(tmp_path / "home")

    assert main(["studio", "--fake", "--no-open", "--home", str(tmp_path / "home")]) == 1

    cause, hint = capsys.readouterr().err.strip().splitlines()
    assert str(tmp_path / "home") in cause
    assert hint


def test_a_foreign_pid_file_stops_nobody(tmp_path: Path) -> None:
    """It only says who holds the folder; where it cannot be written the folder is held all the same."""
    (tmp_path / "flenwheel.pid").mkdir()

    FolderLock(tmp_path).release()
