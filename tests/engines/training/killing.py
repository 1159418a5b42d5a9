"""Trains runs' folders in processes that die by SIGKILL, each at a given step and call, until the runs are done.

`python -m tests.engines.training.killing '[[RUN_DIR, [[step, calls], ...], stale], ...]'` prints how each process
ended, run by run; a stale run gets the optimiser state of its oldest checkpoint in its newest. Each process is a fork
of one that has imported everything and computed nothing, so that it costs its training alone.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType

import bitsandbytes  # noqa: F401  imported before the forks
import torch
from tensorboardX import SummaryWriter  # noqa: F401  the same

from engines.api.protocols import CheckpointSaved
from engines.catalogue.models import MODELS
from engines.families.flux import training as flux  # noqa: F401  imported before the forks
from engines.families.qwen_edit import training as qwen_edit  # noqa: F401  imported before the forks
from engines.training import runfile
from engines.training.trainer import LoraTrainer
from tests.engines.conftest import HostLease

ROWS = {row.name: row for row in MODELS}


class _Fuse:
    """Kills its own process some function calls after a step, as a power failure would."""

    def __init__(self, step: int, calls: int) -> None:
        self.step, self.calls = step, calls

    def on_step(self, step: int, total: int, message: str = "") -> None:
        if step >= self.step:
            sys.setprofile(self._count)

    def _count(self, frame: FrameType, event: str, argument: object) -> None:
        self.calls -= 1
        if self.calls <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def train(folder: Path, fuse: _Fuse) -> None:
    """Resumes the run in the folder and keeps its events, as the command does."""
    file = runfile.read(folder)
    trainer = LoraTrainer(ROWS[file.model], file.weights)
    for event in trainer.train(file.run, HostLease(trainer.plan(file.run)), fuse.on_step):
        if not isinstance(event, CheckpointSaved):
            runfile.append_event(folder, event)


def in_a_process_of_its_own(folder: Path, fuse: _Fuse) -> int:
    """Returns the signal that ended the process, 0 for none. Raises: RuntimeError when the training failed."""
    child = os.fork()
    if not child:
        code = 1
        try:
            train(folder, fuse)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("the training failed")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def main(runs: list[tuple[str, list[tuple[int, int]], bool]]) -> None:
    """Trains each run with its kills, and then to its end; prints the processes' signals."""
    torch.set_num_threads(1)
    for folder, _, _ in runs:
        _import_all(runfile.read(Path(folder)).weights)
    gc.freeze()  # what was imported stays: no fork need look through it
    print(json.dumps([_live_and_die(Path(folder), kills, stale) for folder, kills, stale in runs]))


def _live_and_die(folder: Path, kills: list[tuple[int, int]], stale: bool) -> list[int]:
    ended = [in_a_process_of_its_own(folder, _Fuse(*kill)) for kill in kills]
    if stale:
        oldest, *_, newest = sorted((folder / "checkpoints").glob("step-*"))
        shutil.copyfile(oldest / "optimizer.pt", newest / "optimizer.pt")
    return [*ended, in_a_process_of_its_own(folder, _Fuse(sys.maxsize, 0))]


def _import_all(weights: Path) -> None:
    """Imports the classes of a model's parts."""
    index = json.loads((weights / "model_index.json").read_text())
    for library, name in (entry for entry in index.values() if isinstance(entry, list)):
        getattr(import_module(library), name)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
