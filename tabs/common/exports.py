"""Files for other tools: a version's LoRA, a training's pictures; the buttons, and what they leave behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studio.flywheel.export.export import HUB, export_dataset, export_version
from studio.flywheel.export.layouts import LAYOUTS
from studio.records.dataset import Entry, Role
from studio.workplace.desk import Desk
from tabs.common import looks

FORMS: Mapping[str, str] = {
    "diffusers": "diffusers",
    "kohya": "kohya, Forge",
    "comfyui": "ComfyUI",
    HUB: "Hugging Face",
}
ACT, PICTURES = "export", "export-pictures"


def buttons(version_id: str) -> str:
    """One small button a form."""
    each = (
        looks.button(words, ACT, tone="small", hint=f"write the LoRA for {words}", version=version_id, form=form)
        for form, words in FORMS.items()
    )
    return f'<div class="fl-tight">{"".join(each)}</div>'


def export(desk: Desk, data: Mapping[str, Any]) -> str:
    """Write the file that a button asked for; answers where it lies, with a link to fetch it.

    Raises: NotFound, BadInput, LoraMismatch.
    """
    form = str(data.get("form", ""))
    return written(FORMS.get(form, form), export_version(desk, str(data.get("version", "")), form))


def elsewhere(role: Role) -> str:
    """The way to train the same pictures with another tool: one small button for each that can."""
    able = "".join(
        looks.button(name, PICTURES, tone="small", hint=f"a zip of pictures and captions for {name}", layout=name)
        for name, layout in LAYOUTS.items()
        if role is Role.CHARACTER or layout.references
    )
    return f'<div class="fl-buttons"><span class="fl-quiet">or save these pictures and words for</span>{able}</div>'


def export_pictures(desk: Desk, data: Mapping[str, Any], role: Role, entries: Sequence[Entry]) -> str:
    """Write the zip that a button asked for; answers where it lies. Raises: BadInput."""
    layout = str(data.get("layout", ""))
    return written(layout, export_dataset(desk, layout, role, entries))


def written(tool: str, file: Path) -> str:
    """Where a file lies, with a link to fetch it."""
    link = f'href="{looks.file_url(file)}" download="{looks.esc(file.name)}"'
    return (
        f'<div class="fl-line fl-written"><span>Written for {looks.esc(tool)}: <code>{looks.esc(file)}</code></span>'
        f"<span>{looks.amount(file.stat().st_size)}</span>"
        f'<a class="fl-button small accent" {link}>Download</a></div>'
    )
