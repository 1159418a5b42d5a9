"""The bench frame: rows as people and programs read them."""

import argparse
import json
from pathlib import Path

import pytest

from engines.api.errors import NotFound
from frontdoor import bench
from frontdoor.bench.rows import Row, table


def test_a_row_keeps_the_names_of_the_format() -> None:
    """The JSON row has exactly the fields that design §10 promises."""
    row = Row(name="a", value=1.0, unit="s")

    assert list(row.to_json()) == ["name", "value", "unit", "peer", "ratio", "spread", "goal", "ok"]


def test_a_missed_goal_is_said() -> None:
    """A row that misses its goal says so in the table."""
    assert "MISSED" in table([Row(name="a", value=1.0, unit="s", goal="≤ 0.5", ok=False)])


def test_an_unknown_entry_names_the_known_ones() -> None:
    """A wrong bench name is answered with the right ones."""
    with pytest.raises(NotFound, match="startup"):
        bench.run("nonsense", argparse.Namespace())


@pytest.mark.slow
def test_the_store_entry_writes_its_rows(tmp_path: Path) -> None:
    """`bench store --json FILE` leaves a report of the promised shape."""
    out = tmp_path / "rows.json"

    bench.main(argparse.Namespace(name="store", json=out))

    report = json.loads(out.read_text())
    assert report["bench"] == "store"
    assert len(report["rows"]) == 6
