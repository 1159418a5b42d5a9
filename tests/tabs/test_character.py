"""The page “Versions”: its rows, what a click opens, what can be done with a version, and the way back."""

from __future__ import annotations

import pytest

from engines.api.errors import BadInput, Busy
from studio.flywheel import history
from studio.records.character import Character
from studio.records.version import VersionState
from studio.workplace.desk import Desk, Workplace
from tabs import character
from tabs.common import run
from tabs.common.shell import Said
from tests.tabs.telling import Story, tell


@pytest.fixture
def story(studio: Workplace, anna: Character) -> Story:
    """Two versions with cards, a stopped training, and a version of the editor."""
    return tell(studio, anna)


@pytest.fixture
def desk(studio: Workplace, anna: Character, story: Story) -> Desk:
    """Anna's, after all that."""
    return studio.desk(anna.id)


def row(desk: Desk, name: str) -> str:
    """The markup of one version's row."""
    shown = str(character.draw_story(desk))
    return shown.partition(f'aria-label="{name}"')[2].partition("</article>")[0]


def test_before_any_training_the_base_model_stands_alone(studio: Workplace, anna: Character) -> None:
    """It is in use, its card can be run, and the first training is one click away."""
    shown = character.draw_story(studio.desk(anna.id))
    assert shown.count("<article") == 1
    assert "base model" in shown and "in use" in shown
    assert 'data-tab="Train"' in shown and 'data-act="card"' in shown
    assert character.draw_runs(studio.desk(anna.id), "") == character.draw_editors(studio.desk(anna.id)) == ""


def test_a_version_has_its_faces_figures_sources_settings_and_parent(desk: Desk, story: Story) -> None:
    """One row each, newest first; every face and every picture that it learned from opens the viewer."""
    shown = str(character.draw_story(desk))
    at = [shown.index(f'aria-label="{name}"') for name in ("v2", "v1", "base model")]
    assert at == sorted(at)

    found = row(desk, "v2")
    faces = found.partition('class="fl-faces"')[2].partition("</div>")[0]
    assert [faces.count(f'data-view="{face.image}"') for face in history.story(desk)[0].faces] == [1] * 5
    assert "96%" in found and "22 of 23 cells" in found and "95 % interval" in found
    assert "over 23 pictures" in found
    assert "<b>4</b> yours" in found
    assert found.partition('class="fl-learned"')[2].count("data-view=") == 4
    assert (
        "6 steps" in found and "rank 4" in found and "learning rate" in found.partition("settings of its training")[2]
    )
    assert "while v1 was in use" in found or "trained on from v1" in found


def test_any_run_can_be_opened_also_a_stopped_one(desk: Desk, story: Story) -> None:
    """All are listed with how they ended; the open one is marked, and shows its curve and its checkpoints."""
    listed = character.draw_runs(desk, "")
    assert listed.count('data-act="run"') == 3
    assert "done: v1" in listed and "done: v2" in listed and "stopped" in listed

    opened, _ = character.act(desk, {"act": "run", "job": story.stopped.id}, "")
    shown = character.draw_opened(desk, opened)
    assert "fl-plot" in shown and "Resume from step" in shown and "Make version" in shown
    assert character.draw_runs(desk, opened).count('data-act="run"') == 2
    assert character.draw_opened(desk, "run:nobody") == ""
    assert character.act(desk, {"act": "close"}, opened)[0] == ""


def test_a_stopped_training_that_was_kept_says_as_what(desk: Desk, story: Story) -> None:
    """Not only that it was cancelled."""
    done = character.act(desk, {"act": "keep", "job": story.stopped.id}, "")
    assert isinstance(done, Said)
    assert "stopped, kept as v3" in character.draw_runs(desk, "")
    assert "stopped, kept as v3" in character.draw_opened(desk, f"run:{story.stopped.id}")


def test_what_a_version_learned_from_is_shown_whole(desk: Desk, story: Story) -> None:
    """By where it came from; each picture opens the viewer."""
    opened, _ = character.act(desk, {"act": "learned", "version": story.one.id}, "")
    shown = character.draw_opened(desk, opened)
    assert "What v1 learned from" in shown and "4 yours" in shown
    assert shown.count("data-view=") == 4


def test_a_version_is_adopted_and_left_again(desk: Desk, story: Story) -> None:
    """The row says which is in use; going back names the version that takes its place."""
    assert "Adopt" in row(desk, "v2") and "new, not in use" in row(desk, "v2")
    character.story_act(desk, {"act": "adopt", "version": story.two.id}, "")
    assert "Go back to v1" in row(desk, "v2") and "Use v1 again" in row(desk, "v1")
    done = character.act(desk, {"act": "roll_back", "version": story.two.id}, "")
    assert isinstance(done, Said) and "In use now: v1" in done.words
    assert "Go back to the base model" in row(desk, "v1")


def test_a_version_goes_into_the_trash_and_comes_back(desk: Desk, story: Story) -> None:
    """With an undo where it was thrown away, and one in the list; the version in use stays."""
    assert 'data-act="throw"' not in row(desk, "v1")
    with pytest.raises(Busy):
        character.act(desk, {"act": "throw", "version": story.one.id}, "")
    _, written = character.act(desk, {"act": "throw", "version": story.two.id}, "")
    assert "v2 is in the trash" in written and 'data-act="restore"' in written
    assert row(desk, "v2") == "" and "In the trash" in character.draw_story(desk)

    done = character.act(desk, {"act": "restore", "version": story.two.id}, "")
    assert isinstance(done, Said)
    assert row(desk, "v2")


def test_notes_are_kept_with_a_version(desk: Desk, story: Story) -> None:
    """And said where they were typed."""
    character.act(desk, {"act": "note", "version": story.two.id, "text": " too soft "}, "")
    assert ">\ntoo soft</textarea>" in row(desk, "v2")


def test_a_lora_is_saved_from_its_row(desk: Desk, story: Story) -> None:
    """Under the version's name; the note on it can be put away."""
    _, written = character.act(desk, {"act": "export", "version": story.two.id, "form": "diffusers"}, "")
    assert "ohwx-character-v2-diffusers.safetensors" in written and 'data-act="quiet"' in written
    assert character.act(desk, {"act": "quiet"}, "")[1] == ""


def test_the_editors_versions_show_their_edits_before_and_after(desk: Desk, story: Story) -> None:
    """The improved one first, then the worse one; source, before and after each open the viewer."""
    shown = str(character.draw_editors(desk))
    assert "3 edits before and after" in shown
    assert shown.index("improved</span>") < shown.index("worse</span>")
    assert [shown.index(f"smile {at}") for at in (1, 2, 0)] == sorted(shown.index(f"smile {at}") for at in range(3))
    assert shown.count("data-view=") == 9
    assert 'data-act="adopt"' in shown


def test_two_versions_are_chosen_in_a_row_and_the_older_comes_first(desk: Desk, story: Story) -> None:
    """A click fills both choices of the comparison."""
    opened, _, before, after = character.story_act(
        desk, {"act": "compare", "before": story.one.id, "after": story.two.id}, "learned:x"
    )
    assert (opened, before, after) == ("learned:x", story.one.id, story.two.id)
    assert f'data-before="{story.one.id}" data-after="{story.two.id}"' in row(desk, "v2")


def test_the_page_refuses_what_it_has_no_button_for(desk: Desk, story: Story) -> None:
    """A forged click changes nothing."""
    with pytest.raises(BadInput):
        character.act(desk, {"act": "burn", "version": story.one.id}, "")
    assert desk.store.versions.get(story.one.id).state is VersionState.ADOPTED


def test_each_state_of_a_version_has_one_word_everywhere() -> None:
    """The chip says the same in Train, Editor Refinement and Versions."""
    assert set(run.STATES) == set(VersionState)
