"""A character leaves as one zip and comes back whole, or not at all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image

from engines.api.errors import BadInput, Busy, NotFound
from studio.flywheel.curate import importing
from studio.flywheel.train import character as train
from studio.flywheel.train import runs
from studio.housekeeping import backup
from studio.records.job import JobState
from studio.store import Library, Store
from studio.store.library import DRAFT, IMPORTING
from tests.studio.conftest import World
from tests.studio.drops import photo


@pytest.fixture
def written(world: World) -> Path:
    """The backup of a character with verdicts and a version."""
    world.review(approved=2, corrected=1)
    world.finish(train.submit(world.desk, world.train_params(steps=3, save_every=1), model="fake-flux"))
    job = backup.submit_export(world.desk, here=True)
    assert job.state is JobState.DONE, job.error
    return backup.written_file(world.desk, job)


def leftovers(world: World) -> list[str]:
    """The folders of characters that no record knows."""
    known = {each.id for each in world.studio.library.characters()}
    return [each.name for each in (world.store.folder.parent).iterdir() if each.name not in known]


def test_a_character_comes_back_beside_itself(world: World, written: Path) -> None:
    """With a new id and name; every record, file and job is there, and the two share nothing."""
    job = backup.submit_import(world.studio, str(written), here=True)
    assert job.state is JobState.DONE, job.error
    made = world.studio.library.sound()[-1]
    assert (made.id, made.name, job.artifacts.character) == ("mira-2", "Mira 2", "mira-2")
    there = world.studio.store(made.id)
    assert [each.id for each in there.images.all()] == [each.id for each in world.store.images.all()]
    assert len(there.decisions) == len(world.store.decisions) and len(there.triplets) == len(world.store.triplets)
    assert all(there.trouble(each.id) is None for each in there.images.all())
    (own,), (copy,) = world.store.versions.all(), there.versions.all()
    assert there.adapter_path(copy.id).read_bytes() == world.store.adapter_path(own.id).read_bytes()
    assert copy.job != own.job and world.studio.jobs.get(copy.job).character == "mira-2"
    assert runs.losses(world.studio, copy.job) == runs.losses(world.studio, own.job)
    assert leftovers(world) == []
    world.finish(runs.extend(world.studio, copy.job, 5))


def test_nothing_of_a_character_is_lost(world: World, tmp_path: Path) -> None:
    """Of each table the records, and of each picture, mask and adapter the bytes, are counted there and back."""
    (tmp_path / "in" / "control").mkdir(parents=True)
    for n, name in enumerate(("edit.png", "control/edit.png")):
        (tmp_path / "in" / name).write_bytes(photo(n + 1))
    (tmp_path / "in" / "edit.txt").write_text("add a hat")
    assert importing.submit_import(world.desk, [tmp_path / "in"]).artifacts.paired
    edits = world.review(approved=2, corrected=1)
    world.store.set_mask(edits[0], Image.linear_gradient("L").resize((64, 64)))
    world.store.set_crop(edits[1], (0, 0, 0.5, 1))
    world.store.trash([edits[2]])
    world.finish(train.submit(world.desk, world.train_params(steps=2, save_every=1), model="fake-flux"))
    job = backup.submit_export(world.desk, here=True)
    done = backup.submit_import(world.studio, str(backup.written_file(world.desk, job)), here=True)
    there = world.studio.store(done.artifacts.character or "")

    def counted(store: Store) -> dict[str, int]:
        tables = ("images", "decisions", "triplets", "datasets", "versions", "cards")
        return {name: len(getattr(store, name)) for name in tables}

    def files(store: Store) -> Counter[bytes]:
        names = ("images", "masks", "adapters")
        return Counter(path.read_bytes() for name in names for path in (store.folder / name).rglob("*.*"))

    assert counted(there) == counted(world.store) and counted(there)["triplets"] == 4
    assert files(there) == files(world.store)
    told, mine = ([each.replace(job="") for each in store.images.all()] for store in (there, world.store))
    assert told == mine  # a copy's jobs have ids of their own
    assert there.triplets.all() == world.store.triplets.all()


def test_a_character_comes_to_another_machine(world: World, written: Path, tmp_path: Path) -> None:
    """Id, name and jobs stay as they were; no path of the old machine is in it; a restart finds it."""
    assert str(tmp_path) not in ZipFile(written).read("manifest.json").decode()
    moved = tmp_path / "elsewhere.zip"
    moved.write_bytes(written.read_bytes())
    before = [each.job for each in world.store.versions.all()]
    world.studio.library.set_setting("x", True)
    world.studio.close()
    world.studio.settings.data_root.rename(tmp_path / "gone")
    world.id = ""
    settings = world.studio.settings
    from engines.fake import FakeDevice
    from studio.open import open_workplace

    world.studio = open_workplace(settings, registry=world._registry, device=FakeDevice(24 << 30))
    taken = {each.id for each in world.studio.library.characters()}
    job = backup.submit_import(world.studio, str(moved), here=True)
    assert job.state is JobState.DONE, job.error
    assert {each.id for each in world.studio.library.characters()} - taken == {"mira"}
    world.id = "mira"
    world.reopen()
    assert [each.job for each in world.store.versions.all()] == before
    assert world.studio.jobs.get(before[0]).state is JobState.DONE


def changed(file: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """A copy of a backup in which something was changed."""
    with ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    spoilt = file.with_name("spoilt.zip")
    with ZipFile(spoilt, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return spoilt


def one_picture(members: dict[str, bytes]) -> str:
    """The name of a picture in a backup."""
    return next(name for name in members if name.startswith("images/"))


def manifest(members: dict[str, bytes], change: Callable[[dict[str, object]], object]) -> None:
    """Changes the manifest of a backup."""
    told = json.loads(members["manifest.json"])
    change(told)
    members["manifest.json"] = json.dumps(told).encode()


def job(members: dict[str, bytes], **changes: str) -> None:
    """Changes the first job in the manifest of a backup."""
    manifest(members, lambda told: told["jobs"][0].update(changes))  # type: ignore[index]  # a list


DAMAGES: dict[str, Callable[[dict[str, bytes]], object]] = {
    "a picture is gone": lambda members: members.pop(one_picture(members)),
    "a picture is cut": lambda members: members.update({one_picture(members): b"x"}),
    "no manifest": lambda members: members.pop("manifest.json"),
    "manifest is no json": lambda members: members.update({"manifest.json": b"{"}),
    "manifest of another kind": lambda members: members.update({"manifest.json": b"[]"}),
    "newer": lambda members: manifest(members, lambda told: told.update(format=2)),
    "a path leads outside": lambda members: manifest(
        members,
        lambda told: told["files"].append({"path": "../../x", "nbytes": 1, "sha256": ""}),  # type: ignore[attr-defined]  # a list
    ),
    "a job waits": lambda members: job(members, state="queued"),
    "a job runs": lambda members: job(members, state="running"),
    "a job's id leads outside": lambda members: job(members, id="../../x"),
    "a job's kind leads outside": lambda members: job(members, kind="../../x"),
    "an id leads outside": lambda members: manifest(members, lambda told: told["character"].update(id="../x")),  # type: ignore[attr-defined]  # a dict
}


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_backup_is_refused_before_it_is_queued(world: World, written: Path, damage: str) -> None:
    """What the manifest alone shows is said at once, and nothing is left."""
    jobs = len(world.studio.jobs.list())
    with pytest.raises(BadInput):
        backup.submit_import(world.studio, str(changed(written, DAMAGES[damage])))
    assert len(world.studio.jobs.list()) == jobs and leftovers(world) == []


def test_any_wrong_byte_of_the_manifest_is_said(world: World, written: Path) -> None:
    """Whichever it is, the backup is refused in words, or imported as it was written."""
    with ZipFile(written) as archive:
        begins = archive.getinfo("manifest.json").header_offset + 43  # behind the member's header and name
    for at in range(begins, begins + 60, 3):
        spoilt = bytearray(written.read_bytes())
        spoilt[at] ^= 0x55
        copy = written.with_name("spoilt.zip")
        copy.write_bytes(spoilt)
        with pytest.raises(BadInput):
            backup.submit_import(world.studio, str(copy))


@pytest.mark.parametrize(("place", "value", "why"), [(8, 1, "encrypted"), (10, 9, "compression")])
def test_a_zip_of_another_program_is_refused_in_words(
    world: World, written: Path, place: int, value: int, why: str
) -> None:
    """An encrypted entry, or one compressed with Deflate64, is refused, be it the manifest or a picture."""

    def spoilt(entry: int) -> str:
        data = bytearray(written.read_bytes())
        data[entry + place] = value
        written.with_name("spoilt.zip").write_bytes(data)
        return str(written.with_name("spoilt.zip"))

    first, last = (find(b"PK\x01\x02") for find in (written.read_bytes().index, written.read_bytes().rindex))
    with pytest.raises(BadInput, match=why):
        backup.submit_import(world.studio, spoilt(last))
    job = backup.submit_import(world.studio, spoilt(first), here=True)
    assert (job.error.code, why in job.error.message) == ("bad_input", True)
    assert leftovers(world) == []


def test_a_file_with_other_bytes_is_found_by_its_hash(world: World, written: Path) -> None:
    """One wrong byte of one picture: the job fails with the picture's name, and no half character is left."""

    def flip(members: dict[str, bytes]) -> None:
        name = one_picture(members)
        members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])

    job = backup.submit_import(world.studio, str(changed(written, flip)), here=True)
    assert job.state is JobState.FAILED and "images/" in job.error.message
    assert [each.name for each in world.studio.library.characters()] == [world.store.character.name]
    assert leftovers(world) == []


def test_no_backup_is_made_of_what_changes(world: World) -> None:
    """While a job of the character waits, the backup says what to wait for."""
    train.submit(world.desk, world.train_params(steps=2), model="fake-flux")
    with pytest.raises(Busy):
        backup.submit_export(world.desk)


def test_a_file_that_is_no_backup_is_refused(world: World, tmp_path: Path) -> None:
    """A path without a file, and a file that is no zip."""
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(NotFound):
        backup.submit_import(world.studio, str(tmp_path / "none.zip"))
    with pytest.raises(BadInput, match="no zip file"):
        backup.submit_import(world.studio, str(tmp_path / "x.zip"))


def test_what_a_crash_left_of_an_import_is_swept(world: World) -> None:
    """A draft, and a folder that was moved but never recorded; a folder without the mark stays, taken by nobody."""
    home = world.store.folder.parent
    for name in (f"{DRAFT}1234", "vera", "zoe"):
        (home / name).mkdir()
    (home / "vera" / IMPORTING).touch()
    world.reopen()
    assert not (home / f"{DRAFT}1234").exists() and not (home / "vera").exists() and (home / "zoe").exists()
    assert world.studio.library.create("Zoe").id == "zoe-2"


def test_a_record_that_cannot_be_stored_leaves_the_draft(world: World, tmp_path: Path) -> None:
    """When the disk refuses the record, the folder goes back to where it was, and the character is not known."""
    library: Library = world.studio.library
    draft = library.root / "characters" / f"{DRAFT}9"
    draft.mkdir()
    bad = world.store.character.replace(name="a\x00b")
    with pytest.raises(BadInput):
        library.take_in(bad, draft)
    assert draft.is_dir() and [each.id for each in library.characters()] == [world.id]
