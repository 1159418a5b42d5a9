"""Finds out which weights a model's folder holds, by what `pull` wrote there; imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from engines.api.forms import FULL_WIDTH, ROWS
from engines.catalogue.durable import write_file

QUANTISED = tuple(ROWS)
PULLED = "pulled.json"  # the record of a pull, written when all files are here
PULLING = "pulling.json"  # the same record while some files are missing
_MANIFEST = "quantised.json"


@dataclass(frozen=True)
class PullRecord:
    """Holds the record that a pull keeps in a model's folder: what it puts there, and in which precision.

    `form`: the precision of the weights, such as nf4; `commits`: repository -> commit; `files`: path below the
    folder -> size in bytes; `made_from`: folder of a quantised component -> mark of the weights that a user gave for it
    (see `given.mark`), "" for weights of the hub.
    """

    model: str = ""
    form: str = ""
    licence: str = ""
    commits: Mapping[str, str] = field(default_factory=dict)  # repository -> commit
    files: Mapping[str, int] = field(default_factory=dict)  # path below the folder -> bytes
    made_from: Mapping[str, str] = field(default_factory=dict)  # folder of a quantised component -> mark of its source

    def write(self, file: Path) -> None:
        """Writes the record to `file` as JSON, completely or not at all."""
        write_file(file, json.dumps(asdict(self), indent=2).encode())


def is_variant(name: str) -> bool:
    """Returns whether a file's name, such as model.fp16.safetensors, marks it as a further variant of the weights."""
    return any(part in name for part in (".fp16.", ".bf16.", ".non_ema."))


def held_name(name: str, form: str) -> str:
    """Returns the name of the folder that holds a component in one precision, such as transformer.nf4.

    `name`: the component's name, which is also the folder's for bf16; `form`: the precision.
    """
    return name if form == FULL_WIDTH else f"{name}.{form}"


def is_held(folder: Path, name: str, form: str) -> bool:
    """Returns whether a model's folder holds the component `name` in a quantised precision; False for bf16."""
    return form != FULL_WIDTH and (folder / held_name(name, form) / _MANIFEST).is_file()


def pulled_form(folder: Path) -> str:
    """Returns the precision (such as nf4) in which a model was pulled into the folder; "" without any pull.

    The last finished pull counts; where none has finished yet, the unfinished one.
    """
    return record(folder, (PULLED, PULLING)).form


def record(folder: Path, names: Sequence[str] = (PULLING, PULLED)) -> PullRecord:
    """Returns the record of the pull into a folder, by default of an unfinished one, else of the last finished one.

    `names`: the record's files in the order in which they are tried. An empty record where there is none.
    """
    for name in names:
        if (folder / name).is_file():
            try:
                told = json.loads((folder / name).read_text(encoding="utf-8"))
            except ValueError:  # a damaged record: the files themselves say what is here
                continue
            return PullRecord(**{each.name: told[each.name] for each in fields(PullRecord) if each.name in told})
    return PullRecord()


def is_pulling(folder: Path) -> bool:
    """Returns whether the folder's model is incomplete because a pull is not finished.

    A pull that adds a precision leaves the model complete meanwhile, in the one that was there before.
    """
    return (folder / PULLING).is_file() and not (folder / PULLED).is_file()


def held_forms(folder: Path) -> list[str]:
    """Returns the quantised precisions in which the folder holds at least one component.

    Leaves out the precision that an unfinished pull is about to add.
    """
    finished, asked = record(folder, (PULLED,)).form, record(folder, (PULLING,)).form
    forms = [form for form in QUANTISED if any(folder.glob(f"*.{form}/{_MANIFEST}"))]
    return [form for form in forms if form != asked or form == finished]


def is_whole(folder: Path) -> bool:
    """Returns whether a model's folder is complete: no component and no shard of the weights is missing.

    model_index.json lists the components, and a component's index file its shards. A component without an index file
    must hold a safetensors file, or be here quantised, if it has a config.json; else it has no weights. A folder
    without a model_index.json is complete where it holds a safetensors file.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        return any(folder.glob("*.safetensors"))
    try:
        return all(_has_all_shards(folder / name) for name in parts_of(json.loads(index.read_text(encoding="utf-8"))))
    except (ValueError, KeyError, AttributeError, TypeError):  # another program was stopped while it wrote an index
        return False


def parts_of(index: Mapping[str, object]) -> list[str]:
    """Returns the names of the components that a parsed model_index.json lists; leaves out those declared absent."""
    return [name for name, entry in index.items() if isinstance(entry, list) and len(entry) == 2 and None not in entry]


def _has_all_shards(folder: Path) -> bool:
    shards = {
        name
        for file in folder.glob("*.safetensors.index.json")
        for name in json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()
    }
    held = (*folder.glob("*.safetensors"), *folder.parent.glob(f"{folder.name}.*/{_MANIFEST}"))
    without = not held and (folder / "config.json").is_file()
    return folder.is_dir() and not without and all((folder / name).is_file() for name in shards)
