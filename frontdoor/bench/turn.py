"""Does a turn of the flywheels help? Over several characters, each against itself, as the stand-in reviewer sees it."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from frontdoor.bench.rows import Row
from frontdoor.demo import Scale, Turn
from frontdoor.studio import open_studio
from studio.statistics import bootstrap, mean

FIRST_SEED = 100


def measure(options: argparse.Namespace) -> list[Row]:
    """Turn both flywheels once for each of `--characters` drawn people whom no model has seen."""
    seeds = range(FIRST_SEED, FIRST_SEED + options.characters)
    return list(compare([_turn(seed) for seed in seeds]))


def _turn(seed: int) -> dict[str, Any]:
    """What `demo --seed` reports of one character."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        with closing(open_studio(out / "home")) as studio:
            return Turn(studio, out, Scale()).run(seed)


def compare(turns: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """Rates, and their differences per character with the interval of the mean."""
    among = f"{len(turns)} characters"
    first = {name: [turn["card"][name]["first_try_rate"] for turn in turns] for name in ("base", "v1", "v2")}
    every = {name: [turn["card"][name]["all_seeds_rate"] for turn in turns] for name in ("base", "v1", "v2")}
    editor = {name: [turn["editor"][name]["acceptance"] for turn in turns] for name in ("base", "v1")}
    for name, rates in first.items():
        yield Row(name=f"card, first try right, {name}, {among}", value=mean(rates), unit="")
    yield from rise("card, first try, v2 − v1", first["v1"], first["v2"])
    yield from rise("card, every seed, v2 − v1", every["v1"], every["v2"])
    for name in first:
        likeness = mean([turn["identity"][name] for turn in turns])
        yield Row(name=f"likeness by the judge, {name}, {among}", value=likeness, unit="")
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
