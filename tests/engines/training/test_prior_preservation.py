"""Tests the words of a character's class."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("ohwx person, smiling", "person, smiling"),
        ("photo of ohwx, smiling", "photo of person, smiling"),
        ("ohwx personal photo", "person personal photo"),
        ("ohwxy person", ""),
        ("a person", ""),
    ],
)
def test_the_class_word_takes_the_triggers_place(caption: str, words: str) -> None:
    """It occurs once, also where the caption has it beside the trigger; without the trigger there are no such words."""
    from engines.training.prior_preservation import class_words

    assert class_words(caption, "ohwx", "person") == words
    assert class_words(caption, "", "person") == ""
