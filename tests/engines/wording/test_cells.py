"""The cells of the model card."""

from __future__ import annotations

from engines.api.axes import ANGLES, EXPRESSIONS, POSES
from engines.wording.cells import CARD_CELLS, CARD_POSES


def test_card_has_its_23_cells() -> None:
    """5 angles × 4 expressions as heads and 3 poses as full bodies, each with its own name."""
    assert len({cell.name for cell in CARD_CELLS}) == len(CARD_CELLS) == 23
    heads = [cell.asked for cell in CARD_CELLS if cell.framing == "head"]
    assert heads == [{"angle": a, "expression": e, "framing": "head"} for a in ANGLES for e in EXPRESSIONS]
    bodies = [cell.asked for cell in CARD_CELLS if cell.framing == "full body"]
    assert bodies == [{"pose": pose, "framing": "full body"} for pose in CARD_POSES]
    assert set(CARD_POSES) == set(POSES)
