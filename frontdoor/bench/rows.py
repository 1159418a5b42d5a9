"""A row of a bench: one figure, its peer in the same run, its goal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """`ratio` is value / peer; `spread` is half the interquartile range; `ok` is None without a goal."""

    name: str
    value: float
    unit: str
    peer: str = ""
    ratio: float | None = None
    spread: float | None = None
    goal: str = ""
    ok: bool | None = None

    def to_json(self) -> dict[str, object]:
        """As `--json` writes it."""
        return dataclasses.asdict(self)


def table(rows: Iterable[Row]) -> str:
    """Rows as text, for people."""
    cells = [("what", "value", "unit", "against", "ratio", "±", "goal", "")]
    for row in rows:
        cells.append(
            (
                row.name,
                f"{row.value:.4g}",
                row.unit,
                row.peer,
                "" if row.ratio is None else f"{row.ratio:.2f}",
                "" if row.spread is None else f"{row.spread:.2g}",
                row.goal,
                {True: "ok", False: "MISSED", None: ""}[row.ok],
            )
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )
