"""Durable files: whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from engines.api.errors import UserError
from studio.store import Library
from studio.store.durable import copy_file, disk_refusal, make_folder, write_file, written_aside


def test_file_appears_whole(tmp_path: Path) -> None:
    """A written file is there with its folder, and nothing lies beside it."""
    path = tmp_path / "a" / "b" / "file.bin"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    """When the writer fails half-way, the old contents stand and the half is cleared away."""
    path = tmp_path / "file.bin"
    write_file(path, b"old")
    with pytest.raises(ZeroDivisionError), written_aside(path) as file:
        file.write(b"ne")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_copy(tmp_path: Path) -> None:
    """A copy is equal, and leaves its source alone."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 << 20))
    copy_file(source, tmp_path / "deep" / "target")
    assert (tmp_path / "deep" / "target").read_bytes() == source.read_bytes()


def test_refused_write_names_the_file(tmp_path: Path) -> None:
    """A disk that refuses is told with the file's name and a remedy."""
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(UserError, match=r"taken.* could not be written") as error:
        write_file(tmp_path / "taken" / "file", b"x")
    assert "Free some space" in error.value.hint


@pytest.mark.parametrize("over", [FileNotFoundError(errno.ENOENT, "raw words", "/a/part"), OSError("raw words")])
def test_a_full_disk_is_found_behind_another_error_of_the_system(tmp_path: Path, over: OSError) -> None:
    """An error that says nothing of the disk may have been caused by one that does."""
    try:
        try:
            raise OSError(errno.ENOSPC, "raw words", str(tmp_path / "file"))
        except OSError as cause:
            raise over from cause
    except OSError as error:
        found = disk_refusal(error, tmp_path)

    assert found is not None
    assert (found.code, str(tmp_path / "file") in found.cause) == ("disk_full", True)
    assert disk_refusal(FileNotFoundError(errno.ENOENT, "raw words", "/a/part"), tmp_path) is None


def test_make_folder_is_idempotent(tmp_path: Path) -> None:
    """A folder that exists is answered as it is."""
    assert make_folder(make_folder(tmp_path / "x" / "y")) == tmp_path / "x" / "y"


def test_what_a_crash_left_half_written_is_swept(library: Library) -> None:
    """Opening a character's store deletes its own half-written files, and nothing that looks only like one."""
    folder = library.root / "characters" / library.create("Mira").id
    left = folder / "images" / "ab" / ".abcd.png.0123abcd.tmp"
    others = [left.with_name(name) for name in ("abcd.png", ".abcd.png.tmp", "x.0123abcd.tmp", ".a.0123ABCD.tmp")]
    left.parent.mkdir(parents=True)
    for file in (left, *others):
        file.write_bytes(b"x")
    library.open("mira")
    assert sorted(left.parent.iterdir()) == sorted(others)
