"""Puts a version's LoRA into the model folder of another program on this machine, and takes it out again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.api.errors import BadInput, NotFound
from engines.api.params import EditParams, GenerateParams
from engines.api.values import shown
from engines.catalogue.workflows import WORKFLOWS, workflow
from studio.flywheel import card
from studio.flywheel.curate.inbox import typed_path
from studio.flywheel.export.export import export_version, previews
from studio.records.base import Part, now
from studio.records.dataset import Role
from studio.records.image import ImageRecord
from studio.records.settings import DEPLOYED_SETTING
from studio.records.version import Version
from studio.store import durable
from studio.store.lora_names import as_it_leaves, version_lora_name
from studio.workplace.desk import Desk, Workplace


@dataclass(frozen=True)
class Program:
    """Describes where another program looks for LoRAs, and in which form it reads them.

    `folders` are the places of LoRAs below the folder that the user names, of which the first that exists is taken.
    `form` is the LoRA's file format. With `told`, the program reads the trigger word and the strength from a JSON file
    beside the LoRA. `workflows` is the place of saved workflows, "" where the program has none.
    """

    label: str
    folders: tuple[str, ...]
    form: str
    told: bool = False
    workflows: str = ""


PROGRAMS: Mapping[str, Program] = {
    "comfyui": Program("ComfyUI", ("models/loras", "loras"), "comfyui", workflows="user/default/workflows"),
    "forge": Program("Forge", ("models/Lora", "Lora"), "kohya", told=True),
    "invokeai": Program("InvokeAI", ("loras", "."), "diffusers", told=True),
    "swarmui": Program("SwarmUI", ("Models/Lora", "Models/loras", "Lora"), "comfyui"),
}


@dataclass(frozen=True, kw_only=True)
class Deployed(Part):
    """Holds the files that a version has in another program's folders: the SHA-256 of each, by its path."""

    files: Mapping[str, str]


def set_folder(workplace: Workplace, program: str, folder: str) -> str:
    """Stores the folder of another program, and returns its path as it is stored; "" forgets it.

    `program` is a key of PROGRAMS; `folder` is a path as it was typed. Raises: NotFound for an unknown program,
    BadInput for a folder that is not there or holds no place for LoRAs.
    """
    known = _program(program)
    path = typed_path(folder) if folder.strip() else None
    if path is not None:
        _loras(known, path)
    workplace.library.set_setting(f"folder of {program}", str(path or ""))
    workplace.library.set_setting(DEPLOYED_SETTING, now())
    return str(path or "")


def folder_of(workplace: Workplace, program: str) -> str:
    """Returns the folder of another program as the user has set it; "" where it is not set."""
    return workplace.library.setting(f"folder of {program}", str) or ""


def deploy(desk: Desk, version_id: str, program: str) -> list[str]:
    """Writes a version's LoRA with a preview into another program's folder; returns the paths of the written files.

    Where the program reads them, the trigger word and the strength stand in a file beside the LoRA, and a workflow that
    draws the first picture is written, too. Files of an earlier call are replaced. Raises: NotFound for an unknown
    program or version; BadInput where the program's folder is not set, or holds other files of these names;
    LoraMismatch.
    """
    known, version = _program(program), desk.store.versions.get(version_id)
    root = folder_of(desk.workplace, program)
    if not root:
        raise BadInput(f"The folder of {known.label} is not set.", "Name it in Settings, under “Other programs”.")
    if version.trashed:
        raise BadInput(f"{version.name} is in the trash.", "Restore it first.")
    place = _loras(known, Path(root))
    name = f"{desk.id}-{version_lora_name(desk.store.character.trigger, version)}"
    drawn = previews(desk, version).pictures
    lora, target = export_version(desk, version_id, known.form), place / f"{name}.safetensors"
    files: dict[Path, bytes] = {}
    if drawn:
        files[place / f"{name}.png"] = as_it_leaves(desk.store.path(drawn[0].id))
    if known.told:
        files[place / f"{name}.json"] = _told(desk, version)
    if known.workflows and desk.workplace.registry.spec(version.model).family in WORKFLOWS:
        saved = Path(root) / known.workflows / f"{name}.json"
        files[saved] = _workflow(desk, version, name, drawn)
    before = _deployed(desk, version_id, program).files
    hashes = {target: _digest(lora), **{path: hashlib.sha256(data).hexdigest() for path, data in files.items()}}
    for path, digest in hashes.items():
        if path.exists() and _digest(path) not in (digest, before.get(str(path), "")):
            raise BadInput(
                f"{path} is there already, and is not from here.", "Rename or move that file, and try again."
            )
    # What will be there is stored first: after a crash in between, what was written can still be taken out.
    after = Deployed(files={**before, **{str(path): digest for path, digest in hashes.items()}})
    _keep(desk, version_id, program, after)
    durable.copy_file(lora, target)
    for path, data in files.items():
        durable.write_file(path, data)
    return [str(path) for path in hashes]


def withdraw(desk: Desk, version_id: str, program: str) -> list[str]:
    """Deletes the files that `deploy` wrote for a version; returns the paths of those that stay, as they were changed.

    Raises: NotFound for an unknown program or version, and where nothing of the version is in the program's folder;
    UserError where a file cannot be deleted.
    """
    known, version = _program(program), desk.store.versions.get(version_id)
    found = _deployed(desk, version.id, program)
    if not found.files:
        raise NotFound(f"Nothing of {version.name} is in {known.label}.", "Put it there first.")
    changed = []
    for path, digest in found.files.items():
        if Path(path).is_file() and _digest(Path(path)) != digest:
            changed.append(path)
        else:
            durable.remove(Path(path))
    _keep(desk, version_id, program, Deployed(files={}))
    return changed


def programs(desk: Desk, version_id: str) -> dict[str, bool]:
    """Returns the programs whose folder is set, each with whether the version is in that program's folder."""
    return {
        program: bool(_deployed(desk, version_id, program).files)
        for program in PROGRAMS
        if folder_of(desk.workplace, program)
    }


def _program(program: str) -> Program:
    if program not in PROGRAMS:
        raise NotFound(f"There is no program named {program}.", f"Known: {', '.join(PROGRAMS)}.")
    return PROGRAMS[program]


def _loras(program: Program, root: Path) -> Path:
    """Returns the folder of LoRAs below a program's folder, or that itself where it is named so. Raises: BadInput."""
    if not os.path.isdir(root):  # noqa: PTH112  Path.is_dir raises for a name that the system cannot take
        raise BadInput(
            f"There is no folder at {shown(str(root))}.", f"Name the folder that {program.label} is installed in."
        )
    if root.name.lower() in ("lora", "loras"):
        return root
    found = next((root / place for place in program.folders if (root / place).is_dir()), None)
    if found is None:
        raise BadInput(
            f"{root} holds no {program.folders[0]}.", f"Name the folder that {program.label} is installed in."
        )
    return found


def _told(desk: Desk, version: Version) -> bytes:
    """Returns the JSON file that Forge and InvokeAI read beside a LoRA."""
    character = desk.store.character
    said = " ".join(f"{character.trigger} {character.subject}".split()) if version.role is Role.CHARACTER else ""
    told = {"activation text": said, "preferred weight": _strength(desk, version), "notes": version.notes}
    return json.dumps(told, ensure_ascii=False, indent=2).encode()


def _strength(desk: Desk, version: Version) -> float:
    """Returns the strength at which the version's newest model card was drawn; 1 without a card."""
    run = card.newest(desk.store, version.id)
    drawn = desk.store.images.peek(run.cells[0].image) if run and run.cells else None
    return float(drawn.params.get("strength", 1.0)) if drawn else 1.0


def _workflow(desk: Desk, version: Version, name: str, drawn: tuple[ImageRecord, ...]) -> bytes:
    """Returns as JSON the workflow that draws the version's first preview anew.

    Without previews it has the model's own settings. `name` is that of the LoRA's file, without its ending; `drawn` are
    the previews.
    """
    spec = desk.workplace.registry.spec(version.model)
    kind: type[GenerateParams | EditParams] = GenerateParams if version.role is Role.CHARACTER else EditParams
    params: GenerateParams | EditParams = kind.kept(drawn[0].params) if drawn else spec.params(kind)
    made = workflow(
        spec.family,
        params,
        name=name,
        said=params.headline() or desk.store.datasets.get(version.dataset).entries[0].caption,
        strength=_strength(desk, version),
        size=(drawn[0].width, drawn[0].height) if drawn else (spec.size[0], spec.size[-1]),
    )
    return json.dumps(made, indent=2).encode()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _deployed(desk: Desk, version_id: str, program: str) -> Deployed:
    kept = desk.workplace.library.setting(f"deployed {program} {desk.id} {version_id}", str)
    return Deployed.from_json(json.loads(kept)) if kept else Deployed(files={})


def _keep(desk: Desk, version_id: str, program: str, found: Deployed) -> None:
    text = json.dumps(found.to_json()) if found.files else None
    desk.workplace.library.set_setting(f"deployed {program} {desk.id} {version_id}", text)
    desk.workplace.library.set_setting(DEPLOYED_SETTING, now())
