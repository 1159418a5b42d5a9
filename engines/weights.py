"""Where a model's weights lie in its folder, told without torch: the engines read here what `pull` wrote."""

from __future__ import annotations

import json
from pathlib import Path

FULL_WIDTH = "bf16"
PULLED = "pulled.json"


def held_name(name: str, form: str) -> str:
    """The folder of a part in a form: `transformer.nf4`; at full width it is the part's own."""
    return name if form == FULL_WIDTH else f"{name}.{form}"


def pulled_form(folder: Path) -> str:
    """The form that the folder was last pulled in; empty where it was not pulled."""
    record = folder / PULLED
    return str(json.loads(record.read_text(encoding="utf-8"))["form"]) if record.is_file() else ""
