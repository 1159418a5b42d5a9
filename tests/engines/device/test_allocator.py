"""What the C library does with memory that was freed."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
STEPS = """
import resource, sys
from engines.device.allocator import give_back, keep_small_blocks

def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        blocks = [bytearray(20 << 20) for _ in range(5)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

anew, known = faults(8), keep_small_blocks()
faults(2)
kept, held = faults(8), resident()
give_back()
print(anew, known, kept, held - resident())
"""


def test_a_step_lies_where_the_one_before_lay() -> None:
    """After it pages are faulted in once and not every time, and `give_back` still hands all of them to the system."""
    printed = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True, cwd=ROOT)
    anew, known, kept, returned = printed.stdout.split()
    assert (known == "True") == (platform.libc_ver()[0] == "glibc")
    if known == "True":
        assert int(kept) < int(anew) / 10
        assert int(returned) > 64 << 20
