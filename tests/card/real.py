"""Plays jobs of the real models at full width and size, in shapes alone, and prints what their stages took.

`python -m tests.card.real FOLDER CELL …`, with the guard's path in PLAYED_GUARD. A cell is
MODEL:FORM:PARTS:JOB:LEANER:STEPS, such as FLUX.1-dev:nf4:2:generate:0:2: the form of the weights, how many of its
transformer's equal parts the model has (see `hollow.units`), and how many forms below the planned one each stage runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.card.shapes import ShapesCard  # before torch

from engines.device.devices import CudaDevice  # isort: skip
from studio.gpu.manager import GpuManager  # isort: skip
from tests.card.watched import Watched, weights  # isort: skip
from tests.card.work import hollow_work, leaner  # isort: skip

ROOM = 1 << 40  # bytes of a card on which everything fits


class HollowDevice(CudaDevice):
    """The card's device; weights without contents are not packed in RAM."""

    def keep(self, host: Any, nbytes: int, room: int) -> int:
        """Does nothing and returns 0."""
        return 0


def play(card: ShapesCard, cell: str, home: Path) -> Iterator[Mapping[str, Any]]:
    """Plays one cell, and yields for each stage its bytes beside the weights, as planned and as played, and waits."""
    name, form, parts, job, below, steps = cell.split(":")
    work = hollow_work(name, form, home, int(parts))
    gpu = GpuManager(HollowDevice(), ROOM, {}, host_bytes=0)
    plan, run = work.jobs()[job](int(steps))
    plan = leaner(plan, int(below))
    card.waits.clear()
    with gpu.lease(plan) as lease:
        watched = Watched(gpu, card, lease)
        run(watched)
    gpu.unload_all()
    for stage in plan.stages:
        if stage.name in watched.peaks:
            told = {"cell": cell, "stage": stage.name, "how": stage.how, "weights": weights(stage)}
            yield {**told, "planned": stage.working_bytes, "played": watched.peaks[stage.name] - weights(stage)}
    yield {"cell": cell, "waits": dict(card.waits)}


def main(home: Path, cells: Sequence[str]) -> None:
    """Plays the cells and prints each finding as a line of JSON."""
    card = ShapesCard(ROOM)
    with card:
        for cell in cells:
            for found in play(card, cell, home):
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
