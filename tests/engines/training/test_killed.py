"""Tests that a training killed at any moment resumes as if it had never been interrupted."""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from engines.api.protocols import SampleDrawn
from engines.training.runfile import RunFile, events, write

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
MODELS = {
    "flux": ("mini-flux", ROOT / "assets/mini/flux"),
    "qwen-edit": ("mini-qwen-edit", ROOT / "assets/mini/qwen_edit"),
}
STEPS, KILLS, CALLS = 26, 20, 9000  # calls: those of a step and a half
KNOBS = {
    "steps": STEPS,
    "save_every": 2,
    "sample_every": 6,
    "batch_size": 1,
    "rank": 16,  # enough for some of the moments to be 8-bit
    "optimizer": "adamw8bit",
    "ema_decay": 0.9,
}


def _train(runs: list[tuple[Path, list[tuple[int, int]], bool]]) -> list[list[int]]:
    """Returns how each process of each run ended."""
    told = json.dumps([(str(folder), kills, stale) for folder, kills, stale in runs])
    script = [sys.executable, "-m", "tests.engines.training.killing", told]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ended: list[list[int]] = json.loads(done.stdout)
    return ended


def _weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / f"checkpoints/step-{STEPS:06d}/adapter.safetensors")


def _previews(folder: Path) -> dict[int, bytes]:
    return {told.step: told.image.tobytes() for told in events(folder) if isinstance(told, SampleDrawn)}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _kills(seed: str) -> list[tuple[int, int]]:
    """Returns the (step, calls) at which the processes die, drawn from the whole run."""
    dice = random.Random(seed)
    return [(step, dice.randint(1, CALLS)) for step in sorted(dice.sample(range(1, STEPS - 3), KILLS))]


def test_twenty_kills_change_nothing(make_run, tmp_path: Path) -> None:
    """Each embedded model, killed at twenty random moments, ends with the unbroken run's weights to the bit.

    It has 8-bit moments, an average and previews, and all its processes together report the unbroken run's previews. A
    resume with another optimiser state ends with other weights, so the comparison can fail.
    """
    folders = {}
    for family, (model, weights) in MODELS.items():
        run = make_run(tmp_path, family, cache=tmp_path / "cache", **KNOBS)
        folders[family] = [tmp_path / family / name for name in ("whole", "broken", "stale")]
        for folder in folders[family]:
            write(RunFile(model, weights, dataclasses.replace(run, folder=folder)))
    flux, qwen = folders.values()

    ended = _train([
        (flux[0], [], False),
        (flux[1], _kills("flux"), False),
        (flux[2], [(9, 1)], True),
        (qwen[0], [], False),
        (qwen[1], _kills("qwen-edit"), False),
    ])  # fmt: skip

    killed = [signal.SIGKILL] * KILLS + [0]
    assert ended == [[0], killed, [signal.SIGKILL, 0], [0], killed]
    for whole, broken, _ in (flux, qwen):
        assert _same(_weights(whole), _weights(broken))
        assert any(value.any() for name, value in _weights(broken).items() if "lora_B" in name)
        assert sorted(_previews(whole)) == [*range(0, STEPS, KNOBS["sample_every"]), STEPS]
        assert _previews(whole) == _previews(broken)
    assert not _same(_weights(flux[0]), _weights(flux[2]))
