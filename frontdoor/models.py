"""The table of models that `doctor` prints: state, forms, licence, and the command that gets each."""

from __future__ import annotations

from engines.catalogue.hub import gate_steps
from engines.catalogue.registry import Registry
from studio.housekeeping.models import ROLES, page_of, presence

_HEADS = ("model", "role", "state", "quantised", "gate", "licence")


def table(registry: Registry, *, token: bool) -> str:
    """Returns as plain text a table of the models that do not ship with the project.

    A line tells a model's state on this machine, its quantised forms, whether its download is gated, and its licence.
    Where something is missing, the next line says how to get it. `token`: whether this machine has a Hugging Face
    token.
    """
    rows, remedies = [_HEADS], [""]
    for spec in (spec for role in ROLES for spec in registry.role(role) if spec.role == role and not spec.toy):
        found = presence(registry, spec)
        gated = spec.gated and bool(page_of(spec))
        gate = "" if not gated else "gated, token found" if token else "gated, NO TOKEN"
        rows.append((spec.name, ", ".join(spec.roles), found.state, ", ".join(found.forms) or "-", gate, spec.licence))
        steps = f"{gate_steps(spec.source)} Then: " if found.remedy and gated and not token else ""
        remedies.append(steps + found.remedy)
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines: list[str] = []
    for row, remedy in zip(rows, remedies, strict=True):
        lines.append(" " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        lines += [f"   → {remedy}"] * bool(remedy)
    return "\n".join(lines)
