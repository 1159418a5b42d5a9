"""The registry's models as `doctor` shows them: what is here, what is not, and the command that fixes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from engines.api.errors import ModelMissing
from engines.api.protocols import ModelSpec
from engines.catalogue.hub import cached_snapshot, gate_steps
from engines.catalogue.pulling import missing_bytes
from engines.catalogue.registry import Registry
from engines.catalogue.weights import held_forms, is_pulling

_GIB = 1 << 30
_HEADS = ("model", "role", "state", "quantised", "gate", "licence")


def table(registry: Registry, *, token: bool) -> str:
    """One line a model that does not ship with us, and below it what to do. `token`: whether this machine has one."""
    rows, remedies = [_HEADS], [""]
    for spec in _real(registry):
        state, forms, remedy = _look(registry, spec)
        gate = "" if not spec.gated else "gated, token found" if token else "gated, NO TOKEN"
        rows.append((spec.name, spec.role, state, ", ".join(forms) or "-", gate, spec.licence))
        if remedy and spec.gated and not token:
            remedy = f"{gate_steps(spec.source)} Then: {remedy}"
        remedies.append(remedy)
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines: list[str] = []
    for row, remedy in zip(rows, remedies, strict=True):
        lines.append(" " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        lines += [f"   → {remedy}"] * bool(remedy)
    return "\n".join(lines)


def _real(registry: Registry) -> Iterator[ModelSpec]:
    for role in ("generator", "editor", "scorer"):
        yield from (spec for spec in registry.role(role) if not spec.toy)


def _look(registry: Registry, spec: ModelSpec) -> tuple[str, list[str], str]:
    """State, quantised forms, remedy."""
    home = registry.home(spec)
    pull = f"python launch.py pull {spec.name}"
    if spec.source.startswith("deepface:"):
        folder = registry.folder(spec)
        here = folder.is_dir()
        return ("ready" if here else "not here"), [], "" if here else f"Put its weights into {folder}."
    if is_pulling(home):
        return f"partly, {_gib(missing_bytes(home))} missing", held_forms(home), pull
    try:
        folder = registry.folder(spec)
    except ModelMissing:
        return *_partly(spec), pull
    forms = held_forms(folder)
    unquantised = any(spec.options.get(form) for form in ("nf4", "int8")) and not forms
    where = "ready" if folder == home else f"found in {_short(folder)}"
    return where, forms, f"{pull}   (quantises it once; without, every start does it again)" if unquantised else ""


def _partly(spec: ModelSpec) -> tuple[str, list[str]]:
    """Of what the hub's own cache has begun, or of nothing."""
    whole = sum(size for name, size in spec.component_bytes.items() if "." not in name)
    cached = cached_snapshot(spec.source)
    here = sum(file.stat().st_size for file in cached.rglob("*.safetensors")) if cached else 0
    if here:
        return f"partly in the hub's cache, about {_gib(max(whole - here, 0))} missing", []
    return (f"not here, {_gib(whole)} to download" if whole else "not here"), []


def _short(folder: Path) -> str:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - never raises, also for a user without a home folder
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
