"""The bench command: its table, its JSON, and its refusal of an unknown name."""

import argparse
import json
from pathlib import Path

import pytest

from engines.api.errors import NotFound
from frontdoor import bench
from frontdoor.bench.rows import Row, table


def test_a_row_keeps_the_names_of_the_format() -> None:
    """The JSON of a row has exactly the fields of the format, in their order."""
    row = Row(name="a", value=1.0, unit="s")

    assert list(row.to_json()) == ["name", "value", "unit", "peer", "ratio", "spread", "goal", "ok"]


def test_a_missed_goal_is_shown() -> None:
    """A row that misses its goal is marked in the table."""
    assert "MISSED" in table([Row(name="a", value=1.0, unit="s", goal="≤ 0.5", ok=False)])


def test_an_unknown_entry_names_the_known_ones() -> None:
    """An unknown bench is refused with the names of all benches."""
    with pytest.raises(NotFound, match="startup"):
        bench.run("nonsense", argparse.Namespace())


@pytest.mark.slow
def test_the_store_bench_writes_its_rows(tmp_path: Path) -> None:
    """`bench store --json FILE` writes the bench's name and its six rows."""
    out = tmp_path / "rows.json"

    bench.main(argparse.Namespace(name="store", json=out))

    report = json.loads(out.read_text())
    assert report["bench"] == "store"
    assert len(report["rows"]) == 6
