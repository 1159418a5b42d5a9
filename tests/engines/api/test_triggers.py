"""A caption says a trigger, or it does not: one answer, whoever asks."""

from __future__ import annotations

import unicodedata

import pytest

from engines.api.triggers import replaced, says


@pytest.mark.parametrize(
    ("trigger", "text", "said"),
    [
        ("ohwx", "ohwx woman, smiling", True),
        ("ohwx", "photo of (ohwx), smiling", True),
        ("ohwx", "ohwx's hat", True),
        ("ohwx", "a woman", False),
        ("ohwx", "Ohwx woman", False),
        ("ohwx", "ohwx_2 woman", False),
        ("ana", "a woman eating a banana, beach", False),
        ("art", "cartoon of a woman", False),
        ("anna smith", "anna smith woman, smiling", True),
        ("anna smith", "anna  smith\nwoman", True),
        ("anna smith", "anna, smith", False),
        ("anna smith", "joanna smith woman", False),
        ("x x", "yx x x", True),
        ("C++", "C++ woman", True),
        ("C++", "C++11 woman", False),
        ("sks-1", "sks-1, smiling", True),
        ("o.h", "oxh woman", False),
        ("Zoë", "Zoë, smiling", True),
        ("Zo", "Zoë, smiling", False),
        ("Zo", unicodedata.normalize("NFD", "Zoë, smiling"), False),
        ("क", "कि", False),
        ("小美", "一张小美的照片", True),
        ("小美", "微笑的女人", False),
        ("ohwx", "ohwxは座っている", True),
        ("ohwx", "一张ohwx的照片", True),
        ("ohwx", "ภาพohwxยิ้ม", True),
        ("ohwx", "ohwx는 웃는다", True),
        ("ohwx", "ohwx2는 웃는다", False),
        ("민수", "小민수, 웃는", True),
        ("민수", "민수정, 웃는", False),
        (" ohwx ", "ohwx woman", True),
        ("", "ohwx woman", False),
        (" ", "ohwx woman", False),
    ],
)
def test_a_trigger_is_said_as_whole_words(trigger: str, text: str, said: bool) -> None:
    """In its own case, in any script, of several words and with marks in it; nothing says an empty one."""
    assert says(text, trigger) is said


def test_forms_of_one_letter_are_the_same() -> None:
    """What a Mac types and what others type is one word."""
    forms = [unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD")]
    assert all(says(f"{text}, smiling", trigger) for text in forms for trigger in forms)


def test_every_place_is_replaced() -> None:
    """Whole words alone, and what follows may be taken with them."""
    text = "ana and a banana, ana person"
    assert replaced(text, "ana", lambda rest: ("she", rest.removeprefix(" person"))) == "she and a banana, she"
