"""Computes the values that a training reports, and writes them to TensorBoard files in the run's folder."""

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
_BAND_NAMES = ("low", "middle", "high")  # the noise levels between BANDS


class LossTally:
    """Sums up the losses of a training step's examples, in total and for low, middle and high noise levels (bands).

    `figures`, float32: the number of examples, the sum of losses and the sum of σ; then each band's number of examples;
    then each band's sum of losses. The figures of several processes can be added.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.figures = torch.zeros(3 + 2 * len(_BAND_NAMES), device=device)

    def add(self, sigma: Tensor, losses: Tensor) -> None:
        """Adds the examples of a batch to the sums: their noise levels `sigma` (B,) and their `losses` (B,).

        Everything stays on the tensors' device, so that the host does not wait for a GPU.
        """
        levels, found = sigma.detach().float(), losses.detach().float()
        band = torch.bucketize(levels, torch.tensor(BANDS, device=levels.device))
        within = (band[:, None] == torch.arange(len(_BAND_NAMES), device=levels.device)).float()
        self.figures[:3] += torch.stack([torch.ones_like(found).sum(), found.sum(), levels.sum()])
        self.figures[3:] += torch.cat([within.sum(0), (within * found[:, None]).sum(0)])


def mean_figures(figures: Tensor) -> tuple[float, float, tuple[float | None, ...]]:
    """Returns the mean loss, the mean noise level σ, and a tuple with the mean loss in each band of noise levels.

    `figures`: the sums of a LossTally. A band without examples has None.
    """
    count, loss, level, *bands = figures.tolist()
    counts, sums = bands[: len(_BAND_NAMES)], bands[len(_BAND_NAMES) :]
    return loss / count, level / count, tuple(s / n if n else None for n, s in zip(counts, sums, strict=True))


def peak_memory(device: torch.device) -> int:
    """Returns the peak of GPU memory that torch has allocated so far, in bytes.

    On a CPU it returns the RAM that the process uses now.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def with_tensorboard(events: Iterable[TrainEvent], run_folder: Path, begun: int) -> Iterator[TrainEvent]:
    """Yields a training's events unchanged, and writes its steps and previews to a TensorBoard file.

    The file lies in the run's folder. It gets each step's values and each preview's picture, and nothing of other
    events.
    `begun`: the step from which the training resumes, 0 for a new one. Older files may have steps after `begun`. The
    new file tells TensorBoard to ignore these, since the resumed training repeats them.
    """
    with closing(_EventFile(run_folder / "tensorboard", begun)) as file:
        for event in events:
            file.write(event)
            yield event


class _EventFile:
    """Writes one TensorBoard event file, in the caller's own thread.

    The file is a by-product: an error of the disk ends the file, not the training. tensorboardX's own writer passes
    events to a thread that such an error ends; then its queue fills, and the next caller waits for ever.
    """

    def __init__(self, folder: Path, begun: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter  # slow to import, and used by trainings alone
        from tensorboardX.proto.event_pb2 import SessionLog

        self._folder, self._writer, self._flushed = folder, None, time.monotonic()
        with self._ending_on_error():
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(folder / "events"), f".{begun}")
            self._append(begun + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, event: TrainEvent) -> None:
        """Writes a step's values or a preview to the file; ignores other events."""
        from tensorboardX import summary

        with self._ending_on_error():
            if isinstance(event, StepDone):
                for name, value in _scalars(event):
                    self._append(event.step, summary=summary.scalar(name, value))
            elif isinstance(event, SampleDrawn):
                picture = summary.image(f"preview/{event.index}", np.asarray(event.image), dataformats="HWC")
                self._append(event.step, summary=picture)
            if self._writer and time.monotonic() - self._flushed > _FLUSH_S:
                self._writer.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Flushes and closes the file."""
        with self._ending_on_error():
            if self._writer:
                self._writer.close()

    def _append(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        if self._writer:
            self._writer.write_event(Event(wall_time=time.time(), step=step, **content))

    @contextmanager
    def _ending_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            _LOG.warning("TensorBoard is told no more in %s: %s", self._folder, error)
            self._writer = None


def _scalars(event: StepDone) -> Iterator[tuple[str, float]]:
    """Yields the names and values that TensorBoard shows for a step."""
    yield "loss/all", event.loss
    bands = zip(_BAND_NAMES, event.bands, strict=True)
    yield from ((f"loss/{name}_noise", loss) for name, loss in bands if loss is not None)
    yield "training/learning_rate", event.learning_rate
    yield "training/gradient_norm", event.grad_norm
    yield "training/seconds_a_step", event.seconds
    yield "training/memory_in_GiB", event.memory / _GIB
