"""How a training's cost grows: with the number of pictures until its first step, and with the number of steps.

Times are processor seconds, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import assets
from engines.api.params import TrainParams
from engines.api.protocols import StepDone, Trainer, TrainItem, TrainRun
from engines.catalogue.models import MODELS
from engines.catalogue.registry import load_class
from engines.device.devices import CpuDevice
from frontdoor.bench import progress
from frontdoor.bench.rows import Row
from studio.gpu.manager import GpuManager

MODEL = "mini-flux"
PICTURES = (10, 100, 1_000)
STEPS, TIMES = 15, 4
RESTART_SECONDS = 30.0  # goal: to start again on the most pictures
SLACK = 1.25  # goal: the factor above linear growth that is noise


@dataclass(frozen=True)
class Cost:
    """Holds the processor seconds of a training: `start` until its first step was done, `steps` for the later steps."""

    start: float
    steps: float


def measure(options: argparse.Namespace) -> list[Row]:
    """Measures how a training's processor time grows with its pictures and its steps; returns the report's rows.

    The time to the first step is measured by number of pictures, the time of the later steps by number of steps.
    `options` is not used.
    """
    del options
    with tempfile.TemporaryDirectory() as folder:
        return [*starts(Path(folder), PICTURES), *lengths(Path(folder), STEPS, TIMES)]


def starts(folder: Path, counts: Sequence[int]) -> Iterator[Row]:
    """Trains for one step on each number of pictures in `counts`; yields report rows with the processor seconds.

    Each number is measured twice: without and with cached encodings of the pictures. A row's ratio compares the seconds
    per picture with those at the first of `counts`. Pictures, caches and runs are written to `folder`.
    """
    least: dict[str, float] = {}
    for count in counts:
        items = _items(folder / f"{count}", count)
        for what in ("never seen", "from caches"):
            seconds = _train(folder / f"{count} {what}", items, 1, folder / f"cache {count}").start
            each = seconds / count
            ratio = each / least[what] if what in least else None
            yield Row(
                name=f"to the first step, {count} pictures {what}",
                value=seconds,
                unit="CPU s",
                peer=f"a picture of {counts[0]}" if ratio else "",
                ratio=ratio,
                goal=f"≤ {SLACK:g} ×" if ratio else "",
                ok=ratio <= SLACK if ratio else None,
            )
            least.setdefault(what, each)
    yield Row(
        name=f"again, {count} pictures", value=seconds, unit="CPU s", goal=f"≤ {RESTART_SECONDS:g} s",
        ok=seconds <= RESTART_SECONDS,
    )  # fmt: skip


def lengths(folder: Path, steps: int, times: int) -> Iterator[Row]:
    """Trains for `steps` steps and for `steps * times` steps; yields a row with the processor seconds of each.

    The seconds until the end of the first step are not counted; the encodings of the pictures come from a cache in
    `folder`. The ratio of the second row is 1 where the time grows in proportion to the steps.
    """
    items, cache = _items(folder / "pictures", 16), folder / "cache"
    _train(folder / "warm", items, 2, cache)
    short, long = (_train(folder / f"{length}", items, length + 1, cache).steps for length in (steps, times * steps))
    ratio = long / (times * short)
    yield Row(name=f"{steps} steps", value=short, unit="CPU s")
    yield Row(
        name=f"{times * steps} steps", value=long, unit="CPU s", peer=f"{times} × {steps} steps", ratio=ratio,
        goal=f"≤ {SLACK:g} ×", ok=ratio <= SLACK,
    )  # fmt: skip


def _train(folder: Path, items: Sequence[TrainItem], steps: int, cache: Path) -> Cost:
    """Trains the embedded FLUX for `steps` steps and returns what it cost; `cache` is the folder of its caches."""
    spec = next(spec for spec in MODELS if spec.name == MODEL)
    weights = Path(assets.__file__).parent / "mini" / "flux"
    params = spec.params(TrainParams, steps=steps, batch_size=1, save_every=0, sample_every=0)
    trainer: Trainer = load_class(spec.loop)(spec, weights)
    run = TrainRun(folder, tuple(items), params, trigger="ohwx", cache=cache)
    device = CpuDevice()
    marks = [time.process_time()]
    with GpuManager(device, device.total_bytes(), {}).lease(trainer.plan(run)) as lease:
        for event in trainer.train(run, lease, progress.ignore):
            if isinstance(event, StepDone):
                marks.append(time.process_time())
    return Cost(start=marks[1] - marks[0], steps=marks[-1] - marks[1])


def _items(folder: Path, count: int) -> list[TrainItem]:
    """Writes `count` different random pictures of 64 × 64 pixels, and returns them with captions."""
    folder.mkdir(parents=True)
    dice = random.Random(0)
    items = []
    for number in range(count):
        file = folder / f"{number:05d}.png"
        Image.frombytes("RGB", (8, 8), dice.randbytes(192)).resize((64, 64)).save(file)
        items.append(TrainItem(file, f"ohwx person, picture {number}"))
    return items
