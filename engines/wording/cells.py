"""Defines the cells of the model card: what each cell's picture is asked to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engines.api.axes import ANGLES, EXPRESSIONS, FULL_BODY, HEAD, SITTING, STANDING, T_POSE, Tags


@dataclass(frozen=True)
class CardCell:
    """Describes one cell of the model card: the tags that its picture is asked to have and is judged by."""

    name: str
    axes: Mapping[str, str]
    framing: str = HEAD

    @property
    def asked(self) -> Tags:
        """Returns the tags that the cell's picture is asked to have, framing included."""
        return {**self.axes, "framing": self.framing}


CARD_POSES: tuple[str, ...] = (T_POSE, STANDING, SITTING)
CARD_CELLS: tuple[CardCell, ...] = (
    *(CardCell(f"{a} {e}", {"angle": a, "expression": e}) for a in ANGLES for e in EXPRESSIONS),
    *(CardCell(pose, {"pose": pose}, FULL_BODY) for pose in CARD_POSES),
)
