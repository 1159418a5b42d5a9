"""The real models on a played card: what is planned for them is what they take, and the host waits for no step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
MOST = 1.25  # planned bytes over played ones, weights counted
AGAIN = ("FLUX.1-dev:nf4:1:generate:0:2",)  # played anew: the rest of the record takes minutes
STEP = {"generate": 0, "edit": 0, "train": 1}  # how often the host may wait for a step


@pytest.fixture(scope="module")
def table() -> Any:
    """The module that reads the record; it imports torch."""
    return import_module("tests.card.table")


def waited(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[str, ...], dict[int, int]]:
    """How often the host waited, by cell without its steps, and by steps."""
    found: dict[tuple[str, ...], dict[int, int]] = {}
    for line in lines:
        if "waits" in line:
            *cell, steps = line["cell"].split(":")
            found.setdefault(tuple(cell), {})[int(steps)] = sum(line["waits"].values())
    return found


def told(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a line of the record says, without the places in the code where the host waited."""
    return (*(line.get(key) for key in ("cell", "stage", "how", "played")), sum(line.get("waits", {}).values()))


def test_plans_are_what_was_played(table: Any, tmp_path: Path) -> None:
    """No recorded stage took more bytes of the card than are planned for it, nor less than four fifths."""
    found = list(table.compared(tmp_path))
    assert len(found) >= 9
    assert [each for each in found if not 1 <= each.ratio <= MOST] == []


def test_the_host_waits_for_no_denoising_step_and_once_a_training_step(table: Any) -> None:
    """In each job that was recorded with two numbers of steps, the longer one made the host wait for no more."""
    pairs = {cell: steps for cell, steps in waited(table.lines()).items() if len(steps) > 1}
    assert pairs
    for cell, steps in pairs.items():
        (few, before), (many, after) = min(steps.items()), max(steps.items())
        assert after - before <= STEP[cell[3]] * (many - few), cell


def test_the_record_is_played_again(table: Any, play: Callable[..., list[Any]], tmp_path: Path) -> None:
    """Played anew, a drawing takes the recorded bytes and waits."""
    record: list[Mapping[str, Any]] = [line for line in table.lines() if line["cell"] in AGAIN]
    again = play("real", str(tmp_path), *AGAIN)
    assert [told(line) for line in again] == [told(line) for line in record]
