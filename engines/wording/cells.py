"""Defines the cells of the model card: what each cell's picture is asked to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engines.api.axes import ANGLES, EXPRESSIONS, FULL_BODY, HEAD, SITTING, STANDING, T_POSE, Tags


@dataclass(frozen=True)
class CardCell:
    """Describes one cell of the model card, which is a grid of pictures for evaluating a LoRA.

    `axes`: the tags (such as pose -> sitting) that the cell's picture is asked to show and is judged by; `framing`: how
    much of the person it shows, from the head to the full body.
    """

    name: str
    axes: Mapping[str, str]
    framing: str = HEAD

    @property
    def asked(self) -> Tags:
        """Returns all tags that the cell's picture is asked to show: `axes` and the framing."""
        return {**self.axes, "framing": self.framing}


CARD_POSES: tuple[str, ...] = (T_POSE, STANDING, SITTING)
CARD_CELLS: tuple[CardCell, ...] = (
    *(CardCell(f"{a} {e}", {"angle": a, "expression": e}) for a in ANGLES for e in EXPRESSIONS),
    *(CardCell(pose, {"pose": pose}, FULL_BODY) for pose in CARD_POSES),
)
