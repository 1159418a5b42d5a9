"""What an import finds on a disk: every file is copied or named, and the studio never takes its own."""

from __future__ import annotations

import json
import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput
from studio.flywheel.curate import importing
from studio.flywheel.curate.inbox import demand_room, typed_path
from studio.flywheel.curate.intake import Limits
from studio.records.base import plain
from studio.records.image import Kind
from studio.records.job import Artifacts, Job, JobState
from studio.records.payload import ImportPayload
from tests.studio.conftest import World, present
from tests.studio.drops import photo


def refused(job: Job) -> dict[str, str]:
    """File -> reason."""
    return {item.file: item.reason for item in present(job.artifacts.refused)}


def taken(world: World) -> set[str]:
    """The names of what imports brought."""
    return {image.name for image in world.store.select(Kind.SOURCE) if image.job}


def test_a_folder_that_holds_the_home_brings_what_lies_outside(world: World, tmp_path: Path) -> None:
    """Its pictures come once, the studio's own folder is named as left out, and no copy stays behind."""
    home = world.studio.settings.data_root
    assert home.parent == tmp_path
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(photo(n))
    job = importing.submit_import(world.desk, [tmp_path])
    assert (job.state, taken(world)) == (JobState.DONE, {"0.png", "1.png", "2.png"})
    assert "own data folder" in refused(job)[f"{tmp_path.name}/{home.name}"]
    assert not list(home.rglob("inbox"))


@pytest.mark.parametrize("inside", ["", "characters", "characters/{id}/images"])
@pytest.mark.parametrize("through", ["path", "link", "dots"])
def test_the_home_and_folders_in_it_are_refused(world: World, tmp_path: Path, inside: str, through: str) -> None:
    """By its path, by a link to it and by a way round to it; nothing is queued."""
    folder = world.studio.settings.data_root / inside.format(id=world.id)
    if through == "link":
        (tmp_path / "link").symlink_to(folder)
        folder = tmp_path / "link"
    if through == "dots":
        (tmp_path / "other").mkdir()
        folder = tmp_path / "other" / ".." / folder.relative_to(tmp_path)
    with pytest.raises(BadInput, match="own data folder"):
        importing.submit_import(world.desk, [folder])
    assert world.studio.jobs.list() == []


def test_a_file_of_the_home_may_be_imported(world: World) -> None:
    """Another character's picture, or a zip that was exported, is a file like any other."""
    other = world.studio.library.create("Other", editor="fake-edit").id
    job = importing.submit_import(world.studio.desk(other), [world.store.path(world.sources[0])])
    assert len(present(job.artifacts.imported)) == 1


def test_what_is_no_file_is_named(world: World, tmp_path: Path) -> None:
    """Links (back into the home, too), pipes, sockets and empty folders each have a line; nothing waits for them."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(photo(1))
    os.mkfifo(folder / "pipe.png")
    (folder / "link.png").symlink_to(folder / "a.png")
    (folder / "home").symlink_to(world.studio.settings.data_root)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s"))
        (tmp_path / "empty").mkdir()
        os.mkfifo(tmp_path / "alone")
        job = importing.submit_import(world.desk, [folder, tmp_path / "empty", tmp_path / "alone"])
    assert taken(world) == {"a.png"}
    reasons = refused(job)
    expected = {"in/pipe.png": "pipe", "in/link.png": "link", "in/home": "link", "in/s": "socket"}
    assert set(reasons) == {*expected, "empty", "alone"}
    assert all(word in reasons[file] for file, word in (*expected.items(), ("empty", "empty"), ("alone", "pipe")))


@pytest.mark.parametrize("name", ["gone.png", "x" * 300, "x" * 5000])
def test_paths_that_lead_nowhere_are_lines(world: World, tmp_path: Path, name: str) -> None:
    """A path that is not there or longer than any system keeps costs itself alone."""
    (tmp_path / "a.png").write_bytes(photo(1))
    job = importing.submit_import(world.desk, [tmp_path / name, tmp_path / "a.png"])
    assert (taken(world), refused(job)) == ({"a.png"}, {name: "It is not there."})


@pytest.mark.parametrize("name", ["a\0b.png", "caf\udce9.png"])
def test_paths_that_are_no_text_are_refused(world: World, tmp_path: Path, name: str) -> None:
    """NUL and half letters never reach the queue."""
    with pytest.raises(BadInput, match="no text"):
        importing.submit_import(world.desk, [tmp_path / name])
    assert world.studio.jobs.list() == []


def test_names_in_old_code_pages_become_text(world: World, tmp_path: Path) -> None:
    """A file whose name is no UTF-8 comes in with its words, and all that is said of it can be encoded."""
    folder = os.fsencode(tmp_path / "in")
    Path(os.fsdecode(folder)).mkdir()
    for name, data in {
        b"caf\xe9.png": photo(1),
        b"caf\xe9.txt": b"ohwx a",
        b"\xe8.txt": b"nobody's",
        b"n\n.gif": b"",
    }.items():
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(data)
    for _ in range(2):
        job = importing.submit_import(world.desk, [tmp_path / "in"])
        str(job.to_json()["artifacts"]).encode()
    assert {(image.name, image.caption) for image in world.store.select(Kind.SOURCE) if image.job} == {
        ("caf?.png", "ohwx a")
    }


@pytest.mark.parametrize(
    "typed",
    ["{}", " {} ", '"{}"', "'{}'", "\u201c{}\u201d", "file://{}", "file://localhost{}", "'file://{}'"],
)
def test_a_path_is_read_as_people_give_it(tmp_path: Path, typed: str) -> None:
    """Quotes that a file manager puts around it, and addresses that a browser makes of it."""
    assert typed_path(typed.format(tmp_path / "a b")) == tmp_path / "a b"
    assert typed_path(f"file://{tmp_path}/a%20b%3F%C3%A9") == tmp_path / "a b?é"
    assert typed_path("~/x") == Path.home() / "x"


@pytest.mark.parametrize("typed", ["", "  ", '""', "a\0b", "\ud800", "file://"])
def test_a_path_that_is_none_is_refused(typed: str) -> None:
    """Empty ones and those that no system can keep."""
    with pytest.raises(BadInput):
        typed_path(typed)


def test_a_long_report_is_written_a_few_times(world: World, tmp_path: Path) -> None:
    """It is kept after twice as many files each time: four times the files cost not four times four the bytes."""
    written = {}
    for count in (200, 800):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        for n in range(count):
            (folder / f"{n}.png").write_bytes(b"")
        asked = ImportPayload(paths=(str(folder),), limits=vars(Limits()))
        kept = Kept(world, Job(id=f"import-{count}", kind="import", character=world.id, payload=asked.to_json()))
        importing.run_import(kept)  # type: ignore[arg-type]  # it has what an import asks of a context
        assert len(present(kept.artifacts.refused)) == count
        written[count] = kept.nbytes
    assert written[800] < 6 * written[200]


class Kept:
    """A job's context that counts the bytes of what it is asked to keep."""

    def __init__(self, world: World, job: Job) -> None:
        self.job, self.store, self.workplace = job, world.store, world.studio
        self.artifacts = Artifacts()
        self.nbytes = 0

    def step(self, step: int, total: int, message: str = "") -> None:
        """Nothing."""

    def keep(self, **artifacts: Any) -> None:
        """Count and remember."""
        self.nbytes += len(json.dumps(plain(artifacts)))
        self.artifacts = self.artifacts.replace(**artifacts)


def test_a_hidden_folder_that_was_chosen_is_meant(world: World, tmp_path: Path) -> None:
    """So is a hidden picture; what is hidden within a chosen folder, and the system's own files, are left alone."""
    for name in (".kept/0.png", ".kept/.hidden/1.png", ".2.png", "._3.png", "plain/.4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photo(len(name)))
    chosen = [tmp_path / name for name in (".kept", ".2.png", "._3.png", "plain")]
    importing.submit_import(world.desk, chosen)
    assert taken(world) == {"0.png", ".2.png"}


def test_what_is_dropped_with_its_folder_counts_once(world: World, tmp_path: Path) -> None:
    """The limits of an import are those of what it copies."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.png").write_bytes(photo(n))
    limits = Limits(files=3)
    demand_room([folder, folder / "0.png", folder], tmp_path / "home", limits, tmp_path)
    with pytest.raises(BadInput, match="3 files fit"):
        (folder / "3.png").write_bytes(photo(3))
        demand_room([folder], tmp_path / "home", limits, tmp_path)


def test_zips_count_as_what_they_unpack_to(tmp_path: Path) -> None:
    """Together they stay within the limits of one import; one that is beyond them by itself is refused alone."""
    for name, count in (("a", 2), ("b", 2), ("large", 5)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("folder/", b"")
            for n in range(count):
                archive.writestr(f"{n}.png", bytes(500))
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    one, two, large, broken = (tmp_path / f"{name}.zip" for name in ("a", "b", "large", "broken"))
    home = tmp_path / "home"
    for limits in (Limits(files=4), Limits(total_bytes=2000)):
        demand_room([one, two], home, limits, tmp_path)
        demand_room([one, large], home, limits, tmp_path)
    with pytest.raises(BadInput, match=r"in 4 files; at most .* and 3 files fit"):
        demand_room([one, two], home, Limits(files=3), tmp_path)
    with pytest.raises(BadInput, match=r"in 3 files; at most .* and 2 files fit"):
        demand_room([one, broken], home, Limits(files=2), tmp_path)
    with pytest.raises(BadInput, match="in 4 files; at most"):
        demand_room([one, two], home, Limits(total_bytes=1999), tmp_path)
