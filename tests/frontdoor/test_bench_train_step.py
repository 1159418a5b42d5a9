"""How the training bench measures a run from outside, and compares the figures."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import psutil
import pytest

from frontdoor.bench.train_step import BEST, DEFAULT, rows
from frontdoor.bench.watched_run import WatchedRun, watch

COUNT = """
import sys, time
for number in (1, 2, 3):
    print(f"step {number} of 3", file=sys.stderr, flush=True)
    time.sleep(0.05)
"""
STEPS = re.compile(rb"step (\d+) of \d+")


def test_a_run_is_measured_by_the_steps_that_it_prints() -> None:
    """The first step is timed from the process's start, later ones between their lines; memory is the kernel's."""
    run = watch([sys.executable, "-c", COUNT], STEPS)
    assert 0 < run.step < run.first + 2 * run.step
    assert run.memory > 1 << 20


def test_a_run_may_be_ended_at_a_step() -> None:
    """At the given step the process is ended, and that is no failure."""
    run = watch([sys.executable, "-c", COUNT.replace("(1, 2, 3)", "range(1, 1000)")], STEPS, until=3)
    assert run.step > 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells it of another process")
def test_the_memory_is_the_runs_own() -> None:
    """It has no floor in the memory of the process that measures."""
    here = bytearray(os.urandom(1 << 20)) * 300
    assert watch([sys.executable, "-c", COUNT], STEPS).memory < len(here) / 2


def test_a_run_ends_with_the_one_who_watches(tmp_path: Path) -> None:
    """After an exception, here of a step that is no number, its process is gone."""
    file = tmp_path / "pid"
    endless = f"import os, sys, time; open({str(file)!r}, 'w').write(str(os.getpid())); "
    endless += "print('step one', file=sys.stderr, flush=True); time.sleep(600)"
    with pytest.raises(ValueError, match="one"):
        watch([sys.executable, "-c", endless], re.compile(rb"step (\w+)"))
    assert not psutil.pid_exists(int(file.read_text()))


def test_a_failed_run_is_an_error_with_its_output() -> None:
    """A process that fails has no figures: the error holds the end of its output."""
    with pytest.raises(RuntimeError, match="out of luck"):
        watch([sys.executable, "-c", "raise SystemExit('out of luck')"], STEPS)


def test_goals_are_ratios_to_the_peer() -> None:
    """The goals are 0.9 of the peer's best step, 0.6 of its default step, and half of its time to the first step."""
    ours, best, slow = (WatchedRun(5.0, 0.5, 2.0), WatchedRun(12.0, 0.6, 2.0), WatchedRun(12.0, 0.7, 3.0))
    measured = rows({"ours": [ours], BEST: [best], DEFAULT: [slow]})
    found = {(row.name, row.peer.partition(":")[0]): row for row in measured}
    assert found["a step", BEST].ok is True
    assert found["a step", DEFAULT].ok is False
    assert found["to the first step", BEST].ok is True
    assert found["peak memory", BEST].ok is True


def test_without_the_peer_nothing_is_met() -> None:
    """Without a peer every goal is missed, and the row names the option that gives one."""
    found = [row for row in rows({"ours": [WatchedRun(5.0, 0.5, 2.0)]}) if row.goal]
    assert found
    assert all(row.ok is False and "absent" in row.peer for row in found)
