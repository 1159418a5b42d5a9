"""The journal: what was acknowledged comes back, whatever a crash or a bad disk did to the files."""

from __future__ import annotations

import copy
import errno
import json
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.api.errors import BadInput, UserError
from studio.store.durable import Disk
from studio.store.journal import CorruptLine, Journal, Op, Tables, apply, decode, encode, read_lines
from tests.studio.full_disk import disk_of

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
_ops = st.tuples(
    st.sampled_from(["images", "decisions"]),
    st.sampled_from(["a", "b", "c"]),
    st.none() | st.dictionaries(st.text(max_size=4), _values, max_size=3),
)
_commits = st.lists(st.lists(_ops, min_size=1, max_size=3), min_size=1, max_size=5)


def opened(folder: Path, schema: int = 1) -> tuple[Journal, Tables]:
    """A journal on a folder as it lies there."""
    journal = Journal(folder, schema=schema, compact_bytes=1 << 20)
    tables, _ = journal.load()
    return journal, tables


def states(commits: list[list[Op]]) -> list[Tables]:
    """The tables after no commit, after the first, …"""
    after: list[Tables] = [{}]
    for ops in commits:
        after.append(copy.deepcopy(after[-1]))
        apply(after[-1], ops)
    return after


@given(_commits)
def test_cut_anywhere_is_a_prefix(commits: list[list[Op]]) -> None:
    """A journal cut at any byte holds exactly the commits whose lines are complete."""
    lines = [encode(number, ops) for number, ops in enumerate(commits, start=1)]
    data = b"".join(lines)
    ends = [len(b"".join(lines[:count])) for count in range(len(lines) + 1)]
    for cut in range(len(data) + 1):
        found, sound = read_lines(data[:cut])
        whole = max(count for count, end in enumerate(ends) if end <= cut)
        assert [ops for _, ops in found] == commits[:whole]
        assert sound == ends[whole]


@pytest.mark.slow
def test_cut_anywhere_on_the_disk(tmp_path: Path) -> None:
    """A database whose journal was cut at any byte opens on a prefix, goes on, and opens again."""
    commits: list[list[Op]] = [
        [("images", "a", {"state": "pending"})],
        [("images", "a", {"state": "good"}), ("decisions", "1", {"image": "a"})],
        [("images", "a", None)],
    ]
    data = b"".join(encode(number, ops) for number, ops in enumerate(commits, start=1))
    expected = states(commits)
    for cut in range(len(data) + 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "flenwheel.journal").write_bytes(data[:cut])
        journal, tables = opened(folder)
        assert tables == expected[journal.sequence]
        assert journal.sequence == data[:cut].count(b"\n")
        journal.append([("images", "new", {})])
        journal.close()
        again, tables = opened(folder)
        again.close()
        assert tables["images"]["new"] == {}


@given(_commits, st.data())
def test_damage_is_never_read_as_data(commits: list[list[Op]], draw: st.DataObject) -> None:
    """A journal with one changed byte is either refused or read as a prefix; never as anything else."""
    data = bytearray(b"".join(encode(number, ops) for number, ops in enumerate(commits, start=1)))
    place = draw.draw(st.integers(0, len(data) - 1))
    data[place] ^= draw.draw(st.integers(1, 255))
    try:
        found, _ = read_lines(bytes(data))
    except CorruptLine:
        return
    assert [ops for _, ops in found] == commits[: len(found)]


@pytest.mark.parametrize("spoilt", [1, 2])
def test_damage_is_an_error(tmp_path: Path, spoilt: int) -> None:
    """A damaged line, be it the last, names the file, and nothing is written."""
    journal, _ = opened(tmp_path)
    for number in range(3):
        journal.append([("images", str(number), {"n": number})])
    journal.close()
    path = tmp_path / "flenwheel.journal"
    damaged = path.read_bytes().replace(b'"n":%d' % spoilt, b'"n":7')
    path.write_bytes(damaged)
    with pytest.raises(BadInput, match=rf"flenwheel\.journal is damaged: line {spoilt + 1}") as error:
        opened(tmp_path)
    assert "nothing was overwritten" in error.value.hint
    assert path.read_bytes() == damaged


def test_missing_commits_are_an_error(tmp_path: Path) -> None:
    """A journal that does not continue its snapshot is refused."""
    (tmp_path / "flenwheel.journal").write_bytes(encode(5, [("images", "a", {})]))
    with pytest.raises(BadInput, match="commit 1 is missing before commit 5"):
        opened(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"_meta": {"1": {"schema": "x"}}}'])
def test_broken_snapshot_is_an_error(tmp_path: Path, text: str) -> None:
    """A snapshot that is not ours is refused by name and left as it is."""
    path = tmp_path / "flenwheel.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"flenwheel\.json is damaged"):
        opened(tmp_path)
    assert path.read_text() == text


@pytest.mark.parametrize("torn", [b"0123 [2,", b"\0\0\0\0}}]]]\n"], ids=["cut off", "a block unwritten"])
def test_torn_bytes_are_set_aside(tmp_path: Path, torn: bytes) -> None:
    """What a crash tore is cut off the journal, and kept beside it."""
    whole = encode(1, [("images", "a", {})])
    (tmp_path / "flenwheel.journal").write_bytes(whole + torn)
    opened(tmp_path)[0].close()
    assert (tmp_path / "flenwheel.journal").read_bytes() == whole
    assert (tmp_path / "flenwheel.torn").read_bytes() == torn


def test_compaction_keeps_everything(tmp_path: Path) -> None:
    """After a compaction the snapshot holds all, the journal nothing, and numbering goes on."""
    journal, tables = opened(tmp_path)
    apply(tables, journal.append([("images", "a", {"n": 1})]))
    journal.compact(tables)
    assert (tmp_path / "flenwheel.journal").read_bytes() == b""
    journal.append([("images", "b", {"n": 2})])
    journal.close()
    again, tables = opened(tmp_path)
    assert tables == {"images": {"a": {"n": 1}, "b": {"n": 2}}}
    assert again.sequence == 2
    again.close()


def test_crash_between_the_steps_of_a_compaction(tmp_path: Path) -> None:
    """Every mixture of old and new files that a crash can leave opens on the same tables."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    journal, tables = opened(old)
    journal.compact(tables)
    for number in range(4):
        apply(tables, journal.append([("images", str(number % 3), {"n": number})]))
    apply(tables, journal.append([("images", "0", None)]))
    files_before = {path.name: path.read_bytes() for path in old.iterdir()}
    journal.compact(tables)
    journal.close()
    files_after = {path.name: path.read_bytes() for path in old.iterdir()}
    snapshot = files_after["flenwheel.json"]
    mixtures = [
        {**files_before, ".flenwheel.json.1234.tmp": snapshot[:half]} for half in range(0, len(snapshot) + 1, 7)
    ]
    mixtures.append({**files_before, "flenwheel.json": snapshot})
    mixtures.append(files_after)
    for count, files in enumerate(mixtures):
        folder = new / str(count)
        folder.mkdir(parents=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        again, found = opened(folder)
        again.close()
        assert found == tables
        assert again.sequence == 5


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """A database of a newer program is not opened, and not touched."""
    journal, tables = opened(tmp_path, schema=3)
    journal.compact(tables)
    journal.close()
    before = (tmp_path / "flenwheel.json").read_bytes()
    with pytest.raises(BadInput, match=r"newer FLENwheel \(schema 3; this one knows 2\)"):
        opened(tmp_path, schema=2)
    assert (tmp_path / "flenwheel.json").read_bytes() == before


@pytest.mark.slow
def test_bytes_of_a_commit_do_not_depend_on_the_past(tmp_path: Path) -> None:
    """The eight-hundredth commit appends as many bytes as the hundred and first."""
    journal, _ = opened(tmp_path)
    sizes = []
    for number in range(100, 900):
        before = journal.size
        journal.append([("images", f"{number}", {"n": number})])
        sizes.append(journal.size - before)
    journal.close()
    assert len(set(sizes[100:])) == 1  # from commit 101 on, every number has three digits
    assert (tmp_path / "flenwheel.journal").stat().st_size == sum(sizes)


def test_full_disk_takes_back_the_commit(tmp_path: Path) -> None:
    """A commit that the disk refuses half-way has not happened, and the next one lands where it should."""
    journal, _ = opened(tmp_path)
    journal.append([("images", "a", {})])
    with disk_of(journal.size + 100), pytest.raises(UserError, match="could not be written"):
        journal.append([("images", "lost", {"text": "x" * 200})])
    assert (tmp_path / "flenwheel.journal").stat().st_size == journal.size
    journal.append([("images", "b", {})])
    assert (tmp_path / "flenwheel.journal").stat().st_size == journal.size
    journal.close()
    again, tables = opened(tmp_path)
    again.close()
    assert list(tables["images"]) == ["a", "b"]


class Failing(Disk):
    """A disk that fails at the named calls."""

    def __init__(self) -> None:
        self.fails: tuple[str, ...] = ()

    def sync(self, handle: int) -> None:
        """Push a file to the disk, or fail."""
        self._perhaps("sync")
        super().sync(handle)

    def truncate(self, file: FileIO, size: int) -> None:
        """Cut a file, or fail."""
        self._perhaps("truncate")
        super().truncate(file, size)

    def _perhaps(self, call: str) -> None:
        if call in self.fails:
            raise OSError(errno.EIO, "Input/output error")


def failing(folder: Path) -> tuple[Journal, Failing]:
    """A journal of one commit, and its disk, which fails when it is told to."""
    disk = Failing()
    journal = Journal(folder, schema=1, compact_bytes=1 << 20, disk=disk)
    journal.load()
    journal.append([("images", "a", {})])
    return journal, disk


def test_a_whole_line_that_could_not_be_synced_does_not_come_back(tmp_path: Path) -> None:
    """A commit that failed stays failed, even where the studio ends before the next one."""
    journal, disk = failing(tmp_path)
    disk.fails = ("sync",)
    with pytest.raises(UserError, match="could not be written"):
        journal.append([("images", "lost", {})])
    journal.close()
    again, tables = opened(tmp_path)
    again.close()
    assert (again.sequence, list(tables["images"])) == (1, ["a"])


def test_a_line_that_could_not_be_cut_off_is_cut_off_by_the_next_commit(tmp_path: Path) -> None:
    """The rest of a longer failed line never follows a shorter one."""
    journal, disk = failing(tmp_path)
    disk.fails = ("sync", "truncate")
    with pytest.raises(UserError, match="could not be written"):
        journal.append([("images", "lost", {"text": "x" * 200})])
    disk.fails = ()
    journal.append([("images", "b", {})])
    journal.close()
    again, tables = opened(tmp_path)
    again.close()
    assert (again.sequence, list(tables["images"])) == (2, ["a", "b"])


def test_closed_journal_refuses(tmp_path: Path) -> None:
    """A write after the close is refused in words."""
    journal, _ = opened(tmp_path)
    journal.close()
    with pytest.raises(UserError, match="is closed"):
        journal.append([("images", "a", {})])


@settings(max_examples=50)
@given(st.lists(_ops, min_size=1, max_size=3))
def test_a_line_is_one_line(ops: list[Any]) -> None:
    """Whatever the words, a commit is one line of ASCII that reads back as the same."""
    line = encode(7, ops)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert decode(line[:-1]) == (7, ops)


def test_snapshot_is_plain_json(tmp_path: Path) -> None:
    """The snapshot can be read by anything that reads TinyDB's own files."""
    journal, tables = opened(tmp_path)
    apply(tables, journal.append([("images", "a", {"n": 1})]))
    journal.compact(tables)
    journal.close()
    data = json.loads((tmp_path / "flenwheel.json").read_text())
    assert data == {"_meta": {"1": {"schema": 1, "sequence": 1}}, "images": {"a": {"n": 1}}}
