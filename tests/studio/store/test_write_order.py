"""What lies on the disk when: every file is pushed there before it is named, every commit before it is told."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from studio.store.durable import Disk, copy_file, make_folder, write_file
from studio.store.journal import Journal, apply


class Watched(Disk):
    """A disk that notes each call: what was synced and how large it was, what was renamed, what was cut."""

    def __init__(self, *watched: Path) -> None:
        self.watched = watched
        self.done: list[str] = []

    def sync(self, handle: int) -> None:
        """Note a folder by its name, a file by its inode's size."""
        told = os.fstat(handle)
        names = {path.stat().st_ino: path.name for path in self.watched if path.exists()}
        kind = "folder" if stat.S_ISDIR(told.st_mode) else "file"
        name = names.get(told.st_ino, "?")
        self.done.append(f"sync {kind} {name}" if kind == "folder" else f"sync {kind} {name} {told.st_size}")
        super().sync(handle)

    def replace(self, source: Path, target: Path) -> None:
        """Note the name that a file gets, and its size as it gets it."""
        self.done.append(f"name {target.name} {source.stat().st_size}")
        super().replace(source, target)

    def truncate(self, file: FileIO, size: int) -> None:
        """Note the cut."""
        self.done.append(f"cut to {size}")
        super().truncate(file, size)


def test_a_file_is_synced_whole_before_it_gets_its_name(tmp_path: Path) -> None:
    """Contents, name, folder: in this order, for what is written and for what is copied."""
    writes: tuple[Callable[[Disk], object], ...] = (
        lambda disk: write_file(tmp_path / "file", b"12345", disk),
        lambda disk: copy_file(tmp_path / "file", tmp_path / "copy", disk),
    )
    for write in writes:
        disk = Watched(tmp_path)
        write(disk)
        name = disk.done[1].split()[1]
        assert disk.done == ["sync file ? 5", f"name {name} 5", f"sync folder {tmp_path.name}"]


def test_a_new_folder_is_synced_into_its_parent(tmp_path: Path) -> None:
    """Outermost first, each in the folder that holds its name."""
    disk = Watched(tmp_path, tmp_path / "a")
    make_folder(tmp_path / "a" / "b", disk)

    assert disk.done == [f"sync folder {tmp_path.name}", "sync folder a"]


def test_a_commit_is_synced_before_it_is_told(tmp_path: Path) -> None:
    """When `append` returns, a sync has seen all of its line; the journal's own name was synced at the start."""
    journal_file = tmp_path / "flenwheel.journal"
    disk = Watched(tmp_path, journal_file)
    journal = Journal(tmp_path, schema=1, compact_bytes=1 << 20, disk=disk)
    journal.load()
    assert disk.done == [f"sync folder {tmp_path.name}"]

    for number in range(3):
        disk.done.clear()
        journal.append([("images", f"{number}", {"n": number})])
        assert disk.done == [f"sync file flenwheel.journal {journal_file.stat().st_size}"]
    journal.close()


def test_a_snapshot_is_on_the_disk_before_the_journal_is_emptied(tmp_path: Path) -> None:
    """A power cut between any two steps leaves one of the two whole."""
    disk = Watched(tmp_path, tmp_path / "flenwheel.journal")
    journal = Journal(tmp_path, schema=1, compact_bytes=1 << 20, disk=disk)
    tables, _ = journal.load()
    apply(tables, journal.append([("images", "a", {"n": 1})]))
    disk.done.clear()

    journal.compact(tables)
    journal.close()

    size = (tmp_path / "flenwheel.json").stat().st_size
    assert disk.done == [
        f"sync file ? {size}",
        f"name flenwheel.json {size}",
        f"sync folder {tmp_path.name}",
        "cut to 0",
        "sync file flenwheel.journal 0",
    ]


def test_a_torn_line_is_kept_before_it_is_cut_off(tmp_path: Path) -> None:
    """Its bytes are set aside and synced, then the journal is cut and synced."""
    journal = Journal(tmp_path, schema=1, compact_bytes=1 << 20)
    journal.load()
    journal.append([("images", "a", {"n": 1})])
    journal.close()
    path = tmp_path / "flenwheel.journal"
    sound = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"torn")
    disk = Watched(tmp_path, path)

    again = Journal(tmp_path, schema=1, compact_bytes=1 << 20, disk=disk)
    again.load()
    again.close()

    kept = [f"sync folder {tmp_path.name}", "sync file ? 4", "name flenwheel.torn 4", f"sync folder {tmp_path.name}"]
    assert disk.done == [*kept, f"cut to {sound}", f"sync file flenwheel.journal {sound}"]


def test_the_disk_itself_syncs(tmp_path: Path) -> None:
    """The studio's own disk asks the system: a handle that cannot be synced is refused by it, not passed over."""
    read, write = os.pipe()
    try:
        Disk().sync(write)
    except OSError as error:
        assert error.errno is not None
    else:
        raise AssertionError("no call of fsync reached the system")
    finally:
        os.close(read)
        os.close(write)
