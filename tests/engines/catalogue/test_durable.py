"""Files that are complete or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.catalogue.durable import flush, write_file


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    """The new contents take the old ones' place, and no draft stays beside them."""
    file = tmp_path / "record.json"
    file.write_bytes(b"old")
    write_file(file, b"new")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("record.json", b"new")]


def test_a_failed_write_leaves_no_draft(tmp_path: Path) -> None:
    """Where the name cannot be taken, here by a folder's, the error is raised and the draft is deleted."""
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        write_file(tmp_path / "taken", b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_files_and_folders_can_be_flushed(tmp_path: Path) -> None:
    """Both kinds of paths are pushed to the disk without a change to either."""
    (tmp_path / "file").write_bytes(b"kept")
    flush(tmp_path / "file")
    flush(tmp_path)
    assert (tmp_path / "file").read_bytes() == b"kept"
