"""The rows of a bench's report, and the table that shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """Holds one measured figure, what it is compared with, and its goal.

    `peer` names what the figure is compared with, `ratio` is value / peer. `spread` is the scatter of the measurements,
    half their range or half an interval, as each bench computes it. `goal` is text; `ok` is None without a goal.
    """

    name: str
    value: float
    unit: str
    peer: str = ""
    ratio: float | None = None
    spread: float | None = None
    goal: str = ""
    ok: bool | None = None

    def to_json(self) -> dict[str, object]:
        """Returns the row as the JSON object that `--json` writes."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Report:
    """Holds all rows of one bench, with the commit and the machine that they were measured on."""

    bench: str
    commit: str
    machine: str
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, object]:
        """Returns the report as the JSON object that `--json` writes."""
        return dataclasses.asdict(self)

    def ok(self) -> bool:
        """Returns whether no row misses its goal."""
        return all(row.ok is not False for row in self.rows)


def table(rows: Iterable[Row]) -> str:
    """Returns rows as a table in plain text, one line each."""
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
