"""Disk use in Settings: what each character takes, what goes with a second word, backups and restoring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engines.api.errors import BadInput, NotFound, UserError
from studio.housekeeping import backup
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind
from studio.records.job import JobState
from studio.workplace.desk import Workplace
from tabs import disk
from tests.tabs.test_damaged import damage, reopened
from tests.tabs.waiting import ended


def test_the_trash_is_emptied_after_a_second_word(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The row says how many pictures of what size would go; the button that deletes is behind one that asks."""
    desk, image = studio.desk(anna.id), add(Kind.SYNTHETIC)
    assert "Nothing in it can go" in disk.draw_disk(desk)
    desk.store.trash([image.id])
    shown = disk.draw_disk(desk)
    assert "1 picture of" in shown
    asked = shown.index('<details class="fl-sure" data-fold="empty-trash anna"')
    assert asked < shown.index("Delete for good …") < shown.index("Yes, delete 1 picture for good")
    file = desk.store.path(image.id)
    said = disk.disk_act(desk, {"act": "empty-trash", "character": anna.id})
    assert "are free now" in said.words
    assert not file.exists()


def test_a_character_in_the_trash_comes_back_or_goes_for_good(studio: Workplace, anna: Character) -> None:
    """Both are offered with its size; what is deleted is named, and gone from the list."""
    desk = studio.desk(anna.id)
    assert "Characters in the trash" not in disk.draw_disk(desk)
    for name in ("Bea", "Cleo"):
        studio.store(studio.library.create(name).id)
        studio.library.trash(name.lower())
    shown = disk.draw_disk(desk)
    assert "Yes, delete Bea for good" in shown and "no undo brings them back" in shown
    assert "Bea is back" in disk.disk_act(desk, {"act": disk.REVIVE, "character": "bea"}).words
    assert "Cleo is deleted for good" in disk.disk_act(desk, {"act": disk.DISCARD, "character": "cleo"}).words
    here = {each.name for each in studio.library.characters()}
    assert "Bea" in here and "Cleo" not in here
    assert "Characters in the trash" not in disk.draw_disk(desk)
    with pytest.raises(NotFound, match="not in the trash"):
        disk.disk_act(desk, {"act": disk.DISCARD, "character": "bea"})


def test_a_backup_is_made_and_restored_by_buttons(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Its file and size are shown with a download; the restored character has its pictures and can be opened."""
    desk, image = studio.desk(anna.id), add()
    studio.jobs.start()
    disk.disk_act(desk, {"act": disk.BACK_UP, "character": anna.id})
    job = ended(studio, studio.jobs.list(anna.id)[-1])
    file = backup.written_file(desk, job)
    moves = disk.draw_moves(desk)
    assert str(file) in moves and "download=" in moves
    for nothing, refusal in (("  ", BadInput), (f"{file}x", UserError)):
        with pytest.raises(refusal):
            disk.restore(desk, nothing)
    assert disk.chosen_file(desk, str(file)) == str(file)
    assert "in the queue" in disk.restore(desk, str(file)).words
    again = ended(studio, next(each for each in studio.jobs.list() if each.kind == backup.RESTORE))
    assert again.state is JobState.DONE
    made = again.artifacts.character or ""
    assert [each.name for each in studio.store(made).select()] == [image.name]
    assert f"?character={made}" in disk.draw_moves(desk)


def test_a_move_that_failed_says_why_and_can_be_tried_again(studio: Workplace, anna: Character) -> None:
    """A backup that was stopped leaves no file, and a button that begins it anew."""
    desk = studio.desk(anna.id)
    job = backup.submit_export(desk)
    assert 'data-act="cancel"' in disk.draw_moves(desk)
    disk.moves_act(desk, {"act": disk.CANCEL, "job": job.id})
    assert "Try again" in disk.draw_moves(desk)
    assert not backup.written_file(desk, job).exists()
    disk.moves_act(desk, {"act": disk.RESUME, "job": job.id})
    assert studio.jobs.get(job.id).state is JobState.QUEUED


def test_a_damaged_character_has_its_row_with_the_reason(tmp_path: Path) -> None:
    """The page of the others stays readable, and nothing of it can be freed."""
    studio, broken, sound = reopened(tmp_path, damage)
    try:
        shown = disk.draw_disk(studio.desk(sound))
        assert f'data-disk="{sound}"' in shown and f'data-disk="{broken}"' not in shown
        assert 'class="fl-trouble' in shown
    finally:
        studio.close()
