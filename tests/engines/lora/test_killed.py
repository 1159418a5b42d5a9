"""SIGKILL at any moment of a training, and what is resumed is what was never interrupted."""

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

from engines.runfile import RunFile, write

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
STEPS, KILLS, CALLS = 26, 10, 9000  # calls: those of a step and a half


def _train(runs: list[tuple[Path, list[tuple[int, int]]]]) -> list[list[int]]:
    """How each process of each run ended."""
    told = json.dumps([(str(folder), kills) for folder, kills in runs])
    script = [sys.executable, "-m", "tests.engines.lora.killing", told]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ended: list[list[int]] = json.loads(done.stdout)
    return ended


def _weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / f"checkpoints/step-{STEPS:06d}/adapter.safetensors")


def _kills(seed: str) -> list[tuple[int, int]]:
    """(step, calls): when each process dies, drawn from everywhere in the run."""
    dice = random.Random(seed)
    return [(step, dice.randint(1, CALLS)) for step in sorted(dice.sample(range(1, STEPS - 3), KILLS))]


def test_twenty_kills_change_nothing(make_trainer, make_run, tmp_path: Path) -> None:
    """Killed at ten random moments in each family, whatever it was doing, the weights are the unbroken run's bits."""
    knobs = {"previews": False, "steps": STEPS, "save_every": 2}
    folders = {}
    for family in ("flux", "qwen-edit"):
        trainer, whole = make_trainer(family), make_run(tmp_path / family / "whole", family, **knobs)
        broken = dataclasses.replace(whole, folder=tmp_path / family / "broken")
        for run in (whole, broken):
            write(RunFile(trainer.spec.name, trainer.folder, run))
        folders[family] = whole.folder, broken.folder

    ended = _train([run for name, (a, b) in folders.items() for run in ((a, []), (b, _kills(name)))])

    assert ended == [[0], [signal.SIGKILL] * KILLS + [0]] * 2
    for whole, broken in folders.values():
        expected, found = _weights(whole), _weights(broken)
        assert expected.keys() == found.keys()
        assert all(np.array_equal(expected[name], found[name]) for name in expected)
        assert any(value.any() for name, value in found.items() if "lora_B" in name)
