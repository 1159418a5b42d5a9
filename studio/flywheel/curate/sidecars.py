"""Reads caption files: decodes their bytes to text and reduces the text to one caption for the picture."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import MutableSequence
from dataclasses import dataclass
from string import ascii_letters
from typing import Final

from engines.api.errors import BadInput

_AS_UTF8 = "Open it in a text editor and save it as UTF-8, then import it again with its picture."
_MARKS: Final = (  # UTF-32 before UTF-16, because UTF-32's mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LATIN_PAGES: Final = ("cp1252", "cp1250", "cp1254", "cp1257")  # Western and Central European, Turkish, Baltic
_ALPHABETS: Final = {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC"}
_TYPED = re.compile(r"(?<=[a-z])\u2019(?=[a-z])|\u201c(?=\w)[^\u201c\u201d]*\u201d|(?<= )[\u2013\u2014](?= )", re.I)
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_PLACEHOLDER = re.compile(r"\[(?:trigger|name)\]|\{(?:trigger|name)\}", re.IGNORECASE)


@dataclass(frozen=True)
class Text:
    """Holds the decoded text of a file; `guessed` is true where the bytes alone did not determine the encoding."""

    text: str
    guessed: bool = False


def decoded(data: bytes) -> Text:
    """Returns the decoded text of a caption file; raises BadInput where the encoding cannot be determined.

    UTF-8 is certain, and so are UTF-16 and UTF-32 with a byte order mark. Other bytes are read where all Latin code
    pages give the same letters, such as é or ü, and these letters stand inside words; the result is then marked as
    guessed.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding).replace("\ufeff", "")
        guessed = False
    except UnicodeDecodeError:
        text, guessed = _western(data) if encoding == "utf-8" else "", True
        if not text:
            reason = "Its letters are in an old code page that cannot be told from others, so they were not read."
            damaged = "Its text is cut short or damaged, so it was not read."
            raise BadInput(reason if encoding == "utf-8" else damaged, _AS_UTF8) from None
    if not text.isascii() and not _is_in_alphabets(text):
        raise BadInput("Its letters make no words in UTF-8, so they were not read.", _AS_UTF8)
    if _NO_TEXT.search(text):
        raise BadInput("It is no text.", "Save it as plain text in UTF-8.")
    if "\ufffd" in text:
        raise BadInput("Some of its letters were lost before it came here (\ufffd stands for them).", _AS_UTF8)
    return Text(text, guessed)


def _western(data: bytes) -> str:
    """Returns the text of bytes that every Latin code page decodes to the same letters; "" where there is any doubt.

    In Cyrillic, Greek, Chinese or Japanese code pages whole words lie beyond ASCII; in Latin ones single letters do.
    """
    try:
        readings = {data.decode(page) for page in _LATIN_PAGES}
    except UnicodeDecodeError:
        return ""
    text = readings.pop()
    rest = _TYPED.sub(lambda found: found[0].encode("ascii", "ignore").decode() or " ", text)
    words = [word for word in re.findall(r"[^\W\d_]+", rest) if not word.isascii()]
    beyond = sum(not letter.isascii() for letter in rest)
    if readings or beyond != sum(not letter.isascii() for word in words for letter in word):
        return ""
    return text if all(map(_is_latin_word, words)) else ""


def _is_in_alphabets(text: str) -> bool:
    """Returns whether all letters of the text are assigned in Unicode and no word mixes alphabets.

    Some Chinese text in GBK happens to be valid UTF-8; this check rejects it.
    """
    named = {letter: unicodedata.name(letter, "") for letter in set(text) if "\x9f" < letter < "\u0800"}
    if not all(named.values()):
        return False
    alphabet = {letter: name.split()[0] for letter, name in named.items()} | dict.fromkeys(ascii_letters, "LATIN")
    words = (word for word in re.findall(r"[^\W\d_]+", text) if not word.isascii())
    return all(len(_ALPHABETS & {alphabet.get(letter, "") for letter in word}) <= 1 for word in words)


def _is_latin_word(word: str) -> bool:
    """Returns whether most letters are ASCII or ß, and only the first is a capital unless all of them are."""
    few = 2 * sum(not letter.isascii() and letter != "ß" for letter in word) < len(word)
    return few and (word.isupper() or word[1:] == word[1:].lower())


def caption(text: str, trigger: str, told: MutableSequence[str]) -> str:
    """Returns the caption in the text of a caption file, on one line.

    A placeholder such as [trigger] is replaced by the trigger word. Where every line contains the trigger word, the
    lines are alternative captions, and the first one is kept; otherwise all lines are joined. A note is added to `told`
    where a placeholder was replaced, lines were dropped, or several were joined.
    """
    named, count = _PLACEHOLDER.subn(lambda _: trigger, text) if trigger else (text, 0)
    if count:
        told.append(f"Its placeholder was replaced by {trigger}.")
    lines = [" ".join(line.split()) for line in named.splitlines() if line.strip()]
    says = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)
    if trigger and len(lines) > 1 and all(map(says.search, lines)):
        told.append(f"It holds {len(lines)} captions, one a line; the first was kept, {len(lines) - 1} were left.")
        return lines[0]
    if len(lines) > 1:
        told.append(f"Its {len(lines)} lines were joined to one caption.")
    return " ".join(lines)
