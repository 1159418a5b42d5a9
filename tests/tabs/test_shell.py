"""How handlers of the page answer: what they say, what they leave alone, what they log."""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr
import pytest

from engines.api.errors import BadInput
from studio.flywheel.curate import changes
from studio.records.character import Character
from studio.workplace.desk import Desk, Workplace
from tabs.common.shell import Said, Shell


def answer(studio: Workplace, anna: Character, fn: Any) -> dict[str, Any]:
    """What one handler with one output gives: the output's value, and what is said."""
    with gr.Blocks():
        field, said, cid = gr.Textbox(), gr.HTML(), gr.Textbox()
        call = Shell(studio, cid, said, lambda event: None)._composed(fn, [], [field], [])
    own, words = call(anna.id, (), [])
    return {"field": own, "said": words}


def test_a_refusal_is_answered_and_touches_nothing(studio: Workplace, anna: Character) -> None:
    """Cause and remedy are said; what was typed stays."""

    def refuse(desk: Desk) -> str:
        raise BadInput("The prompt is empty.", "Say what it should show.")

    found = answer(studio, anna, refuse)
    assert (found["said"]["words"], found["said"]["hint"]) == ("The prompt is empty.", "Say what it should show.")
    assert found["said"]["tone"] == "bad"
    assert found["field"] == gr.skip()


def test_a_success_can_be_said(studio: Workplace, anna: Character) -> None:
    """Beside the values that go into the outputs; the same words twice are two notices."""

    def done(desk: Desk) -> Said:
        return Said("Queued.", "new")

    one, two = answer(studio, anna, done), answer(studio, anna, done)
    assert one["field"] == "new"
    assert (one["said"]["tone"], one["said"]["words"]) == ("good", "Queued.")
    assert one["said"] != two["said"]


def test_what_was_meant_for_one_character_is_done_to_no_other(studio: Workplace, anna: Character) -> None:
    """A page whose character was deleted in another window is told so; what it draws next is another character."""
    models = {role: getattr(anna, role) for role in ("generator", "editor", "scorer")}
    studio.library.create("Dora", trigger="ohwx", **models)
    changes.delete(studio, anna.id)
    met: list[str] = []
    found = answer(studio, anna, lambda desk: met.append(desk.id))
    assert met == []
    assert "anna is not here any more" in found["said"]["words"]


def test_a_bug_goes_to_the_log(studio: Workplace, anna: Character, caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback, and is raised on: the browser shows that one happened."""

    def broken(desk: Desk) -> str:
        raise KeyError("seed")

    with caplog.at_level(logging.ERROR, "tabs"), pytest.raises(KeyError):
        answer(studio, anna, broken)
    assert "KeyError: 'seed'" in caplog.text


def test_a_drawing_that_is_refused_leaves_nothing_old(studio: Workplace, anna: Character) -> None:
    """The refusal stands in the drawing's first block, and what the others showed before is gone."""

    def refuse(desk: Desk) -> tuple[str, str]:
        raise BadInput("There is no model card yet.", "Run it in Generate.")

    with gr.Blocks():
        cost, rows, said, cid = gr.HTML(), gr.HTML(), gr.HTML(), gr.Textbox()
        call = Shell(studio, cid, said, lambda event: None)._composed(
            lambda desk: None, [], [], [(refuse, [], [cost, rows])]
        )
    shown = dict(zip(map(id, call.outputs), call(anna.id, (), []), strict=True))
    assert "There is no model card yet." in shown[id(cost)]
    assert shown[id(rows)] == ""
