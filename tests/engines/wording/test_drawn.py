"""The embedded models are asked in the words that they were trained with."""

from __future__ import annotations

from engines.mini import world
from engines.wording.cells import CARD_CELLS
from engines.wording.drawn import DRAWN


def test_edits_are_worded_as_trained() -> None:
    """An instruction is one that the embedded editor was trained with, word for word."""
    for edit in DRAWN.edit_tasks():
        assert edit.words == world.edit_instruction(edit.task, edit.value)


def test_pairs_are_worded_as_trained() -> None:
    """Two edits in one instruction are joined as the drawn world joins them."""
    by_value = {edit.value: edit for edit in DRAWN.edit_tasks()}
    person = world.held_out_person(1)
    before = world.Scene(person=person, angle="front", expression="neutral")
    after = world.Scene(person=person, angle="half-left", expression="smiling")
    both = DRAWN.combined(by_value["half-left"], by_value["smiling"])
    assert both.words == world.instruction(before, after)
    assert dict(both.expects) == {"angle": "half-left", "expression": "smiling"}


def test_a_card_prompt_is_a_caption_of_the_drawn_world() -> None:
    """The embedded generator is asked in the captions that it was trained with."""
    scene = world.Scene(person=world.held_out_person(1), angle="half-left", expression="sad")
    cell = next(cell for cell in CARD_CELLS if cell.name == "half-left sad")
    assert DRAWN.card_prompt(cell, "ohwx") == world.caption(scene, "ohwx")
