"""Train a run's folder without the studio: `python -m engines.training.run RUN_DIR`.

Under `accelerate launch -m engines.training.run RUN_DIR` several processes, on one machine or on many that see the
folder, share each step. The checkpoints lie where the studio looks for them: resumed there, the job ends with its
version.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from engines.api.errors import BadInput, Cancelled, NotFound, UserError, from_disk
from engines.api.protocols import CheckpointSaved, Component, Device, ModelSpec, Plan, SampleDrawn, StepDone, TrainEvent
from engines.catalogue.imports import bringing_in
from engines.catalogue.models import MODELS
from engines.training import runfile
from engines.training.runfile import RunFile

# Nothing of a training is compiled; bitsandbytes would bring in torch's whole compiler, in case.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
with bringing_in():
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    from engines.device.devices import CpuDevice, CudaDevice
    from engines.training.trainer import LoraTrainer
    from engines.training.workers import Alone, Several, Workers

_LOG = logging.getLogger("engines.training.run")
_PATIENCE = timedelta(hours=2)  # how long others wait while one encodes, or draws previews
_STOPPED = 130


def main(arguments: Sequence[str] | None = None, models: Sequence[ModelSpec] = MODELS) -> int:
    """Train to the end or to a Ctrl-C, which keeps a checkpoint; an expected failure is two lines, not a traceback."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)])
    workers = Several(accelerator) if accelerator.num_processes > 1 else Alone()
    try:
        file = runfile.read(options.run_dir)
        trainer = LoraTrainer(_spec(file.model, models), _weights(options.weights or file.weights), workers)
        device = _device(accelerator)
        if workers.main:
            _LOG.info("%s: %d processes on %s", file.run.folder, accelerator.num_processes, device.name)
        with _stop_on_signal(workers):
            train(trainer, file, RunLease(trainer.plan(file.run), device), workers)
    except UserError as error:
        _LOG.error("%s\n%s", error.cause, error.hint)
        return 1
    except OSError as error:
        told = from_disk(error, options.run_dir)
        if told is None:
            raise
        _LOG.error("%s\n%s", told.cause, told.hint)
        return 1
    except Cancelled:
        _LOG.info("Stopped with a checkpoint; the same command goes on from there.")
        return _STOPPED
    finally:
        accelerator.end_training()
    return 0


def train(trainer: LoraTrainer, file: RunFile, lease: RunLease, workers: Workers) -> None:
    """The whole run; the main process keeps what it tells. Raises: UserError, Cancelled."""

    def on_step(step: int, total: int, message: str = "") -> None:
        if workers.stopping:
            raise Cancelled
        if not step and workers.main:
            _LOG.info("%s of %d  %s", step, total, message)

    for event in trainer.train(file.run, lease, on_step):
        if not workers.main:
            continue
        if isinstance(event, StepDone | SampleDrawn):
            runfile.tell(file.run.folder, event)
        _say(event)


class RunLease:
    """A card of our own: a stage's parts stay for the next one that wants them, the others make room first."""

    def __init__(self, plan: Plan, device: Device) -> None:
        self.device = device.torch_device
        self._stages = {stage.name: stage for stage in plan.stages}
        self._card = device
        self._placed: dict[str, tuple[Component, Any]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Place what is missing; yields name (the part of its key after `/`) -> module."""
        wanted = {component.key: component for component in self._stages[name].components}
        for key in [key for key in self._placed if key not in wanted]:
            component, module = self._placed.pop(key)
            self._card.drop(module, component.bytes)
            del module
        self._card.reclaim()
        for key, component in wanted.items():
            if key not in self._placed:
                self._placed[key] = component, self._card.put(component.load(), component.bytes)
        yield {key.rpartition("/")[2]: self._placed[key][1] for key in wanted}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="engines.training.run", description="Train a run's folder, or go on with it.")
    parser.add_argument("run_dir", type=Path, help="a folder with a run.json; the Train tab shows where it lies")
    parser.add_argument("--weights", type=Path, help="the model's diffusers-layout folder, if it lies elsewhere here")
    return parser


def _spec(name: str, models: Sequence[ModelSpec]) -> ModelSpec:
    """The row of a model that this loop trains. Raises: NotFound, BadInput."""
    spec = next((spec for spec in models if spec.name == name), None)
    if spec is None:
        raise NotFound(f"There is no model named {name}.", "Train with the version that the run was made with.")
    if not spec.trainer:
        raise BadInput(f"{name} cannot be trained.", "Choose a generator or an editor.")
    return spec


def _device(accelerator: Accelerator) -> Device:
    """The card that Accelerate gave this process, or the machine's memory."""
    if accelerator.device.type == "cuda":
        return CudaDevice(accelerator.device.index or 0)
    return CpuDevice()


def _weights(folder: Path | None) -> Path:
    """Raises: NotFound."""
    if folder is None or not folder.is_dir():
        raise NotFound(
            f"The model's weights are not at {folder or 'any place known here'}.", "Name their folder with --weights."
        )
    return folder


@contextmanager
def _stop_on_signal(workers: Workers) -> Iterator[None]:
    """Ctrl-C and a polite kill end the run as a cancel does."""

    def ask(*_: object) -> None:
        workers.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(event: TrainEvent) -> None:
    if isinstance(event, StepDone):
        words = "step %d of %d  loss %.4f  %.2f s"
        _LOG.info(words, event.step, event.total, event.loss, event.seconds)
    elif isinstance(event, CheckpointSaved):
        _LOG.info("checkpoint %s", event.adapter)


if __name__ == "__main__":
    sys.exit(main())
