"""What the turns of several characters come to."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from frontdoor.bench.turn import FIRST_SEED, compare, measure, rise


def turn(v1: float, v2: float, base: float, refined: float, **control: float) -> dict[str, Any]:
    """The parts of a report that are compared."""
    rates = {"base": 0.1, "v1": v1, **{name.replace("_", " "): rate for name, rate in control.items()}, "v2": v2}
    return {
        "card": {name: {"first_try_rate": rate, "all_seeds_rate": rate} for name, rate in rates.items()},
        "identity": dict.fromkeys(rates, 0.9),
        "editor": {"never_asked_before": 40, "base": {"acceptance": base, "n": 40}, "v1": {"acceptance": refined}},
        "seconds": 60.0,
    }


def test_a_rise_counts_when_its_whole_interval_does() -> None:
    """A mean above zero that rests on one lucky character is no rise."""
    sure, _, _ = rise("r", [0.5] * 6, [0.6, 0.62, 0.58, 0.61, 0.6, 0.59])
    lucky, low, high = rise("r", [0.5] * 6, [0.5, 0.5, 0.5, 0.5, 0.5, 0.9])
    assert sure.ok is True
    assert lucky.value > 0
    assert lucky.ok is False
    assert low.value <= lucky.value <= high.value


def test_characters_are_compared_with_themselves() -> None:
    """A hard and an easy character differ more than the versions do; the pairs do not care."""
    rows = {row.name: row for row in compare([turn(0.2, 0.3, 0.4, 0.4), turn(0.8, 0.9, 0.9, 0.8)])}
    assert abs(rows["card, first try, v2 − v1"].value - 0.1) < 1e-9
    assert rows["card, first try, v2 − v1"].ok is True
    assert rows["unseen edits accepted, refined − base"].ok is False


def test_a_turn_has_to_beat_the_longer_training_too() -> None:
    """As good as v1 trained on means that steps did it, not pictures; reports without it compare what they have."""
    rows = {row.name: row for row in compare([turn(0.2, 0.5, 0.4, 0.4, v1_longer=0.5)] * 3)}
    assert rows["card, first try, v2 − v1"].ok is True
    assert rows["card, first try, v2 − v1 longer"].ok is False
    mixed = compare([turn(0.2, 0.5, 0.4, 0.4), turn(0.2, 0.5, 0.4, 0.4, v1_longer=0.5)])
    assert not any("longer" in row.name for row in mixed)


def test_edits_that_were_asked_before_do_not_count_as_unseen() -> None:
    """One edit that was a lesson already is told, and misses the goal."""
    seen = turn(0.2, 0.3, 0.4, 0.5)
    seen["editor"]["never_asked_before"] = 39
    shares = [
        next(row for row in compare(turns) if "never asked before" in row.name)
        for turns in ([turn(0.2, 0.3, 0.4, 0.5)], [turn(0.2, 0.3, 0.4, 0.5), seen])
    ]
    assert [(share.value, share.ok) for share in shares] == [(1.0, True), (79 / 80, False)]


def test_what_was_turned_once_is_not_turned_again(tmp_path: Path) -> None:
    """Ten characters take an hour: reports that lie in `--out` are read, and nothing is trained for them."""
    for number in range(2):
        folder = tmp_path / str(FIRST_SEED + number)
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(turn(0.5, 0.6, 0.4, 0.5)))
    rows = {row.name: row for row in measure(argparse.Namespace(characters=2, out=tmp_path))}
    assert rows["card, first try right, v2, 2 characters"].value == 0.6
