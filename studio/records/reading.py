"""What was read from a picture, by whom, and how well a reader agrees with a human."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from studio.records.base import Part


class ReadBy(StrEnum):
    """Names what read a tag from a picture: the words of a caption, the answer to a question, or the face's geometry.

    Tags that were stored before this was recorded are from captions.
    """

    CAPTION = "caption"
    QUESTION = "question"
    FACE = "face"


Logs = Mapping[str, float]  # value -> the natural logarithm of its probability
Answered = Mapping[str, Logs]  # axis -> the answer to its question


@dataclass(frozen=True, kw_only=True)
class Agreement(Part):
    """Holds how well the answers on one axis agree with a human's verdicts, and whether they count for that."""

    verdicts: int = 0
    """The number of verdicts on pictures with a sure answer."""
    agreed: float | None = None
    """The share of them that the answer agrees with; null without any."""
    temperature: float = 1.0
    """The factor by which the answers' probabilities are made more alike, fitted to the verdicts."""
    trusted: bool = False
    """Whether the answers count; otherwise the words of captions do."""
