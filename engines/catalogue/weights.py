"""Where a model's weights lie in its folder, told without torch: the engines read here what `pull` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FULL_WIDTH = "bf16"
QUANTISED = ("nf4", "int8")
PULLED = "pulled.json"  # what is here, written when all of it is
PULLING = "pulling.json"  # the same while some of it is not
_MANIFEST = "quantised.json"


def held_name(name: str, form: str) -> str:
    """The folder of a part in a form: `transformer.nf4`; at full width it is the part's own."""
    return name if form == FULL_WIDTH else f"{name}.{form}"


def pulled_form(folder: Path) -> str:
    """The form that the folder was last pulled in; empty where it was not pulled."""
    return str(record(folder).get("form", ""))


def record(folder: Path) -> dict[str, Any]:
    """What `pull` wrote down of a folder, finished or not; empty where it never was there."""
    for name in (PULLING, PULLED):
        if (folder / name).is_file():
            return dict(json.loads((folder / name).read_text(encoding="utf-8")))
    return {}


def is_pulling(folder: Path) -> bool:
    """Whether a pull began here and did not end."""
    return (folder / PULLING).is_file()


def held_forms(folder: Path) -> list[str]:
    """The quantised forms that some part lies here in."""
    return [form for form in QUANTISED if any(folder.glob(f"*.{form}/{_MANIFEST}"))]


def is_whole(folder: Path) -> bool:
    """Whether every part that a folder's model_index.json names is there with every shard that its index names."""
    index = folder / "model_index.json"
    if not index.is_file():
        return any(folder.glob("*.safetensors"))
    parts = [name for name, entry in json.loads(index.read_text(encoding="utf-8")).items() if _is_part(entry)]
    return all(_is_whole_part(folder / name) for name in parts)


def _is_part(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and None not in entry


def _is_whole_part(folder: Path) -> bool:
    shards = {
        name
        for file in folder.glob("*.safetensors.index.json")
        for name in json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()
    }
    return folder.is_dir() and all((folder / name).is_file() for name in shards)
