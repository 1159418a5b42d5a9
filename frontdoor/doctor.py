"""`launch.py doctor`: what this machine has, what is missing, and the command that fixes it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import assets
from engines.catalogue.hub import HuggingFace
from engines.catalogue.registry import Registry
from frontdoor import models
from studio.settings import Settings

_GIB = 1 << 30
ROLES = ("generator", "editor", "scorer")
_MARKS = {True: "✓", False: "✗", None: "·"}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, what to do; `ok` is None for plain facts."""

    what: str
    found: str
    ok: bool | None = None
    remedy: str = ""


def main(options: argparse.Namespace) -> int:
    """Print every finding; the exit code is 0 when all that the embedded models need is there."""
    settings = Settings.from_env(Path(assets.__file__).parent, getattr(options, "home", None))
    findings = [*_machine(settings), *_caches(settings), *_packages(), *_embedded(settings)]
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f" {_MARKS[finding.ok]} {finding.what.ljust(width)}  {finding.found}")
        if finding.remedy:
            print(f"   {' ' * width}  → {finding.remedy}")
    print(f"\n{models.table(Registry(settings.assets, settings.models_dir), token=HuggingFace().has_token())}")
    return 0 if all(finding.ok is not False for finding in findings) else 1


def _machine(settings: Settings) -> Iterator[Finding]:
    yield Finding("system", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}")
    card = _card()
    yield Finding(
        "card",
        card or "none that nvidia-smi knows",
        remedy=""
        if card
        else "The embedded models run on the CPU. FLUX and Qwen-Image-Edit need a CUDA card with 24 GB; on Windows "
        "install the CUDA build of torch 2.13.0 first, by pytorch.org's own instructions.",
    )
    if hasattr(os, "sysconf"):
        ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
        yield Finding("RAM", f"{ram:.0f} GiB", ok=ram >= 6, remedy="" if ram >= 6 else "6 GiB is the least.")
    home = settings.data_root
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free / _GIB
    yield Finding(
        "disk",
        f"{free:.0f} GiB free for {home}",
        ok=free >= 2,
        remedy="" if free >= 2 else "Free some space, or set FLENWHEEL_HOME to a roomier disk.",
    )


def _caches(settings: Settings) -> Iterator[Finding]:
    """What trainings keep encoded: theirs to use again, the user's to delete."""
    files = [file for file in settings.data_root.glob("characters/*/cache/*.safetensors") if file.is_file()]
    if files:
        size = sum(file.stat().st_size for file in files) / _GIB
        words = f"{size:.1f} GiB in {len(files)} files; each character's cache folder may go while nothing trains"
        yield Finding("training caches", words)


def _card() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.strip().replace("\n", "; ") if done.returncode == 0 else ""


def _packages() -> Iterator[Finding]:
    for name in ("torch", "diffusers", "transformers", "peft", "bitsandbytes", "gradio", "deepface"):
        try:
            yield Finding(name, metadata.version(name), ok=True)
        except metadata.PackageNotFoundError:
            yield Finding(name, "not installed", ok=False, remedy="python launch.py doctor, from a fresh .venv")
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    yield Finding("packages fit", (done.stdout or done.stderr).strip().splitlines()[0], ok=done.returncode == 0)


def _embedded(settings: Settings) -> Iterator[Finding]:
    registry = Registry(settings.assets, settings.models_dir)
    for spec in (spec for role in ROLES for spec in registry.role(role) if spec.toy):
        here = registry.folder(spec).is_dir()
        remedy = "" if here else f"Its weights belong in {registry.folder(spec)}; clone the project again."
        yield Finding(spec.name, "embedded toy world" if here else "not here", ok=here, remedy=remedy)
