"""The table of the registry's models that `doctor` prints: state, forms, licence, and the command that gets each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from engines.api.errors import ModelMissing
from engines.api.protocols import ModelSpec
from engines.catalogue.hub import cached_snapshot, gate_steps
from engines.catalogue.pulling import missing_bytes
from engines.catalogue.registry import Registry
from engines.catalogue.weights import held_forms, is_pulling

ROLES = ("generator", "editor", "scorer")
_GIB = 1 << 30
_HEADS = ("model", "role", "state", "quantised", "gate", "licence")


@dataclass(frozen=True)
class Presence:
    """How much of a model is on this machine: its state in words, its quantised forms, and the remedy, "" for none."""

    state: str
    forms: tuple[str, ...] = ()
    remedy: str = ""


def table(registry: Registry, *, token: bool) -> str:
    """Returns the table of all models that are not embedded, each with its remedy in the line below.

    `token`: whether this machine has a Hugging Face token.
    """
    rows, remedies = [_HEADS], [""]
    for spec in (spec for role in ROLES for spec in registry.role(role) if not spec.toy):
        found = presence(registry, spec)
        gate = "" if not spec.gated else "gated, token found" if token else "gated, NO TOKEN"
        rows.append((spec.name, spec.role, found.state, ", ".join(found.forms) or "-", gate, spec.licence))
        steps = f"{gate_steps(spec.source)} Then: " if found.remedy and spec.gated and not token else ""
        remedies.append(steps + found.remedy)
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines: list[str] = []
    for row, remedy in zip(rows, remedies, strict=True):
        lines.append(" " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        lines += [f"   → {remedy}"] * bool(remedy)
    return "\n".join(lines)


def presence(registry: Registry, spec: ModelSpec) -> Presence:
    """Returns how much of a model is on this machine: in its own folder, in the hub's cache, or nothing."""
    home = registry.home(spec)
    pull = f"python launch.py pull {spec.name}"
    if spec.source.startswith("deepface:"):
        folder = registry.folder(spec)
        return Presence("ready") if folder.is_dir() else Presence("not here", remedy=f"Put its weights into {folder}.")
    if is_pulling(home):
        return Presence(f"partly, {_gib(missing_bytes(home))} missing", tuple(held_forms(home)), pull)
    try:
        folder = registry.folder(spec)
    except ModelMissing:
        return Presence(_state_in_cache(spec), remedy=pull)
    state = "ready"
    if folder != home:
        user = Path(os.path.expanduser("~"))  # noqa: PTH111 - never raises, also for a user without a home folder
        state = f"found in {f'~/{folder.relative_to(user)}' if folder.is_relative_to(user) else folder}"
    forms = tuple(held_forms(folder))
    if any(spec.options.get(form) for form in ("nf4", "int8")) and not forms:
        return Presence(state, remedy=f"{pull}   (quantises it once; otherwise every start quantises it again)")
    return Presence(state, forms)


def _state_in_cache(spec: ModelSpec) -> str:
    """Returns in words how much of a model the hub's own cache has begun to hold, or that nothing is here."""
    whole = sum(size for name, size in spec.component_bytes.items() if "." not in name)
    cached = cached_snapshot(spec.source)
    here = sum(file.stat().st_size for file in cached.rglob("*.safetensors")) if cached else 0
    if here:
        return f"partly in the hub's cache, about {_gib(max(whole - here, 0))} missing"
    return f"not here, {_gib(whole)} to download" if whole else "not here"


def _gib(count: int) -> str:
    """Returns a number of bytes in GiB, with one decimal."""
    return f"{count / _GIB:.1f} GiB"
