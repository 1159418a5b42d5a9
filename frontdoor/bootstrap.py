"""A fresh clone becomes a working environment, once. Standard library only: nothing else is there yet."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

_SUPPORTED = ((3, 11), (3, 13))


def ensure_environment(root: Path, *, tests: bool) -> Path:
    """The Python to run commands with; `.venv` is made, or refreshed when pyproject.toml has changed."""
    low, high = _SUPPORTED
    if not low <= sys.version_info[:2] <= high:
        raise SystemExit(
            f"FLENwheel needs Python {low[0]}.{low[1]} to {high[0]}.{high[1]}; this is "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Start it with another one, e.g. python3.13 launch.py"
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
        _say("Making .venv …")
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    _say("Installing the packages (about 2.3 GB, once; a few minutes) …")
    _pip_install(python, root, extras)
    stamp.write_text(f"{wanted} {extras.strip('[]')}")
    return python


def run_inside(python: Path, arguments: list[str]) -> int:
    """Run a command in the environment and answer its exit code."""
    command = [str(python), "-m", "frontdoor.cli", *arguments]
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_paths(root))}
    if os.name == "nt":
        return subprocess.run(command, env=environment).returncode
    os.execve(command[0], command, environment)


def _paths(root: Path) -> list[str]:
    inherited = os.environ.get("PYTHONPATH", "")
    return [str(root), *([inherited] if inherited else [])]


def _fingerprint(pyproject: Path) -> str:
    return hashlib.sha256(pyproject.read_bytes()).hexdigest()[:16]


def _pip_install(python: Path, root: Path, extras: str) -> None:
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
                _progress(f"{packages} packages · {time.monotonic() - started:.0f} s · {found[1]}")
            elif line.startswith("Installing collected"):
                _progress(f"{packages} packages · {time.monotonic() - started:.0f} s · unpacking them all …")
    if pip.returncode:
        raise SystemExit("\n".join(["", *tail, "", "pip could not install the packages; its last words are above."]))
    _progress(f"Packages ready after {time.monotonic() - started:.0f} s.")
    _say("")


def _progress(words: str) -> None:
    if sys.stdout.isatty():
        print(f"\r\033[K  {words}", end="", flush=True)
    else:
        print(f"  {words}", flush=True)


def _say(words: str) -> None:
    print(words, flush=True)
