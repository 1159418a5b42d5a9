"""A training in its own process, measured from outside: by what it prints, and by the kernel's figures."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class WatchedRun:
    """Holds the measured figures of one training.

    `first` is the seconds until its first step was done, `step` the mean seconds of each step after it, `memory` the
    peak host memory of its process in bytes.
    """

    first: float
    step: float
    memory: float


def watch(command: list[str], steps: re.Pattern[bytes], until: int | None = None) -> WatchedRun:
    """Runs a training's `command` as a process and returns its measured figures.

    `steps` is a pattern that finds the finished steps in what the process writes to its standard error; its group is
    the step's number. At step `until` the process is ended; None lets it finish. Raises: RuntimeError with the end of
    the output when the training fails.
    """
    began, seen, said = time.perf_counter(), dict[int, float](), b""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    assert process.stderr is not None
    while block := os.read(process.stderr.fileno(), 1 << 16):
        said = (said + block)[-(1 << 16) :]
        for found in steps.findall(said):
            if int(found):
                seen.setdefault(int(found), time.perf_counter() - began)
        if until in seen:
            os.kill(process.pid, signal.SIGTERM)  # not Popen's, which might wait for the process before we do
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if (process.returncode and until not in seen) or len(seen) < 2:
        raise RuntimeError(f"{' '.join(command[:4])} … failed:\n{said[-3000:].decode(errors='replace')}")
    first, last = min(seen), max(seen)
    unit = 1 if sys.platform == "darwin" else 1024
    return WatchedRun(seen[first], (seen[last] - seen[first]) / (last - first), usage.ru_maxrss * unit)
