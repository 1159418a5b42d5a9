"""What a training tells of itself: the loss by noise level, memory, and TensorBoard's files in the run's folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from engines.api.protocols import BANDS, SampleDrawn, StepDone, TrainEvent

_LOG = logging.getLogger(__name__)
_GIB = 1 << 30
_FLUSH_S = 120.0  # as tensorboardX does
_NAMES = ("low", "middle", "high")  # noise levels, as BANDS parts them


class Tally:
    """A step's examples as sums, so that several processes can add theirs: count, loss, σ, then both per band."""

    def __init__(self) -> None:
        self.figures = torch.zeros(3 + 2 * len(_NAMES))

    def add(self, sigma: Tensor, losses: Tensor) -> None:
        """Count examples: noise levels (B,), losses (B,)."""
        levels, found = sigma.detach().cpu().float(), losses.detach().cpu().float()
        band = torch.bucketize(levels, torch.tensor(BANDS))
        self.figures[:3] += torch.stack([torch.tensor(float(len(found))), found.sum(), levels.sum()])
        self.figures[3:] += torch.cat([torch.bincount(band, minlength=3), torch.bincount(band, found, minlength=3)])


def read_tally(figures: Tensor) -> tuple[float, float, tuple[float | None, ...]]:
    """Mean loss, mean σ, and the mean loss of each band, None where no example fell into it."""
    count, loss, level, *bands = figures.tolist()
    counts, sums = bands[: len(_NAMES)], bands[len(_NAMES) :]
    return loss / count, level / count, tuple(s / n if n else None for n, s in zip(counts, sums, strict=True))


def peak_memory(device: torch.device) -> int:
    """The most bytes in use on a card so far; on a CPU what the process holds now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def shown(events: Iterable[TrainEvent], run_folder: Path, begun: int) -> Iterator[TrainEvent]:
    """Hand events on, and write them as TensorBoard reads them; what was told after step `begun` counts no more."""
    with closing(_Board(run_folder / "tensorboard", begun)) as board:
        for event in events:
            board.tell(event)
            yield event


class _Board:
    """One event file of TensorBoard, written in the caller's own thread.

    It is a by-product: what the disk refuses ends the board, not the training. tensorboardX's own writer hands events
    to a thread, which any refusal ends; then its queue fills, and who adds to it waits for ever.
    """

    def __init__(self, folder: Path, begun: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter  # slow to import, and wanted by none but a training
        from tensorboardX.proto.event_pb2 import SessionLog

        self._folder, self._writer, self._flushed = folder, None, time.monotonic()
        with self._giving_up():
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(folder / "events"), f".{begun}")
            self._write(begun + 1, session_log=SessionLog(status=SessionLog.START))

    def tell(self, event: TrainEvent) -> None:
        """Write what there is to show of an event."""
        from tensorboardX import summary

        with self._giving_up():
            if isinstance(event, StepDone):
                for name, value in _scalars(event):
                    self._write(event.step, summary=summary.scalar(name, value))
            elif isinstance(event, SampleDrawn):
                picture = summary.image(f"preview/{event.index}", np.asarray(event.image), dataformats="HWC")
                self._write(event.step, summary=picture)
            if self._writer and time.monotonic() - self._flushed > _FLUSH_S:
                self._writer.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is left."""
        with self._giving_up():
            if self._writer:
                self._writer.close()

    def _write(self, step: int, **what: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        if self._writer:
            self._writer.write_event(Event(wall_time=time.time(), step=step, **what))

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            _LOG.warning("TensorBoard is told no more in %s: %s", self._folder, error)
            self._writer = None


def _scalars(event: StepDone) -> Iterator[tuple[str, float]]:
    yield "loss/all", event.loss
    bands = zip(_NAMES, event.bands, strict=True)
    yield from ((f"loss/{name}_noise", loss) for name, loss in bands if loss is not None)
    yield "training/learning_rate", event.learning_rate
    yield "training/gradient_norm", event.grad_norm
    yield "training/seconds_a_step", event.seconds
    yield "training/memory_in_GiB", event.memory / _GIB
