"""What was played of the real models, beside what is planned for them; `python -m tests.card.table` prints the tables.

`played.jsonl` holds what `tests.card.real` printed. Nothing is played here: plans are made anew, from folders without
weights.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from engines.api.protocols import Plan, Stage
from engines.catalogue.shapes import PUBLISHED
from studio.gpu.budget import Arithmetic
from tests.card import hollow
from tests.card.work import hollow_work, leaner

RECORD = Path(__file__).with_name("played.jsonl")
GIB = 1 << 30
RESERVE = int(0.7 * GIB)  # the manager's
CAPS = (8, 12, 16, 24, 32)  # GiB of a card
Line = Mapping[str, Any]  # what tests.card.real prints


@dataclass(frozen=True)
class Compared:
    """Holds a stage's bytes on the card: its weights, and what is planned and was played beside them.

    `below`: how many forms below the planned one it runs, `how`: how that saves memory.
    """

    model: str
    form: str
    job: str
    below: int
    stage: str
    how: str
    weights: int
    planned: int
    played: int

    @property
    def ratio(self) -> float:
        """Returns the planned bytes over the played ones, weights counted."""
        return (self.weights + self.planned) / (self.weights + self.played)


def lines() -> list[Line]:
    """Returns the record, line by line."""
    return [json.loads(line) for line in RECORD.read_text(encoding="utf-8").splitlines()]


def whole(record: Sequence[Line]) -> dict[tuple[str, str, str, int, str], int]:
    """Returns (model, form, job, below, stage) -> the bytes beside the weights of the whole model.

    A stage that was played with two numbers of its transformer's parts is linear in them; any other has the same bytes
    with each.
    """
    found: dict[tuple[str, str, str, int, str], dict[int, int]] = {}
    for line in record:
        if "stage" in line:
            name, form, parts, job, below, _ = line["cell"].split(":")
            sizes = found.setdefault((name, form, job, int(below), line["stage"]), {})
            sizes[int(parts)] = max(line["played"], sizes.get(int(parts), 0))
    return {key: _at(sizes, hollow.units(PUBLISHED[key[0]])) for key, sizes in found.items()}


def compared(home: Path) -> Iterator[Compared]:
    """Yields each recorded stage beside its present plan; `home` takes folders without weights."""
    plans = cache(partial(_plan, home))
    for (name, form, job, below, wanted), played in whole(lines()).items():
        stage = next(each for each in leaner(plans(name, form, job), below).stages if each.name == wanted)
        yield Compared(name, form, job, below, wanted, stage.how, _weights(stage), stage.working_bytes, played)


def ladder(home: Path, found: Sequence[Compared]) -> Iterator[str]:
    """Yields a row for each stage and card: the form that is chosen, what it needs as computed, and as played."""
    for name, form, job in dict.fromkeys((each.model, each.form, each.job) for each in found):
        plan = _plan(home, name, form, job)
        for stage in plan.stages:
            cells = []
            for cap in CAPS:
                chosen = Arithmetic({}, RESERVE, partial(int, cap * GIB)).fitting(stage, "")
                if chosen is None:
                    cells.append("refused")
                    continue
                told = next((each for each in found if _is(each, (name, form, job), chosen)), None)
                played = f"{(told.weights + told.played) / GIB:.2f}" if told else "not played"
                cells.append(f"{chosen.how or 'as planned'}: {_needs(chosen):.2f} / {played}")
            yield f"| {name} | {form} | {job} | {stage.name} | {' | '.join(cells)} |"


def _is(each: Compared, key: tuple[str, str, str], stage: Stage) -> bool:
    return (each.model, each.form, each.job) == key and (each.stage, each.how) == (stage.name, stage.how)


def _at(sizes: Mapping[int, int], parts: int) -> int:
    (first, low), (last, high) = min(sizes.items()), max(sizes.items())
    return low if first == last else low + (high - low) * (parts - first) // (last - first)


def _plan(home: Path, name: str, form: str, job: str) -> Plan:
    return hollow_work(name, form, home).jobs()[job](2)[0]


def _weights(stage: Stage) -> int:
    return sum(map(stage.size, stage.components))


def _needs(stage: Stage) -> float:
    return (_weights(stage) + stage.working_bytes) / GIB


def tables(home: Path) -> str:
    """Returns both tables as docs/memory.md has them."""
    found = list(compared(home))
    rows = [
        f"| {each.model} | {each.form} | {each.job} | {each.stage}{each.how and f', {each.how}'} | "
        f"{(each.weights + each.planned) / GIB:.2f} | {(each.weights + each.played) / GIB:.2f} | {each.ratio:.2f} |"
        for each in found
    ]
    caps = [f"{cap} GiB" for cap in CAPS]
    return "\n".join(
        [
            "| model | form | job | stage | computed, GiB | played, GiB | ratio |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"| model | form | job | stage | {' | '.join(caps)} |",
            f"|---|---|---|---|{'---|' * len(CAPS)}",
            *ladder(home, found),
        ]
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(tables(Path(made)))
