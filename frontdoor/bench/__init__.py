"""`launch.py bench`: measure, print a table, write rows. Goals are those of the issues; nothing here is a test."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
from pathlib import Path

from engines.api.errors import NotFound
from engines.catalogue.registry import load_class
from frontdoor.bench.rows import Row, table
from frontdoor.machine import cores

ENTRIES = {
    "costs": "frontdoor.bench.costs:measure",
    "enrich": "frontdoor.bench.enrich:measure",
    "memory": "frontdoor.bench.memory:measure",
    "mini": "frontdoor.bench.mini:measure_family",
    "sessions": "frontdoor.bench.sessions:measure",
    "shortcuts": "frontdoor.bench.shortcuts:measure",
    "startup": "frontdoor.bench.startup:measure",
    "store": "frontdoor.bench.store:measure",
    "train-step": "frontdoor.bench.train_step:measure",
    "turn": "frontdoor.bench.turn:measure",
}
ROOT = Path(__file__).resolve().parent.parent.parent


def main(options: argparse.Namespace) -> int:
    """Run one entry or all; the exit code says whether every goal was met."""
    reports = [run(name, options) for name in ([options.name] if options.name else ENTRIES)]
    if options.json:
        options.json.write_text(json.dumps(reports if len(reports) > 1 else reports[0], indent=2))
    return 0 if all(row["ok"] is not False for report in reports for row in report["rows"]) else 1


def run(name: str, options: argparse.Namespace) -> dict[str, object]:
    """One entry's report. Raises: NotFound."""
    if name not in ENTRIES:
        raise NotFound(f"There is no bench named {name}.", f"Known: {', '.join(ENTRIES)}.")
    rows: list[Row] = load_class(ENTRIES[name])(options)
    print(f"\n{name}\n{table(rows)}", flush=True)
    return {
        "bench": name,
        "commit": _commit(),
        "machine": f"{platform.system()} {platform.machine()}, {cores()} cores, Python {platform.python_version()}",
        "rows": [row.to_json() for row in rows],
    }


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "not a checkout"
