"""How the training bench watches a run, and what it makes of the figures."""

from __future__ import annotations

import re
import sys

import pytest

from frontdoor.bench.watched_run import WatchedRun, watch
from frontdoor.bench.train_step import BEST, DEFAULT, rows

COUNT = """
import sys, time
for number in (1, 2, 3):
    print(f"step {number} of 3", file=sys.stderr, flush=True)
    time.sleep(0.05)
"""
STEPS = re.compile(rb"step (\d+) of \d+")


def test_a_course_is_read_off_what_a_run_prints() -> None:
    """The first step counts from the start of the process, a step from one line to the next, memory from the kernel."""
    course = watch([sys.executable, "-c", COUNT], STEPS)
    assert 0 < course.step < course.first + 2 * course.step
    assert course.memory > 1 << 20


def test_a_course_may_end_before_the_run() -> None:
    """Who only asks for some steps waits for no more; a process that was told to end has not failed."""
    course = watch([sys.executable, "-c", COUNT.replace("(1, 2, 3)", "range(1, 1000)")], STEPS, until=3)
    assert course.step > 0


def test_a_failed_run_says_its_last_words() -> None:
    """A peer that dies is no fast peer."""
    with pytest.raises(RuntimeError, match="out of luck"):
        watch([sys.executable, "-c", "raise SystemExit('out of luck')"], STEPS)


def test_goals_are_ratios_to_the_peer() -> None:
    """Nine tenths of its best and six tenths of its defaults; the first step in half of its time."""
    ours, best, slow = (WatchedRun(5.0, 0.5, 2.0), WatchedRun(12.0, 0.6, 2.0), WatchedRun(12.0, 0.7, 3.0))
    told = rows({"ours": [ours], BEST: [best], DEFAULT: [slow]})
    found = {(row.name, row.peer.partition(":")[0]): row for row in told}
    assert found["a step", BEST].ok is True
    assert found["a step", DEFAULT].ok is False
    assert found["to the first step", BEST].ok is True
    assert found["peak memory", BEST].ok is True


def test_without_the_peer_nothing_is_met() -> None:
    """An absent peer is said, never passed."""
    found = [row for row in rows({"ours": [WatchedRun(5.0, 0.5, 2.0)]}) if row.goal]
    assert found
    assert all(row.ok is False and "absent" in row.peer for row in found)
