"""What a training tells of itself: the loss by noise level, memory, and TensorBoard's files in the run's folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor

from engines.api import BANDS, SampleDrawn, StepDone, TrainEvent

_GIB = 1 << 30
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
    from tensorboardX import SummaryWriter  # slow to import, and wanted by none but a training

    with closing(SummaryWriter(str(run_folder / "tensorboard"), purge_step=begun + 1)) as board:
        for event in events:
            if isinstance(event, StepDone):
                for name, value in _scalars(event):
                    board.add_scalar(name, value, event.step)
            elif isinstance(event, SampleDrawn):
                board.add_image(f"preview/{event.index}", np.asarray(event.image), event.step, dataformats="HWC")
            yield event


def _scalars(event: StepDone) -> Iterator[tuple[str, float]]:
    yield "loss/all", event.loss
    bands = zip(_NAMES, event.bands, strict=True)
    yield from ((f"loss/{name}_noise", loss) for name, loss in bands if loss is not None)
    yield "training/learning_rate", event.learning_rate
    yield "training/gradient_norm", event.grad_norm
    yield "training/seconds_a_step", event.seconds
    yield "training/memory_in_GiB", event.memory / _GIB
