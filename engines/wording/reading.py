"""Reads tags from captions, whoever wrote them: patterns as data, and the one loop over them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from engines.api.axes import Tags
from engines.wording.registry import VOCABULARIES

_FRONT_WORDS = ("a", "an", "the", "in", "with", "and", "on", "of", "under", "against")


@dataclass(frozen=True)
class Reader:
    """Holds a regular expression by which a tag is read from a caption, and the tag's value if the expression matches.

    If `value` is "", the value is the last three words of the expression's first group, without articles and
    prepositions at the front. The caption must be in lower case.
    """

    pattern: str
    value: str = ""  # "": the last three words of the first group, without articles and prepositions at the front

    def read(self, text: str) -> str:
        """Returns the value that a caption, in lower case, has for the tag; "" if the expression does not match."""
        match = re.search(rf"\b(?:{self.pattern})\b", text)
        if match is None or self.value:
            return self.value if match else ""
        words = match.group(1).split()[-3:]
        while len(words) > 1 and words[0] in _FRONT_WORDS:
            words.pop(0)
        return " ".join(words)


def _known(axis: str) -> str:
    """Returns a pattern for those values of an axis that captions name without a phrase around them."""
    return "|".join(re.escape(value) for each in VOCABULARIES.values() for value in each.known.get(axis, ()))


_TOWARDS = r"(?:view )?(?:facing|to|looking) (?:the )?"
# What stands before a word: its last three words, each begun once, so that no text takes long to look through.
_BEFORE = r"(?<![a-z-])-*+((?:[a-z][a-z-]*+ ++){0,2}?[a-z][a-z-]*+) ++"
# axis -> its readers; the first that matches gives the value
READERS: Mapping[str, tuple[Reader, ...]] = {
    "angle": (
        Reader(rf"profile[- ]left|left[- ](?:side )?profile|profile {_TOWARDS}left", "profile-left"),
        Reader(rf"profile[- ]right|right[- ](?:side )?profile|profile {_TOWARDS}right", "profile-right"),
        Reader(r"half[- ]left|three[- ]quarters? (?:view )?(?:facing |to |from )?(?:the )?left", "half-left"),
        Reader(r"half[- ]right|three[- ]quarters? (?:view )?(?:facing |to |from )?(?:the )?right", "half-right"),
        Reader(r"(?:head )?(?:turned|looking|facing) (?:slightly |half )?(?:to )?(?:the )?left", "half-left"),
        Reader(r"(?:head )?(?:turned|looking|facing) (?:slightly |half )?(?:to )?(?:the )?right", "half-right"),
        Reader(r"front(?:al)?(?: view)?|(?:facing|looking (?:straight )?(?:at|into)) the (?:camera|viewer)", "front"),
    ),
    "expression": (
        Reader(r"(?<!not )(?:smil(?:e|es|ing)|grin(?:s|ning)?|laugh(?:s|ing)?|happy)", "smiling"),
        Reader(r"(?<!not )(?:angry|anger|scowl(?:s|ing)?|furious|glaring)", "angry"),
        Reader(r"(?<!not )(?:sad|crying|unhappy|sorrowful|melanchol(?:y|ic))", "sad"),
        Reader(r"neutral|expressionless|calm expression|relaxed expression", "neutral"),
    ),
    "pose": (
        Reader(r"t[- ]pose", "T-pose"),
        Reader(r"sit(?:s|ting)?|seated", "sitting"),
        Reader(r"stand(?:s|ing)?", "standing"),
    ),
    "framing": (
        Reader(r"full[- ]body|full[- ]length|head to (?:toe|feet)", "full body"),
        Reader(r"bust(?: shot)?|waist[- ]up|upper[- ]body|half[- ]body|medium shot", "bust"),
        Reader(r"head[- ]?shot|head[- ]and[- ]shoulders|close[- ]up|face portrait", "head"),
    ),
    "outfit": (
        Reader(rf"({_known('outfit')})"),
        Reader(r"(?:wearing|dressed in) (?:an? )?([a-z][a-z -]*)"),
    ),
    "background": (
        Reader(rf"{_BEFORE}background"),
        Reader(rf"in (?:an? |the )?({_known('background')})"),
    ),
    "light": (Reader(rf"{_BEFORE}light(?:ing)?"),),
    "style": (Reader(rf"({_known('style')}) (?:drawing|picture|style)"),),
}


def read_tags(caption: str) -> Tags:
    """Returns the tags that a caption names, from axis to value (such as pose -> sitting).

    An axis that the caption does not name is left out.
    """
    text = caption.lower()
    values = {axis: next(filter(None, (each.read(text) for each in readers)), "") for axis, readers in READERS.items()}
    return {axis: value for axis, value in values.items() if value}
