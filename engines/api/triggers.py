"""Finds a character's trigger word in text, by the one rule that checks, captions, exports and trainings share.

A text holds a trigger where the trigger stands as whole words, in its own case, because most encoders distinguish case.
Letters, digits, the marks that belong to letters and the underscore make words. A trigger in a script that puts no
spaces between words may stand beside any character, and any trigger beside a character of such a script. Imports the
standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_JOINERS = "\u200c\u200d"
# Unicode names of letters begin with their script; these are written without spaces between words.
_HANGUL = "HANGUL "  # Korean puts spaces between words, but not before the particles that follow a word
_UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "BOPOMOFO ", "THAI ", "LAO ", "KHMER ", "MYANMAR ", "TIBETAN ")


def says(text: str, trigger: str) -> bool:
    """Returns whether a text holds the trigger as whole words; no text holds an empty trigger."""
    return bool(spans(composed(text), trigger))


def spans(text: str, trigger: str) -> list[tuple[int, int]]:
    """Returns the (start, end) character positions of each occurrence of the trigger in a text, in order.

    The text must be in Unicode's NFC form, as `composed` returns it.
    """
    words = composed(trigger).split()
    if not words:
        return []
    said = r"\s+".join(map(re.escape, words))
    found = re.finditer(rf"(?=({said}))", text)  # a lookahead, because one place may begin inside another
    places = (each.span(1) for each in found)
    return [
        (start, end)
        for start, end in places
        if not _goes_on(text[start - 1 : start], text[start]) and not _goes_on(text[end : end + 1], text[end - 1])
    ]


def replaced(text: str, trigger: str, told: Callable[[str], tuple[str, str]]) -> str:
    """Returns the text, in Unicode's NFC form, with each occurrence of the trigger replaced.

    `told`: a function that is called for each occurrence with the text after it. It returns two texts: the replacement
    of the occurrence, and the text that follows it, changed or not. The next occurrence is searched in the latter.
    """
    head, rest = "", composed(text)
    while found := spans(rest, trigger):
        start, end = found[0]
        words, left = told(rest[end:])
        head, rest = head + rest[:start] + words, left
    return head + rest


def composed(text: str) -> str:
    """Returns the text in Unicode's NFC form, in which letters and their marks have one spelling."""
    return unicodedata.normalize("NFC", text)


def _goes_on(neighbour: str, edge: str) -> bool:
    """Returns whether a word that has `edge` at its end continues with the neighbouring character."""
    if not neighbour:
        return False
    own, beside = (unicodedata.name(each, "") for each in (edge, neighbour))
    if own.startswith(_UNSPACED) or beside.startswith(_UNSPACED):
        return False
    if beside.startswith(_HANGUL) and not own.startswith(_HANGUL):
        return False
    return neighbour.isalnum() or neighbour in f"_{_JOINERS}" or unicodedata.category(neighbour).startswith("M")
