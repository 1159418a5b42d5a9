"""Two versions compared cell by cell, and the drift over all of them."""

from __future__ import annotations

import re

import pytest

from studio.records.character import Character
from studio.workplace.desk import Desk, Workplace
from tabs.common import comparing
from tests.tabs.telling import GAINED, LOST, Story, tell


@pytest.fixture
def story(studio: Workplace, anna: Character) -> Story:
    """Two versions whose cards differ in two cells."""
    return tell(studio, anna)


@pytest.fixture
def desk(studio: Workplace, anna: Character, story: Story) -> Desk:
    """Anna's, after that."""
    return studio.desk(anna.id)


def framed(shown: str, turn: str) -> list[str]:
    """The cells that are framed as gained or lost."""
    return re.findall(rf'<figure class="fl-twin {turn}">.*?<figcaption>(.*?) <span', shown)


def test_without_two_cards_there_is_nothing_to_compare(studio: Workplace, anna: Character) -> None:
    """The choices are hidden."""
    assert comparing.fill(studio.desk(anna.id), None, None)[0]["visible"] is False
    assert comparing.draw_compared(studio.desk(anna.id), None, None, comparing.FIRST) == ""
    assert comparing.draw_drift(studio.desk(anna.id)) == ""


def test_at_first_the_version_in_use_and_the_one_before_it_are_compared(desk: Desk, story: Story) -> None:
    """Any two with a card can be chosen, the base model as well; what the user chose stays."""
    row, before, after = comparing.fill(desk, None, None)
    assert row["visible"] is True
    assert [name for name, _ in before["choices"]] == ["v2", "v1", "base model"]
    assert (before["value"], after["value"]) == (comparing.BASE, story.one.id)
    _, before, after = comparing.fill(desk, story.one.id, story.two.id)
    assert (before["value"], after["value"]) == (story.one.id, story.two.id)


def test_gained_and_lost_cells_are_framed_face_beside_face(desk: Desk, story: Story) -> None:
    """Both pictures of each cell open the viewer; “What changed” shows those two alone, the gained one first."""
    shown = str(comparing.draw_compared(desk, story.one.id, story.two.id, comparing.FIRST))
    assert (framed(shown, "gained"), framed(shown, "lost")) == ([GAINED], [LOST])
    assert shown.count("data-view=") == 2 * 23
    assert "1 gained" in shown and "1 lost" in shown and "21 right in both" in shown
    assert f'data-view-beside="twin {story.two.id}"' in shown

    changed = str(comparing.draw_compared(desk, story.one.id, story.two.id, comparing.CHANGED))
    assert changed.count("<figure") == 2
    assert changed.index('gained"') < changed.index('lost"')


def test_a_difference_is_told_in_words_with_what_luck_would_do(desk: Desk, story: Story) -> None:
    """No bare p: who is right where, and whether that says anything."""
    even = comparing.draw_compared(desk, story.one.id, story.two.id, comparing.FIRST)
    assert "neither is shown to be better" in even
    sure = comparing.draw_compared(desk, comparing.BASE, story.two.id, comparing.FIRST)
    assert "v2 is right 22 times and the other 0 times" in sure and "v2 is better" in sure
    assert "p &lt; 0.001" in sure and "p = 0.000" not in sure


def test_one_version_is_not_compared_with_itself(desk: Desk, story: Story) -> None:
    """It is said what to choose."""
    assert "two different versions" in comparing.draw_compared(desk, story.one.id, story.one.id, comparing.FIRST)


def test_the_drift_is_drawn_and_told(desk: Desk, story: Story) -> None:
    """A chart each for the first try, likeness and near copies, which a reader who cannot see hears as well."""
    shown = comparing.draw_drift(desk)
    assert 'aria-label="right on the first try: base model 0%, v1 96%, v2 96%"' in shown
    assert "likeness to the originals" in shown and "near copies of an original" in shown
    assert "v2 and v1 are about as good on the card" in shown
