"""Trains a run's folder without the studio: `python -m engines.training.run RUN_DIR`.

With `accelerate launch -m engines.training.run RUN_DIR` several processes, on one machine or on several that share the
folder, divide each step among them. The checkpoints lie where the studio finds them: when the job is resumed there, it
ends with its version.
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
from engines.api.protocols import CheckpointSaved, Component, Device, ModelSpec, Plan, SampleDrawn, StepDone
from engines.catalogue.imports import bringing_in
from engines.catalogue.models import MODELS
from engines.training import runfile
from engines.training.runfile import RunFile

if __name__ == "__main__":
    # Nothing of a training is compiled; bitsandbytes would import torch's whole compiler in case it were.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
with bringing_in():
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    from engines.device.devices import CpuDevice, CudaDevice
    from engines.training.trainer import LoraTrainer
    from engines.training.workers import DistributedWorkers, SingleWorker, Workers

_LOG = logging.getLogger("engines.training.run")
_TIMEOUT = timedelta(hours=2)  # for which the other processes wait while one encodes, or draws previews
_EXIT_STOPPED = 130


def main(arguments: Sequence[str] | None = None, models: Sequence[ModelSpec] = MODELS) -> int:
    """Trains a run from the command line to its end, or until Ctrl-C; returns the process's exit code.

    Ctrl-C saves a checkpoint. `arguments`: the command line, None for that of the process; `models`: the
    registry rows of all known models. An expected failure is logged as its cause and a hint, without a traceback.
    """
    # 1. The arguments.
    parser = argparse.ArgumentParser(prog="engines.training.run", description="Train a run's folder, or go on with it.")
    parser.add_argument("run_dir", type=Path, help="a folder with a run.json; the Train tab shows where it lies")
    parser.add_argument("--weights", type=Path, help="the model's diffusers-layout folder, if it lies elsewhere here")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)

    # 2. The processes and the device that Accelerate gives to this one.
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=_TIMEOUT)])
    workers: Workers = DistributedWorkers(accelerator) if accelerator.num_processes > 1 else SingleWorker()
    try:
        # 3. The run, its model and its weights.
        file = runfile.read(options.run_dir)
        spec, weights = _spec(file.model, models), options.weights or file.weights
        if weights is None or not weights.is_dir():
            raise NotFound(
                f"The model's weights are not at {weights or 'any place known here'}.",
                "Name their folder with --weights.",
            )
        trainer = LoraTrainer(spec, weights, workers)
        on_card = accelerator.device.type == "cuda"
        device: Device = CudaDevice(accelerator.device.index or 0) if on_card else CpuDevice()
        if workers.main:
            _LOG.info("%s: %d processes on %s", file.run.folder, accelerator.num_processes, device.name)

        # 4. The training.
        with _stop_on_signal(workers):
            train(trainer, file, RunLease(trainer.plan(file.run), device), workers)
    except UserError as error:
        _LOG.error("%s\n%s", error.cause, error.hint)
        return 1
    except OSError as error:
        explained = from_disk(error, options.run_dir)
        if explained is None:
            raise
        _LOG.error("%s\n%s", explained.cause, explained.hint)
        return 1
    except Cancelled:
        _LOG.info("Stopped with a checkpoint; the same command goes on from there.")
        return _EXIT_STOPPED
    finally:
        accelerator.end_training()
    return 0


def train(trainer: LoraTrainer, file: RunFile, lease: RunLease, workers: Workers) -> None:
    """Trains a run, logs its progress, and appends its steps and previews to the event file in the run's folder.

    `lease`: gives access to the device. With several processes only the main one logs and writes. Raises: UserError if
    the run cannot be trained; Cancelled after a request to stop.
    """

    def on_step(step: int, total: int, message: str = "") -> None:
        if workers.stopping:
            raise Cancelled
        if not step and workers.main:
            _LOG.info("%s of %d  %s", step, total, message)

    for event in trainer.train(file.run, lease, on_step):
        if not workers.main:
            continue
        if isinstance(event, StepDone | SampleDrawn):
            runfile.append_event(file.run.folder, event)
        if isinstance(event, StepDone):
            words = "step %d of %d  loss %.4f  %.2f s"
            _LOG.info(words, event.step, event.total, event.loss, event.seconds)
        elif isinstance(event, CheckpointSaved):
            _LOG.info("checkpoint %s", event.adapter)


class RunLease:
    """Loads the components of each stage of a training onto the device, which no other job uses.

    A component that is needed in two successive stages stays on the device between them.
    """

    def __init__(self, plan: Plan, device: Device) -> None:
        self.device = device.torch_device
        self._stages = {stage.name: stage for stage in plan.stages}
        self._card = device
        self._placed: dict[str, tuple[Component, Any]] = {}  # with its module on the device

    @contextmanager
    def stage(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Loads a stage's components onto the device for a `with` block, after unloading all others.

        `name`: the stage, "encode" or "train". Yields the modules on the device by component name, such as "vae".
        """
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


def _spec(name: str, models: Sequence[ModelSpec]) -> ModelSpec:
    """Returns the registry row of a model, and checks that it can be trained. Raises: NotFound, BadInput."""
    spec = next((spec for spec in models if spec.name == name), None)
    if spec is None:
        raise NotFound(f"There is no model named {name}.", "Train with the version that the run was made with.")
    if not spec.trainer:
        raise BadInput(f"{name} cannot be trained.", "Choose a generator or an editor.")
    return spec


@contextmanager
def _stop_on_signal(workers: Workers) -> Iterator[None]:
    """Makes Ctrl-C and SIGTERM end the run as a cancel does, inside a `with` block."""

    def request_stop(*_: object) -> None:
        workers.stop_requested = True

    before = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
