"""Does a turn of the flywheels help? Over several characters, each against itself, as the stand-in reviewer sees it.

And is it the turn, or the longer training? v2 goes on from v1, so v1 goes on too, on nothing but its own pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from engines.api.errors import UserError
from frontdoor.bench.rows import Row
from studio.judging.statistics import bootstrap, mean

FIRST_SEED = 200  # by none of these people were weights or ways of training chosen


def measure(options: argparse.Namespace) -> list[Row]:
    """Turn both flywheels once for each of `--characters` drawn people whom no model has seen.

    As many at a time as there are cores, one thread each. With `--out` the reports stay there, and those that lie
    there already are not turned again.
    """
    seeds = range(FIRST_SEED, FIRST_SEED + options.characters)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(compare(list(pool.map(partial(_turn, options.out or Path(folder)), seeds))))


def _turn(out: Path, seed: int) -> dict[str, Any]:
    """What `demo --seed` reports of one character. Raises: UserError when it fails."""
    report = out / str(seed) / "report.json"
    if not report.exists():
        command = [sys.executable, "-m", "frontdoor.cli", "demo", "--control"]
        command += ["--seed", str(seed), "--out", str(report.parent)]
        ended = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        if ended.returncode:
            raise UserError(f"The turn of character {seed} failed.", ended.stderr[-2000:])
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found


def compare(turns: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """Rates, and their differences per character with the interval of the mean."""
    among = f"{len(turns)} characters"
    cards = [name for name in turns[0]["card"] if all(name in turn["card"] for turn in turns)]
    first = {name: [turn["card"][name]["first_try_rate"] for turn in turns] for name in cards}
    every = {name: [turn["card"][name]["all_seeds_rate"] for turn in turns] for name in cards}
    editor = {name: [turn["editor"][name]["acceptance"] for turn in turns] for name in ("base", "v1")}
    for name, rates in first.items():
        yield Row(name=f"card, first try right, {name}, {among}", value=mean(rates), unit="")
    for name in (each for each in cards if each.startswith("v1")):
        yield from rise(f"card, first try, v2 − {name}", first[name], first["v2"])
        yield from rise(f"card, every seed, v2 − {name}", every[name], every["v2"])
    for name in first:
        likeness = mean([turn["identity"][name] for turn in turns])
        yield Row(name=f"likeness by the judge, {name}, {among}", value=likeness, unit="")
    asked = sum(turn["editor"]["base"]["n"] for turn in turns)
    new = sum(turn["editor"]["never_asked_before"] for turn in turns) / asked
    yield Row(name="share of those edits that was never asked before", value=new, unit="", goal="= 1", ok=new == 1)
    for name, rates in editor.items():
        yield Row(name=f"unseen edits accepted, editor {name}, {among}", value=mean(rates), unit="")
    yield from rise("unseen edits accepted, refined − base", editor["base"], editor["v1"])
    yield Row(name="a turn", value=mean([turn["seconds"] for turn in turns]), unit="s")


def rise(name: str, before: Sequence[float], after: Sequence[float]) -> Iterator[Row]:
    """The mean difference of pairs, met when its whole 95 % interval lies above zero; then the interval's ends."""
    middle, low, high = bootstrap([late - early for early, late in zip(before, after, strict=True)], of=mean)
    yield Row(name=name, value=middle, unit="", spread=(high - low) / 2, goal="interval > 0", ok=low > 0)
    yield Row(name=f"{name}: lower end", value=low, unit="")
    yield Row(name=f"{name}: upper end", value=high, unit="")
