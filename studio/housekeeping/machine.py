"""Checks what a machine has and lacks for the studio: system, GPU, memory, disk, packages, the embedded models."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata

from engines.catalogue.registry import Registry
from studio.housekeeping.models import ROLES
from studio.settings import Settings

_GIB = 1 << 30
_PACKAGES = ("torch", "diffusers", "transformers", "peft", "bitsandbytes", "gradio", "deepface")
_ANEW = {"remedy": "Delete the folder .venv, then run:", "command": "python launch.py doctor"}
_GPU_QUERY = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]


@dataclass(frozen=True)
class Finding:
    """Holds one line of the report on this machine: what was checked, what was found, and whether it is sufficient.

    `ok` is None where there is nothing to judge. `remedy` says what to do, `command` is the shell command for it; both
    are "" where none is needed.
    """

    what: str
    found: str
    ok: bool | None = None
    remedy: str = ""
    command: str = ""


def look(settings: Settings, registry: Registry) -> list[Finding]:
    """Returns all findings on this machine for the report; it takes seconds, because pip checks all packages."""
    return [*check_machine(settings), *check_packages(), *check_embedded_models(registry)]


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Yields findings on the system, GPU, RAM, free disk space, and the size of the trainings' caches."""
    yield Finding("system", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}")

    gpu = ""
    if shutil.which("nvidia-smi"):
        with suppress(subprocess.TimeoutExpired, OSError):  # a broken driver may never answer
            done = subprocess.run(_GPU_QUERY, capture_output=True, text=True, check=False, timeout=20)
            gpu = done.stdout.strip().replace("\n", "; ") if done.returncode == 0 else ""
    yield Finding(
        "GPU",
        gpu or "none found with nvidia-smi",
        remedy=""
        if gpu
        else "The embedded models run on the CPU. FLUX and Qwen-Image-Edit need an NVIDIA GPU with 24 GB; on Windows "
        "first install the CUDA build of torch 2.13.0, by pytorch.org's instructions.",
    )

    if hasattr(os, "sysconf"):
        ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
        yield Finding("RAM", f"{ram:.0f} GiB", ok=ram >= 6, remedy="" if ram >= 6 else "At least 6 GiB are needed.")

    home = settings.data_root
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free / _GIB
    yield Finding(
        "disk",
        f"{free:.0f} GiB free for {home}",
        ok=free >= 2,
        remedy="" if free >= 2 else "Free at least 2 GiB, or set FLENWHEEL_HOME to a folder on a larger disk.",
    )

    caches = [file for file in home.glob("characters/*/cache/*.safetensors") if file.is_file()]
    if caches:
        size = sum(file.stat().st_size for file in caches) / _GIB
        yield Finding(
            "training caches",
            f"{size:.1f} GiB in {len(caches)} files; a character's cache folder can be deleted while nothing trains",
        )


def check_packages(names: Sequence[str] = _PACKAGES) -> Iterator[Finding]:
    """Yields one finding on the version of each package in `names`, and one on conflicts between all packages."""
    for name in names:
        try:
            yield Finding(name, metadata.version(name), ok=True)
        except metadata.PackageNotFoundError:
            yield Finding(name, "not installed", ok=False, **_ANEW)
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    sound = done.returncode == 0
    said = (done.stdout or done.stderr).strip() or ("none found" if sound else "some found")  # pip may be set quiet
    yield Finding("conflicts", said.splitlines()[0], ok=sound, **({} if sound else _ANEW))


def check_embedded_models(registry: Registry) -> Iterator[Finding]:
    """Yields one finding for each of the tiny models that come with the project: whether its weights are there."""
    for spec in (spec for role in ROLES for spec in registry.role(role) if spec.role == role and spec.toy):
        folder = registry.folder(spec)
        remedy = "" if folder.is_dir() else f"Its weights belong in {folder}; clone the project again."
        yield Finding(spec.name, "not here" if remedy else "embedded toy world", ok=not remedy, remedy=remedy)
