"""Tests the command that trains a run's folder: alone, on several processes, and its failures."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import assets
from engines.api.protocols import SampleDrawn, StepDone, TrainRun
from engines.training.runfile import RunFile, events, write

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
_MINI = Path(assets.__file__).parent / "mini" / "flux"
_KNOBS = {"steps": 3, "batch_size": 3, "gradient_accumulation": 2, "save_every": 0, "rank": 2, "learning_rate": 0.05}


def _write(run: TrainRun) -> Path:
    """Writes a run of the embedded FLUX on four pictures."""
    write(RunFile("mini-flux", _MINI, dataclasses.replace(run, items=run.items[:4])))
    return run.folder


def _steps(folder: Path) -> list[StepDone]:
    return [event for event in events(folder) if isinstance(event, StepDone)]


def _adapter(folder: Path) -> dict[str, np.ndarray]:
    return load_file(max((folder / "checkpoints").glob("step-*")) / "adapter.safetensors")


def _launch(folder: Path, processes: int) -> str:
    """Trains a run with `accelerate launch` on the CPU; returns all processes' standard error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # `--cpu` alone would want MPI; the launcher for many cards starts processes of any kind.
    how = ["--multi_gpu", "--num_processes", str(processes), "--num_machines", "1", "--main_process_port", port]
    plain = ["--mixed_precision", "no", "--dynamo_backend", "no"]
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *how, *plain, "-m", "engines.training.run", str(folder)],
        cwd=ROOT,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_two_processes_learn_what_one_does(make_run, tmp_path: Path) -> None:
    """Under `accelerate launch` each takes half of the examples: losses, bands and weights agree, and one writes files.

    A step has two batches of three examples, so that the halves are not whole batches. Where products are in
    bfloat16, other batch sizes round differently: after the first step weights and losses differ a little.
    """
    import torch

    from engines.training.precision import fast_bfloat16
    from engines.training.run import main

    close, worst = (5e-3, 0.1) if fast_bfloat16(torch.device("cpu")) else (1e-4, 1e-3)

    alone = _write(make_run(tmp_path / "alone", cache=tmp_path / "cache", **_KNOBS))
    shared = _write(make_run(tmp_path / "shared", cache=tmp_path / "cache", **_KNOBS))
    assert main([str(alone)]) == 0

    said = _launch(shared, 2)

    assert said.count("2 processes") == said.count("step 3 of 3") == 1
    one, two = _steps(alone), _steps(shared)
    assert [step.step for step in two] == [1, 2, 3]
    assert two[0].loss == pytest.approx(one[0].loss, rel=1e-4)
    assert [step.loss for step in two] == pytest.approx([step.loss for step in one], rel=close)
    assert [step.sigma for step in two] == pytest.approx([step.sigma for step in one], rel=1e-5)
    assert [step.grad_norm for step in two] == pytest.approx([step.grad_norm for step in one], rel=10 * close)
    assert [[band is None for band in step.bands] for step in two] == [[b is None for b in s.bands] for s in one]
    expected, found = _adapter(alone), _adapter(shared)
    assert expected.keys() == found.keys()
    parted = [np.linalg.norm(found[name] - expected[name]) / np.linalg.norm(expected[name]) for name in expected]
    assert np.median(parted) < 5 * close and max(parted) < worst
    assert [event.step for event in events(shared) if isinstance(event, SampleDrawn)] == [0, 3]


def test_too_few_examples_for_all_are_refused() -> None:
    """A step with fewer examples than processes is refused with the knob to raise."""
    from engines.api.errors import BadInput
    from engines.training.workers import DistributedWorkers

    class Three:
        num_processes, process_index, is_main_process = 3, 1, False

    workers = DistributedWorkers(Three())  # type: ignore[arg-type]

    assert [workers.share(0, 4), workers.share(4, 4)] == [[1], [0, 3]]
    with pytest.raises(BadInput, match="2 examples for 3 processes") as error:
        workers.check(2)
    assert "gradient_accumulation" in error.value.hint


def test_every_example_is_somebodys() -> None:
    """Each row of each part belongs to exactly one process, for any number of processes."""
    from engines.training.workers import DistributedWorkers

    for processes in (1, 2, 3, 5):
        ours = []
        for index in range(processes):
            me = type("Me", (), {"num_processes": processes, "process_index": index, "is_main_process": not index})()
            ours += [(part, row) for part in range(3) for row in DistributedWorkers(me).share(part * 4, 4)]
        assert sorted(ours) == [(part, row) for part in range(3) for row in range(4)]


def test_what_cannot_be_trained_says_why(make_run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No run, no such model, missing weights, a folder in use: two lines and exit code 1."""
    from engines.training.checkpoint import locked
    from engines.training.run import main

    folder = _write(make_run(tmp_path / "run", previews=False, **_KNOBS))
    strange = make_run(tmp_path / "strange")
    write(RunFile("nobody-knows", _MINI, strange))

    codes = [main([str(tmp_path)]), main([str(strange.folder)]), main([str(folder), "--weights", str(tmp_path / "no")])]
    with locked(folder):
        codes.append(main([str(folder)]))

    assert codes == [1, 1, 1, 1]
    for words in ("There is no", "nobody-knows", "--weights", "Another process is training"):
        assert words in caplog.text
