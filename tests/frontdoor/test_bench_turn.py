"""How the turn bench compares the reports of several characters."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from engines.api.errors import BadInput
from frontdoor.bench.turn import FIRST_SEED, compare, difference, measure
from frontdoor.report import CardRates, EditRates, Report
from tests.frontdoor.test_report import REPORT


def turn(v1: float, v2: float, base: float, refined: float, **control: float) -> Report:
    """A report with these rates of cards and edits."""
    rates = {"base": 0.1, "v1": v1, **{name.replace("_", " "): rate for name, rate in control.items()}, "v2": v2}

    def card(rate: float) -> CardRates:
        return replace(REPORT.card["v1"], first_try_rate=rate, all_seeds_rate=rate)

    def edits(rate: float) -> EditRates:
        return replace(REPORT.editor.v1, acceptance=rate)

    return replace(
        REPORT,
        card={name: card(rate) for name, rate in rates.items()},
        identity=replace(REPORT.identity, medians=dict.fromkeys(rates, 0.9)),
        editor=replace(REPORT.editor, base=edits(base), v1=edits(refined)),
        seconds=60.0,
    )


def test_a_difference_counts_when_its_whole_interval_does() -> None:
    """A mean above zero that rests on one lucky character misses the goal."""
    sure, _, _ = difference("r", [0.5] * 6, [0.6, 0.62, 0.58, 0.61, 0.6, 0.59])
    lucky, low, high = difference("r", [0.5] * 6, [0.5, 0.5, 0.5, 0.5, 0.5, 0.9])
    assert sure.ok is True
    assert lucky.value > 0
    assert lucky.ok is False
    assert low.value <= lucky.value <= high.value


def test_characters_are_compared_with_themselves() -> None:
    """A hard and an easy character differ more than the versions do; the differences of the pairs do not."""
    rows = {row.name: row for row in compare([turn(0.2, 0.3, 0.4, 0.4), turn(0.8, 0.9, 0.9, 0.8)])}
    assert abs(rows["card, first try, v2 − v1"].value - 0.1) < 1e-9
    assert rows["card, first try, v2 − v1"].ok is True
    assert rows["unseen edits accepted, refined − base"].ok is False


def test_a_turn_has_to_beat_the_longer_training_too() -> None:
    """A v2 as good as v1 trained longer misses that goal; reports without the control compare only what all have."""
    rows = {row.name: row for row in compare([turn(0.2, 0.5, 0.4, 0.4, v1_longer=0.5)] * 3)}
    assert rows["card, first try, v2 − v1"].ok is True
    assert rows["card, first try, v2 − v1 longer"].ok is False
    mixed = compare([turn(0.2, 0.5, 0.4, 0.4), turn(0.2, 0.5, 0.4, 0.4, v1_longer=0.5)])
    assert not any("longer" in row.name for row in mixed)


def test_edits_that_were_asked_before_do_not_count_as_unseen() -> None:
    """One edit that was asked before shows in the share, and misses the goal."""
    new = turn(0.2, 0.3, 0.4, 0.5)
    seen = replace(new, editor=replace(new.editor, never_asked_before=39))
    shares = [next(row for row in compare(turns) if "never asked before" in row.name) for turns in ([new], [new, seen])]
    assert [(share.value, share.ok) for share in shares] == [(1.0, True), (79 / 80, False)]


@pytest.mark.parametrize("characters", [0, -1])
def test_no_character_is_refused(characters: int) -> None:
    """A turn of nobody has no figures."""
    with pytest.raises(BadInput, match="No character"):
        measure(argparse.Namespace(characters=characters, out=None))


def test_what_was_run_once_is_not_run_again(tmp_path: Path) -> None:
    """Reports that lie in `--out` are read, and nothing is trained for their characters."""
    for number in range(2):
        folder = tmp_path / str(FIRST_SEED + number)
        folder.mkdir()
        turn(0.5, 0.6, 0.4, 0.5).write(folder / "report.json")
    rows = {row.name: row for row in measure(argparse.Namespace(characters=2, out=tmp_path))}
    assert rows["card, first try right, v2, 2 characters"].value == 0.6
