"""A character whose store cannot be opened keeps no other shut."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.api.errors import BadInput, NotFound
from studio.api.api import Api
from studio.records.image import Kind
from studio.workplace.desk import Workplace
from tabs import app, status
from tabs.common import shell
from tests.tabs.colour_blocks import picture, png
from tests.tabs.conftest import character_on_fakes, studio_on_fakes


def damage(folder: Path) -> None:
    """A bit in the first line of the journal is flipped."""
    journal = folder / "flenwheel.journal"
    data = bytearray(journal.read_bytes())
    data[30] ^= 1
    journal.write_bytes(bytes(data))


def lose(folder: Path) -> None:
    """The folder is not there: its disk is not mounted."""
    shutil.rmtree(folder)


def empty(folder: Path) -> None:
    """The folder is an empty mount point."""
    shutil.rmtree(folder)
    folder.mkdir()


def reopened(tmp_path: Path, harm: Callable[[Path], object]) -> tuple[Workplace, str, str]:
    """A studio of Anna, whose store was harmed, and Ben, who is well."""
    with studio_on_fakes(tmp_path) as studio:
        anna, ben = (character_on_fakes(studio, name).id for name in ("Anna", "Ben"))
        for number, who in enumerate((anna, ben, anna, ben)):
            studio.store(who).add_image(png(picture(number)), kind=Kind.SOURCE, name=f"{number}.png")
        folder = studio.store(anna).folder
        studio.library.set_setting("character", anna)
    harm(folder)
    return studio_on_fakes(tmp_path), anna, ben


@pytest.mark.parametrize(("harm", "kind"), [(damage, BadInput), (lose, NotFound), (empty, NotFound)])
def test_the_others_go_on(tmp_path: Path, harm: Callable[[Path], object], kind: type[Exception]) -> None:
    """The studio starts, stands on the one that is well, shows the other as damaged with why, and writes nothing."""
    studio, anna, ben = reopened(tmp_path, harm)
    with studio:
        folder = studio.library.folder(anna)
        before = sorted(folder.rglob("*"))

        assert all(anna not in path.parts for path in app.open_folders(studio))
        assert ("Anna (damaged)", anna) in app.known_characters(studio)
        assert ("Ben", ben) in app.known_characters(studio)
        assert shell.current(studio, "") not in ("", anna)
        assert shell.current(studio, anna) == anna
        assert shell.fingerprint(studio.desk(anna))
        assert "fl-trouble" in status.rail(studio.desk(anna))
        studio.warm_up()
        listed = {each["id"]: each["trouble"] for each in Api(studio).character_list()["characters"]}
        assert listed[ben] == ""
        assert str(folder) in listed[anna]
        with pytest.raises(kind):
            studio.store(anna)
        assert len(studio.store(ben).select(Kind.SOURCE)) == 2
        assert sorted(folder.rglob("*")) == before


def test_a_disk_that_is_mounted_again_brings_its_character_back(tmp_path: Path) -> None:
    """Without a restart, and with all that it had."""
    away = tmp_path / "away"
    studio, anna, _ = reopened(tmp_path, lambda folder: shutil.move(folder, away))
    with studio:
        assert studio.library.trouble(anna)
        shutil.move(away, studio.library.folder(anna))

        assert studio.library.trouble(anna) is None
        assert len(studio.store(anna).select(Kind.SOURCE)) == 2


def test_a_home_of_an_older_studio_opens_as_before(tmp_path: Path) -> None:
    """A character that was made and never opened, or before anybody noted it, has a store when it is asked for."""
    with studio_on_fakes(tmp_path) as studio:
        assert studio.store(character_on_fakes(studio, "Cleo").id).select() == []
