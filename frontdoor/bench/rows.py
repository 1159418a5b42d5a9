"""The rows of a bench's report, and the table that shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """Holds one measured figure of a benchmark's report: its name, value and unit, a comparison, and its goal.

    `peer` names what the figure is compared with, "" for nothing. `ratio` is the result of the comparison, mostly the
    value divided by the peer's value. `spread` is how far the measurements scatter, in the value's unit. `goal` is the
    goal as text; `ok` tells whether it is met, None without a goal or where it is not checked.
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
        """Returns the row as a JSON object, with a key for each field."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Report:
    """Holds all rows of one benchmark, with the commit and the machine that they were measured on.

    `bench` is the benchmark's name, `commit` the output of `git describe`, `machine` a description as text.
    """

    bench: str
    commit: str
    machine: str
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, object]:
        """Returns the report as a JSON object, with a key for each field; `rows` is a list of objects."""
        return dataclasses.asdict(self)

    def ok(self) -> bool:
        """Returns whether no row misses its goal; rows without a goal count as met."""
        return all(row.ok is not False for row in self.rows)


def table(rows: Iterable[Row]) -> str:
    """Returns the rows as a table in plain text: a heading, then one line for each row."""
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
