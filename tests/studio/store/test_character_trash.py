"""A character in the trash: moved with all its files, brought back whole, and never half of either."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from engines.api.errors import NotFound, UserError
from studio.records.character import Character
from studio.records.image import Kind
from studio.store import Library

ROOT = Path(__file__).parents[3]


def filled(library: Library, name: str = "Mira") -> tuple[str, str]:
    """Returns the id of a character and that of its one picture."""
    made = library.create(name).id
    return made, library.open(made).add_image(Image.new("RGB", (8, 8), (9, 0, 0)), kind=Kind.SOURCE).id


def names(library: Library) -> tuple[list[str], list[str]]:
    """Returns the ids of the characters that are here, and of those in the trash."""
    return [each.id for each in library.characters()], [each.id for each in library.trashed()]


def test_a_character_goes_with_its_files_and_comes_back_with_them(library: Library) -> None:
    """In the trash nothing of it can be opened or changed; restored it is what it was; both may be said twice."""
    who, image = filled(library)
    before = library.open(who).character

    assert library.trash(who).trashed == library.trash(who).trashed != ""
    assert names(library) == ([], [who])
    assert not library.folder(who).exists() and (library.root / "trash" / who / "images").is_dir()
    for refused in (lambda: library.open(who), lambda: library.update(who, name="Ada")):
        with pytest.raises(NotFound, match="in the trash"):
            refused()

    assert library.restore(who) == library.restore(who) == before
    assert names(library) == ([who], [])
    assert library.open(who).open_image(image).size == (8, 8)


def test_the_name_of_one_in_the_trash_is_not_given_again(library: Library) -> None:
    """A new character of the same name has a folder of its own, so that the old one can come back."""
    who, _ = filled(library)
    library.trash(who)
    assert library.create("Mira").id == "mira-2"
    library.restore(who)
    assert names(library) == (["mira", "mira-2"], [])


def test_the_trash_outlives_a_restart(tmp_path: Path) -> None:
    """Who was in it still is, and can be taken out."""
    with Library(tmp_path) as library:
        who, image = filled(library)
        library.trash(who)
    with Library(tmp_path) as library:
        assert names(library) == ([], [who])
        library.restore(who)
        assert library.open(who).images.get(image).id == image


def test_what_was_killed_between_record_and_folder_is_in_the_trash(tmp_path: Path) -> None:
    """A deletion writes the record first, a restoring moves the folder first: the next start completes either."""
    with Library(tmp_path) as library:
        who, image = filled(library)
        library.trash(who)
        (library.root / "trash" / who).rename(library.folder(who))
    with Library(tmp_path) as library:
        assert names(library) == ([], [who])
        assert not library.folder(who).exists()
        library.restore(who)
        assert library.open(who).open_image(image).size == (8, 8)


THROWING = """
import sys
from pathlib import Path
from studio.store import Library
with Library(Path(sys.argv[1])) as library:
    print("open", flush=True)
    while True:
        library.restore("mira")
        library.trash("mira")
"""


@pytest.mark.slow
def test_a_killed_process_leaves_it_here_or_in_the_trash(tmp_path: Path) -> None:
    """Over kills at random moments it is always in exactly one of the two places, whole."""
    rng = random.Random(1)
    with Library(tmp_path) as library:
        who, image = filled(library)
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", THROWING, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as one:
            assert one.stdout is not None and one.stdout.readline() == b"open\n"
            for _ in range(rng.randrange(400_000)):  # up to some moves' time, without a clock
                pass
            one.kill()
        with Library(tmp_path) as library:
            here, thrown = names(library)
            assert sorted([*here, *thrown]) == [who]
            assert library.restore(who).trashed == ""
            assert library.open(who).open_image(image).size == (8, 8)


def test_a_disk_that_refuses_leaves_the_character(library: Library) -> None:
    """It is refused in words, and the character is there as before."""
    who, image = filled(library)
    (library.root / "trash").write_bytes(b"")
    with pytest.raises(UserError, match="trash"):
        library.trash(who)
    assert names(library) == ([who], [])
    assert library.open(who).images.get(image).id == image


def test_what_was_emptied_cannot_come_back(library: Library) -> None:
    """Its files are gone: it is not offered, and asking for it says so."""
    who, _ = filled(library)
    library.trash(who)
    (library.root / "trash" / who).rename(library.root / "elsewhere")
    assert library.trashed() == []
    with pytest.raises(NotFound, match="no longer"):
        library.restore(who)


def test_what_is_deleted_for_good_is_gone_and_its_id_is_not_given_again(library: Library) -> None:
    """Only what is in the trash can be deleted; afterwards neither a file nor a way back is left."""
    who, _ = filled(library)
    with pytest.raises(NotFound, match="not in the trash"):
        library.discard(who)
    library.trash(who)
    library.discard(who)
    assert names(library) == ([], []) and list((library.root / "trash").iterdir()) == []
    for refused in (library.restore, library.discard):
        with pytest.raises(NotFound):
            refused(who)
    assert library.create("Mira").id == "mira-2"


DISCARDING = """
import sys
from pathlib import Path
from studio.store import Library
with Library(Path(sys.argv[1])) as library:
    print("open", flush=True)
    library.discard("mira")
"""


@pytest.mark.slow
def test_a_kill_while_it_is_deleted_leaves_it_whole_or_gone(tmp_path: Path) -> None:
    """Over kills at random moments it is in the trash with every file, or nothing of it is left."""
    rng = random.Random(2)
    for turn in range(8):
        home = tmp_path / str(turn)
        with Library(home) as library:
            who, _ = filled(library)
            for n in range(400):
                (library.folder(who) / f"{n}.bin").write_bytes(b"x")
            library.trash(who)
        with subprocess.Popen([sys.executable, "-c", DISCARDING, str(home)], cwd=ROOT, stdout=subprocess.PIPE) as one:
            assert one.stdout is not None and one.stdout.readline() == b"open\n"
            for _ in range(rng.randrange(200_000)):  # up to the deletion's time, without a clock
                pass
            one.kill()
        with Library(home) as library:
            here, thrown = names(library)
            assert here == []
            kept = list((home / "trash").glob("*/*.bin"))
            assert len(kept) == (400 if thrown else 0)
            assert [each.name for each in (home / "trash").iterdir()] == thrown


def test_files_on_a_disk_that_is_not_mounted_are_not_thrown_away(library: Library) -> None:
    """A character whose folder is missing stays in the list; one that was never opened goes with an empty folder."""
    who, _ = filled(library)
    library.open(who).close()
    library.folder(who).rename(library.root / "unmounted")
    with pytest.raises(NotFound, match="Mount"):
        library.trash(who)
    fresh = library.create("Ada").id
    library.trash(fresh)
    assert names(library) == ([who], [fresh])


def test_an_older_home_has_nobody_in_the_trash() -> None:
    """The field is written only where it says something, so older studios read the records of today."""
    known = Character(id="mira", name="Mira")
    assert "trashed" not in known.to_json()
    assert Character.from_json(known.to_json()) == known
