"""Whether a turn helps, that is one pass through all steps of the studio: characters before and after it.

A program reviews in place of a human. The bench also tells the turn from mere longer training. v2 continues v1 on new
pictures; as a control, “v1 longer” continues v1 for as many steps on v1's own pictures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from engines.api.errors import BadInput, UserError
from frontdoor.bench.rows import Row
from frontdoor.machine import cores
from frontdoor.report import Report
from studio.judging.statistics import bootstrap, mean

FIRST_SEED = 200  # by none of these people were weights or ways of training chosen


def measure(options: argparse.Namespace) -> list[Row]:
    """Runs `launch.py demo` for several characters and returns the rows of a report that compares their figures.

    Each demo takes one character through all steps of the studio, with a program as the reviewer. The number of
    characters is `options.characters`; no model was trained on them. As many demos run at the same time as there are
    CPU cores. `options.out` is a folder that keeps the demos' reports; a demo whose report is in it is not run again.
    None means a temporary folder. Raises: BadInput for no character, UserError when a demo fails.
    """
    if options.characters < 1:
        raise BadInput("No character is none to measure.", "Give --characters a number from 1 on.")
    seeds = range(FIRST_SEED, FIRST_SEED + options.characters)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(cores()) as pool:
        return list(compare(list(pool.map(partial(_run_demo, options.out or Path(folder)), seeds))))


def _run_demo(out: Path, seed: int) -> Report:
    """Returns the report of `launch.py demo --seed`, read from the folder `out` or from a new run.

    Raises: UserError when the run fails, BadInput for a report that cannot be read.
    """
    file = out / str(seed) / "report.json"
    if not file.exists():
        command = [sys.executable, "-m", "frontdoor.cli", "demo", "--control"]
        command += ["--seed", str(seed), "--out", str(file.parent)]
        ended = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        if ended.returncode:
            raise UserError(f"The demo of character {seed} failed.", ended.stderr[-2000:])
    return Report.read(file)


def compare(turns: Sequence[Report]) -> Iterator[Row]:
    """Yields report rows with means over all characters, for each version of the character's LoRA and of the editor.

    A mean is given for each version, and for the difference between two versions. The difference is first computed for
    each character alone, and its mean has a 95 % interval. `turns` holds one report for each character.
    """
    among = f"{len(turns)} characters"
    cards = [name for name in turns[0].card if all(name in turn.card for turn in turns)]
    first = {name: [turn.card[name].first_try_rate for turn in turns] for name in cards}
    every = {name: [turn.card[name].all_seeds_rate for turn in turns] for name in cards}
    editor = {
        "base": [turn.editor.base.acceptance for turn in turns],
        "v1": [turn.editor.v1.acceptance for turn in turns],
    }
    for name, rates in first.items():
        yield Row(name=f"card, first try right, {name}, {among}", value=mean(rates), unit="")
    for name in (each for each in cards if each.startswith("v1")):
        yield from difference(f"card, first try, v2 − {name}", first[name], first["v2"])
        yield from difference(f"card, every seed, v2 − {name}", every[name], every["v2"])
    for name in first:
        likeness = mean([turn.identity.medians[name] for turn in turns])
        yield Row(name=f"likeness by the judge, {name}, {among}", value=likeness, unit="")
    asked = sum(turn.editor.base.n for turn in turns)
    new = sum(turn.editor.never_asked_before for turn in turns) / asked
    yield Row(name="share of the unseen edits that was never asked before", value=new, unit="", goal="= 1", ok=new == 1)
    for name, rates in editor.items():
        yield Row(name=f"unseen edits accepted, editor {name}, {among}", value=mean(rates), unit="")
    yield from difference("unseen edits accepted, refined − base", editor["base"], editor["v1"])
    yield Row(name="a turn", value=mean([turn.seconds for turn in turns]), unit="s")


def difference(name: str, before: Sequence[float], after: Sequence[float]) -> Iterator[Row]:
    """Yields three rows: the mean difference, and the lower and upper end of its 95 % interval.

    `before` and `after` have one value for each character, in the same order. The goal is met when the whole interval
    lies above zero. `name` labels the rows.
    """
    middle, low, high = bootstrap([late - early for early, late in zip(before, after, strict=True)], of=mean)
    yield Row(name=name, value=middle, unit="", spread=(high - low) / 2, goal="interval > 0", ok=low > 0)
    yield Row(name=f"{name}: lower end", value=low, unit="")
    yield Row(name=f"{name}: upper end", value=high, unit="")
