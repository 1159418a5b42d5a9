"""`launch.py test`: runs every check and every test, the fastest checks first."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from frontdoor.machine import cores

ROOT = Path(__file__).resolve().parent.parent
MEMORY = Path("/dev/shm")  # Linux keeps what lies there in memory
ROOM = 6 << 30  # bytes; the tests' files are about a gigabyte
CHECKS = (
    ("ruff", ["-m", "ruff", "check", "."]),
    ("format", ["-m", "ruff", "format", "--check", "."]),
    ("mypy", ["-m", "mypy"]),
    ("imports", ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]),
)


def main(options: argparse.Namespace) -> int:
    """Runs the checks of style, types and imports, then pytest, and stops at the first that fails.

    `--fast` leaves out the slow tests and those that need a browser. Returns the exit code of the check that failed,
    else 0.
    """
    for name, command in CHECKS:
        print(f"── {name}", flush=True)
        if code := _run_python(command):
            return code
    if not options.fast:
        _ensure_chromium()
    print("── tests", flush=True)
    chosen = ["-m", "not slow and not browser"] if options.fast else []
    workers = cores() + 1  # browser tests wait most of their time
    with files_in_memory(MEMORY) as more:
        command = ["-m", "pytest", "-n", str(workers), "--dist", "worksteal", *chosen, *options.rest]
        return _run_python(command, more)


@contextmanager
def files_in_memory(memory: Path, room: int = ROOM) -> Iterator[Mapping[str, str]]:
    """Yields the environment with which pytest makes its temporary folders in memory, and deletes them at the end.

    A studio waits for the disk at every record, and tests keep thousands. `memory` is a folder whose files are kept in
    memory; with less than `room` bytes free, there or in memory, or where it is no folder, the environment is empty and
    the folders are made where pytest makes them.
    """
    if not memory.is_dir() or min(shutil.disk_usage(memory).free, psutil.virtual_memory().available) < room:
        yield {}
        return
    with TemporaryDirectory(prefix="flenwheel-tests-", dir=memory, ignore_cleanup_errors=True) as folder:
        yield {"PYTEST_DEBUG_TEMPROOT": folder}


def _run_python(arguments: list[str], more: Mapping[str, str] | None = None) -> int:
    """Runs this Python in the checkout, offline, and returns its exit code; `more` is added to its environment.

    OpenMP gets one thread, because pytest starts a worker for each core, and one more.
    """
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env={**environment, **(more or {})}).returncode


def _ensure_chromium() -> None:
    """Installs Chromium for the browser tests where this user is root on Debian.

    Where it cannot be installed, prints how to do it.
    """
    if shutil.which("chromium"):
        return
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        print("── installing Chromium for the browser tests (apt-get install chromium)", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", "-q", *words], stdout=subprocess.DEVNULL, env=environment)
        if shutil.which("chromium"):
            return
    print("Chromium is not installed: the browser tests will fail. On Debian run: apt install chromium", flush=True)
