"""A start that the disk refuses prints two lines, not a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from frontdoor.cli import main
from studio.store.lock import FolderLock


def home_is_a_file(home: Path) -> None:
    """Puts a file in the place of the data folder."""
    home.write_text("x")


def lock_is_a_folder(home: Path) -> None:
    """Makes the lock a folder, so that it cannot be opened."""
    (home / "flenwheel.lock").mkdir(parents=True)


def journal_is_a_folder(home: Path) -> None:
    """Makes the journal a folder, so that it cannot be read."""
    (home / "flenwheel.journal").mkdir(parents=True)


def snapshot_is_a_folder(home: Path) -> None:
    """Makes the snapshot a folder, so that it cannot be read."""
    (home / "flenwheel.json").mkdir(parents=True)


@pytest.mark.parametrize("harm", [home_is_a_file, lock_is_a_folder, journal_is_a_folder, snapshot_is_a_folder])
def test_a_refused_start_prints_two_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: Callable[[Path], None]
) -> None:
    """The exit code is 1; the first line names the file, the second the remedy."""
    harm(tmp_path / "home")

    assert main(["studio", "--fake", "--no-open", "--home", str(tmp_path / "home")]) == 1

    cause, hint = capsys.readouterr().err.strip().splitlines()
    assert str(tmp_path / "home") in cause
    assert hint


def test_a_pid_file_that_cannot_be_written_stops_no_start(tmp_path: Path) -> None:
    """The pid file only names who holds the folder: the folder is locked without it."""
    (tmp_path / "flenwheel.pid").mkdir()

    FolderLock(tmp_path).release()
