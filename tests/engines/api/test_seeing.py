"""Tests answers: their probabilities, their temperature, and when they are unknown."""

from __future__ import annotations

import math

import pytest

from engines.api.seeing import SURE, Answer, Question


def _answer(**shares: float) -> Answer:
    return Answer({value: math.log(share) for value, share in shares.items()})


def test_an_answer_below_the_margin_is_unknown() -> None:
    """The most probable value counts from 60 % on; below it there is no value."""
    assert _answer(smiling=SURE + 0.01, sad=0.39).value() == "smiling"
    assert _answer(smiling=SURE - 0.01, sad=0.41).value() is None
    assert _answer(smiling=0.5, sad=0.5).value(sure=0.5) == "smiling"


def test_a_temperature_makes_values_more_alike_or_less() -> None:
    """Temperature 1 leaves the probabilities, a higher one brings them together, and the order stays."""
    answer = _answer(smiling=0.8, sad=0.2)
    assert answer.probabilities() == pytest.approx({"smiling": 0.8, "sad": 0.2})
    assert answer.probabilities(2.0)["smiling"] == pytest.approx(2 / 3)
    assert answer.value(4.0) is None
    assert sum(answer.probabilities(0.3).values()) == pytest.approx(1)


def test_what_was_asked_for_is_always_an_option() -> None:
    """A value that a question lacks is added in its own words; a question that has it stays as it is."""
    question = Question(axis="outfit", words="What?", options={"suit": "a suit", "": "something else"}, of_face=True)
    assert question.with_value("suit") is question
    wider = question.with_value("raincoat")
    assert wider.options == {"raincoat": "raincoat", "suit": "a suit", "": "something else"}
    assert (wider.axis, wider.words, wider.of_face) == ("outfit", "What?", True)
