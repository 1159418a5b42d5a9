"""The library: characters, the queue's records, settings and peaks, held by one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.api.errors import BadInput, Busy, NotFound, UserError
from studio.records.job import Job, JobState
from studio.store import Library


def test_characters_have_names_and_folders(library: Library) -> None:
    """A character's id is its name made fit for a folder, and never taken twice."""
    names = ["Mira Ünal", "mira unal", "木村", "!!!", "../../etc"]
    ids = [library.create(name).id for name in names]
    assert ids == ["mira-unal", "mira-unal-2", "character", "character-2", "etc"]
    assert [character.name for character in library.characters()] == names
    assert library.open("etc").folder == library.root / "characters" / "etc"


def test_character_fields(library: Library) -> None:
    """What is given at creation is kept, and can be changed, but never to nonsense."""
    character = library.create("Mira", trigger="m1ra", subject="woman", notes="red hair")
    assert (character.trigger, character.subject, character.notes) == ("m1ra", "woman", "red hair")
    store = library.open(character.id)
    assert library.update(character.id, editor="Qwen-Image-Edit-2511").editor == "Qwen-Image-Edit-2511"
    assert store.character.editor == "Qwen-Image-Edit-2511"
    with pytest.raises(BadInput):
        library.update(character.id, id="other")
    with pytest.raises(BadInput, match="needs a name"):
        library.create("  ")


@pytest.mark.parametrize("name", ["con", "CON", "Aux!", "nul", "PRN", "com1", "LPT9"])
def test_no_folder_is_called_like_a_device(library: Library, name: str) -> None:
    """Windows can make no folder of these names, so no character's folder has one."""
    made = [library.create(name).id for _ in range(2)]
    assert made == [f"{name.strip('!').lower()}-{n}" for n in (2, 3)]


def test_one_store_per_character(library: Library) -> None:
    """Opening twice answers the same object; an unknown character has none, and gets no folder."""
    character = library.create("Mira")
    assert library.open(character.id) is library.open(character.id)
    for wrong in ("nobody", "../mira", ""):
        with pytest.raises(NotFound):
            library.open(wrong)
    assert [path.name for path in (library.root / "characters").iterdir()] == ["mira"]


def test_second_process_is_refused(library: Library) -> None:
    """A library that is open cannot be opened again until it is closed."""
    with pytest.raises(Busy):
        Library(library.root)
    library.close()
    Library(library.root).close()


def test_records_settings_and_peaks_survive(tmp_path: Path) -> None:
    """The queue, what was set and what was measured are there after a reopening."""
    with Library(tmp_path) as library:
        jobs = library.records(Job)
        job = jobs.put(Job(id="j", kind="train", character="mira", payload={"params": {"rank": 4}}))
        assert library.records(Job) is jobs
        library.set_peak("train/mini-flux/64", 123)
        library.set_peak("train/mini-flux/64", 456)
        library.set_setting("theme", ["dark"])
    with Library(tmp_path) as library:
        assert library.records(Job).all() == [job]
        assert library.records(Job).get("j").state is JobState.QUEUED
        assert library.peaks() == {"train/mini-flux/64": 456}
        assert library.setting("theme", list) == ["dark"]


def test_failed_opening_lets_go_of_the_lock(tmp_path: Path) -> None:
    """A library whose database is damaged can be opened as soon as that is mended."""
    Library(tmp_path).close()
    good = (tmp_path / "flenwheel.json").read_bytes()
    (tmp_path / "flenwheel.json").write_bytes(b"{")
    with pytest.raises(BadInput, match="damaged"):
        Library(tmp_path)
    (tmp_path / "flenwheel.json").write_bytes(good)
    Library(tmp_path).close()


def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """As one that belongs to another user: in words, and nobody holds the folder afterwards."""
    (tmp_path / "flenwheel.journal").mkdir()
    with pytest.raises(UserError, match=r"flenwheel\.journal could not be"):
        Library(tmp_path)
    (tmp_path / "flenwheel.journal").rmdir()
    Library(tmp_path).close()
