"""A training in its own process, measured from outside: by what it prints, and by the kernel's figures."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")  # Linux's figure; wait4's is at least the peak of the parent process


@dataclass(frozen=True)
class WatchedRun:
    """Holds the measured figures of one training.

    `first` is the seconds until its first step was done, `step` the mean seconds of each step after it, `memory` the
    peak host memory of its process in bytes, on Linux until its last output.
    """

    first: float
    step: float
    memory: float


def watch(command: list[str], steps: re.Pattern[bytes], until: int | None = None) -> WatchedRun:
    """Runs a training's `command` as a process and returns its measured figures.

    `steps` is a pattern that finds the finished steps in what the process writes to its standard error; its group is
    the step's number. At step `until` the process is ended; None lets it finish. Raises: RuntimeError with the end of
    the output when the training fails. After any other exception, such as Ctrl-C's, the process does not go on.
    """
    began, seen, said, memory = time.perf_counter(), dict[int, float](), b"", 0
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        status = Path(f"/proc/{process.pid}/status")
        try:
            while block := os.read(process.stderr.fileno(), 1 << 16):
                said = (said + block)[-(1 << 16) :]
                for found in steps.findall(said):
                    if int(found):
                        seen.setdefault(int(found), time.perf_counter() - began)
                if status.exists() and (peak := _PEAK.search(status.read_text(encoding="utf-8"))):
                    memory = int(peak[1]) * 1024
                if until in seen:
                    os.kill(process.pid, signal.SIGTERM)  # not Popen's, which might wait for the process before we do
            _, code, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(code)
        finally:
            process.kill()  # one that has ended is let alone
    if (process.returncode and until not in seen) or len(seen) < 2:
        raise RuntimeError(f"{' '.join(command[:4])} … failed:\n{said[-3000:].decode(errors='replace')}")
    first, last = min(seen), max(seen)
    memory = memory or usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return WatchedRun(seen[first], (seen[last] - seen[first]) / (last - first), memory)
