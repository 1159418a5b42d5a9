"""Makes the environment of a fresh clone; imports the standard library alone, because nothing else is there yet."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

_SUPPORTED = ((3, 11), (3, 13))


def ensure_environment(root: Path, *, tests: bool) -> Path:
    """Creates or updates the virtual environment `.venv` in the folder `root` and returns the path of its Python.

    It is updated where pyproject.toml has changed since the last update. With `tests` it also gets the packages that
    only the tests need. Raises: SystemExit when the version of this Python is not supported, or when the environment
    cannot be made or filled.
    """
    low, high = _SUPPORTED
    if not low <= sys.version_info[:2] <= high:
        raise SystemExit(
            f"FLENwheel needs Python {low[0]}.{low[1]} to {high[0]}.{high[1]}; this is "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Start it with another Python, e.g. python3.13 launch.py"
        )
    venv = root / ".venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = venv / "flenwheel-installed.txt"
    wanted = _fingerprint(root / "pyproject.toml")
    have = stamp.read_text().split() if stamp.is_file() and python.exists() else []
    if have[:1] == [wanted] and (not tests or "test" in have):
        return python
    extras = "[test]" if tests or "test" in have else ""
    if not python.exists():
        print("Creating .venv …", flush=True)
        if subprocess.run([sys.executable, "-m", "venv", str(venv)]).returncode:
            shutil.rmtree(venv, ignore_errors=True)  # half of one would be taken for a whole one
            hint = "On Debian and Ubuntu: apt install python3-venv; then start again."
            raise SystemExit(f"{venv} could not be made. {hint}")
    print("Installing the packages (about 2.3 GB, only once; it takes a few minutes) …", flush=True)
    _pip_install(python, root, extras)
    stamp.write_text(f"{wanted} {extras.strip('[]')}")
    return python


def run_inside(python: Path, arguments: list[str]) -> int:
    """Runs the project's command line with the Python at the path `python` and returns the exit code.

    `arguments` are the words after `launch.py`. On Windows it runs in a child process. Elsewhere it replaces this
    process, so that signals reach it, and this function never returns.
    """
    command = [str(python), "-m", "frontdoor.cli", *arguments]
    root = Path(__file__).resolve().parent.parent
    inherited = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *([inherited] if inherited else [])])}
    if os.name == "nt":
        return subprocess.run(command, env=environment).returncode
    os.execve(command[0], command, environment)


def _fingerprint(pyproject: Path) -> str:
    """Returns 16 letters of the hash of pyproject.toml; packages are installed again when they change."""
    return hashlib.sha256(pyproject.read_bytes()).hexdigest()[:16]


def _pip_install(python: Path, root: Path, extras: str) -> None:
    """Installs the project and its packages, and prints progress. Raises: SystemExit with the end of pip's output."""
    started = time.monotonic()
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    with subprocess.Popen(
        [*command, "-e", f"{root}{extras}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        tail: list[str] = []
        packages = 0
        assert pip.stdout is not None
        for line in pip.stdout:
            tail = [*tail[-30:], line.rstrip()]
            if found := re.match(r"\s*Collecting (\S+)", line):
                packages += 1
                _print_progress(f"{packages} packages · {time.monotonic() - started:.0f} s · {found[1]}")
            elif line.startswith("Installing collected"):
                _print_progress(f"{packages} packages · {time.monotonic() - started:.0f} s · unpacking …")
    if pip.returncode:
        raise SystemExit("\n".join(["", *tail, "", "pip could not install the packages: its output ends above."]))
    _print_progress(f"The packages are ready after {time.monotonic() - started:.0f} s.")
    print(flush=True)


def _print_progress(words: str) -> None:
    """Prints over the last line of a terminal; elsewhere prints a line of its own."""
    if sys.stdout.isatty():
        print(f"\r\033[K  {words}", end="", flush=True)
    else:
        print(f"  {words}", flush=True)
