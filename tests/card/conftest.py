"""The played card's guard, compiled once where a compiler is."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
Play = Callable[..., list[Any]]  # a module of tests.card and its arguments -> the lines of JSON that it prints


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Runs a module of tests.card in a process that believes in the card for good."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("No C++ compiler is here to build the played card's guard. On Debian: apt install g++")
    spec = importlib.util.find_spec("torch")
    assert spec and spec.submodule_search_locations
    torch = Path(next(iter(spec.submodule_search_locations)))
    guard = tmp_path_factory.mktemp("guard") / "guard.so"
    includes = [f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"]
    source = Path(__file__).with_name("guard.cpp")
    libraries = [f"-L{torch / 'lib'}", "-lc10", "-ltorch_cpu"]
    flags = ["-std=c++20", "-O1", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, *includes, str(source), "-o", str(guard), *libraries], check=True)

    def run(module: str, *arguments: str) -> list[Any]:
        command = [sys.executable, "-m", f"tests.card.{module}", *arguments]
        env = {**os.environ, "PLAYED_GUARD": str(guard), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-5000:]
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run
