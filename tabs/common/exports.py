"""The export buttons for a version's LoRA and a training's pictures, and the links to the written files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from studio.flywheel.export.deploy import PROGRAMS, deploy, programs, withdraw
from studio.flywheel.export.export import HUB, export_dataset, export_version, remarks
from studio.flywheel.export.layouts import LAYOUTS
from studio.records.dataset import Entry, Role
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view

FORMS: Mapping[str, str] = {
    "diffusers": "diffusers",
    "kohya": "kohya, Forge",
    "comfyui": "ComfyUI",
    HUB: "Hugging Face",
}
ACT, PICTURES = "export", "export-pictures"


def buttons(desk: Desk, version_id: str) -> Markup:
    """Returns as HTML one button for each format that a version's LoRA can be exported in.

    For each other program whose folder is set, a further button puts the LoRA there, or takes it out again.
    """
    known = {name: (PROGRAMS[name].label, there) for name, there in programs(desk, version_id).items()}
    return view("common", "forms", act=ACT, version=version_id, forms=FORMS, programs=known)


def export(desk: Desk, data: Mapping[str, Any]) -> Markup:
    """Writes a version's LoRA in the format of the clicked button; returns a download link as HTML.

    `data` is what the button sent: the version's id, and the format or the program whose folder the LoRA is put into or
    taken out of. Raises: NotFound for an unknown version, BadInput for an unknown format, LoraMismatch where the LoRA
    does not fit its model.
    """
    form, version = str(data.get("form", "")), str(data.get("version", ""))
    if program := str(data.get("program", "")):
        is_out = data.get("way") == "out"
        files = (withdraw if is_out else deploy)(desk, version, program)
        return view("common", "moved", label=PROGRAMS[program].label, files=files, is_out=is_out)
    return written(FORMS.get(form, form), export_version(desk, version, form))


def elsewhere(role: Role) -> Markup:
    """Returns as HTML one button for each other training tool that a dataset can be exported for.

    `role` says whether the dataset is a character's or an editor's. For an editor's, only tools that take pairs of a
    reference picture and a result are offered.
    """
    names = [name for name, layout in LAYOUTS.items() if role is Role.CHARACTER or layout.references]
    return view("common", "layouts", act=PICTURES, names=names)


def export_pictures(desk: Desk, data: Mapping[str, Any], role: Role, entries: Sequence[Entry]) -> Markup:
    """Writes a dataset as a zip in the layout that another training tool reads; returns a download link as HTML.

    `data` is what the clicked button sent, and names the tool. `entries` are the dataset's examples; `role` says
    whether it is a character's or an editor's dataset. Raises: BadInput for an unknown
    tool, without examples, and for examples that the tool cannot take.
    """
    layout = str(data.get("layout", ""))
    return written(layout, export_dataset(desk, layout, role, entries), " ".join(remarks(layout, entries)))


def put_away(desk: Desk, data: Mapping[str, Any]) -> Markup:
    """Closes the note on a written file: returns empty HTML, which replaces it.

    `data`, what the button sent, is not used.
    """
    return Markup()


def written(tool: str, file: Path, said: str = "") -> Markup:
    """Returns as HTML the path and size of a written file, with a link to download it.

    `tool` is the name of the program or format that it was written for, `said` what is worth knowing about the file.
    """
    size = looks.amount(file.stat().st_size)
    return view(
        "common", "written", tool=tool, file=file, name=file.name, url=looks.file_url(file), size=size, said=said
    )
