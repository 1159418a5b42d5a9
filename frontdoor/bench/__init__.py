"""`launch.py bench`: measures, prints a table and writes its rows as JSON. None of the benches is a test."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
from pathlib import Path

from engines.api.errors import NotFound
from engines.catalogue.registry import load_class
from frontdoor.bench.rows import Report, Row, table
from frontdoor.machine import cores

ENTRIES = {
    "costs": "frontdoor.bench.costs:measure",
    "enrich": "frontdoor.bench.enrich:measure",
    "forms": "frontdoor.bench.forms:measure",
    "judge": "frontdoor.bench.judge:measure",
    "memory": "frontdoor.bench.memory:measure",
    "mini": "frontdoor.bench.mini:measure_family",
    "photographs": "frontdoor.bench.photographs:measure",
    "review": "frontdoor.bench.review:measure",
    "sessions": "frontdoor.bench.sessions:measure",
    "shortcuts": "frontdoor.bench.shortcuts:measure",
    "specialists": "frontdoor.bench.specialists:measure",
    "startup": "frontdoor.bench.startup:measure",
    "store": "frontdoor.bench.store:measure",
    "tournament": "frontdoor.bench.tournament:measure",
    "train-step": "frontdoor.bench.train_step:measure",
    "turn": "frontdoor.bench.turn:measure",
}
ROOT = Path(__file__).resolve().parent.parent.parent


def main(options: argparse.Namespace) -> int:
    """Runs the benchmark that `options` names, or all of them, and prints the result of each as a table.

    With `--json` it also writes the results to a file. Returns the exit code: 0 when no goal was missed, else 1.
    Raises: NotFound for an unknown name.
    """
    reports = [run(name, options) for name in ([options.name] if options.name else ENTRIES)]
    if options.json:
        written = [report.to_json() for report in reports]
        options.json.write_text(json.dumps(written if len(written) > 1 else written[0], indent=2))
    return 0 if all(report.ok() for report in reports) else 1


def run(name: str, options: argparse.Namespace) -> Report:
    """Runs one benchmark by its name, prints its results as a table and returns its report.

    The report also holds the commit and a description of the machine. `options` are those of the command line. Raises:
    NotFound for an unknown name.
    """
    if name not in ENTRIES:
        raise NotFound(f"There is no bench named {name}.", f"Known: {', '.join(ENTRIES)}.")
    rows: list[Row] = load_class(ENTRIES[name])(options)
    print(f"\n{name}\n{table(rows)}", flush=True)
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return Report(
        bench=name,
        commit=commit or "not a checkout",
        machine=f"{platform.system()} {platform.machine()}, {cores()} cores, Python {platform.python_version()}",
        rows=tuple(rows),
    )
