"""Whether words say a character's trigger: the one rule of checks, captions, exports and trainings.

A trigger is said where it stands as whole words, in its own case, for most encoders read case. Letters, digits, the
marks that belong to letters and the underscore make words; in scripts that put no spaces between words any neighbour
will do. Standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_JOINERS = "\u200c\u200d"
# Unicode names of letters begin with their script; these are written without spaces between words.
_UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "BOPOMOFO ", "THAI ", "LAO ", "KHMER ", "MYANMAR ", "TIBETAN ")


def says(text: str, trigger: str) -> bool:
    """Whether a text holds the trigger; nothing holds an empty one."""
    return bool(spans(composed(text), trigger))


def spans(text: str, trigger: str) -> list[tuple[int, int]]:
    """Where a composed text holds the trigger: (start, end) of each place, in order."""
    words = composed(trigger).split()
    if not words:
        return []
    said = r"\s+".join(map(re.escape, words))
    found = re.finditer(rf"(?=({said}))", text)  # looked ahead at, for one place may begin inside another
    return [each.span(1) for each in found if _whole(text, *each.span(1))]


def replaced(text: str, trigger: str, told: Callable[[str], tuple[str, str]]) -> str:
    """The composed text with each trigger replaced; `told` answers from what follows one its words and what is left."""
    head, rest = "", composed(text)
    while found := spans(rest, trigger):
        start, end = found[0]
        words, left = told(rest[end:])
        head, rest = head + rest[:start] + words, left
    return head + rest


def composed(text: str) -> str:
    """Letters and their marks in one form, however they were typed: NFC."""
    return unicodedata.normalize("NFC", text)


def _whole(text: str, start: int, end: int) -> bool:
    """Whether no word goes on at either end of a place."""
    return not (_goes_on(text[start - 1 : start], text[start]) or _goes_on(text[end : end + 1], text[end - 1]))


def _goes_on(neighbour: str, edge: str) -> bool:
    if not neighbour or unicodedata.name(edge, "").startswith(_UNSPACED):
        return False
    return neighbour.isalnum() or neighbour in f"_{_JOINERS}" or unicodedata.category(neighbour).startswith("M")
