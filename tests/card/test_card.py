"""The embedded family's jobs on a CUDA card that the CPU plays: the same pictures, no waiting, no byte unplanned."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
Seen = Mapping[str, Any]  # what rehearsal.Seen holds

DRAWN = ("generate", "edit", "caption")  # the first word of the jobs whose pictures and words are compared
LONGER = (("generate", "generate longer"), ("edit", "edit longer"))
TRAINED_LONGER = (("train", "train longer"), ("refine", "refine longer"), ("refine nf4", "refine nf4 longer"))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, Seen]]:
    """What every job did, by side (cpu, card, ladder) and name; in a process that believes in the card for good."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("No C++ compiler is here to build the played card's guard. On Debian: apt install g++")
    folder = tmp_path_factory.mktemp("card")
    spec = importlib.util.find_spec("torch")
    assert spec and spec.submodule_search_locations
    torch = Path(next(iter(spec.submodule_search_locations)))
    guard = folder / "guard.so"
    includes = [f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"]
    source = Path(__file__).with_name("guard.cpp")
    libraries = [f"-L{torch / 'lib'}", "-lc10", "-ltorch_cpu"]
    flags = ["-std=c++20", "-O1", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, *includes, str(source), "-o", str(guard), *libraries], check=True)
    command = [sys.executable, "-m", "tests.card.rehearsal", str(folder)]
    env = {**os.environ, "PLAYED_GUARD": str(guard), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    found: Mapping[str, Mapping[str, Seen]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_pictures_and_words_are_the_cpus_to_the_bit(played: Mapping[str, Mapping[str, Seen]]) -> None:
    """What is drawn, edited and described on the card is what the CPU makes, also with LoRAs and in few steps."""
    compared = [name for name in played["cpu"] if name.startswith(DRAWN)]
    assert len(compared) > 10
    assert {name: played["card"][name]["made"] for name in compared} == {
        name: played["cpu"][name]["made"] for name in compared
    }


def test_the_host_waits_for_no_denoising_step(played: Mapping[str, Mapping[str, Seen]]) -> None:
    """Three more steps make the host wait not once more."""
    for few, many in LONGER:
        assert played["card"][few]["waits"] == played["card"][many]["waits"]


def test_the_host_waits_once_a_training_step(played: Mapping[str, Mapping[str, Seen]]) -> None:
    """Three more steps make the host wait at most three times more, for the figures that a step reports."""
    for few, many in TRAINED_LONGER:
        before, after = (sum(played["card"][name]["waits"].values()) for name in (few, many))
        assert after - before <= 3, (played["card"][few]["waits"], played["card"][many]["waits"])


def test_what_is_planned_is_enough(played: Mapping[str, Mapping[str, Seen]]) -> None:
    """No job takes more bytes of the card than the hungriest of its stages was planned with."""
    for name, seen in played["card"].items():
        assert 0 < seen["peak"] <= seen["planned"], name


def test_a_small_card_does_it_or_says_why(played: Mapping[str, Mapping[str, Seen]]) -> None:
    """At each size a job ends with the same pictures, or in words."""
    whole = {name: played["card"][name]["made"] for name in ("generate", "edit")}
    for name, seen in played["ladder"].items():
        assert seen["denied"] or seen["made"] == whole[name.split()[0]], name
    assert any(seen["denied"] for seen in played["ladder"].values())
    assert any(seen["made"] for seen in played["ladder"].values())
