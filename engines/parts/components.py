"""From a folder in diffusers layout to the parts that a plan leases."""

from __future__ import annotations

import json
import math
import struct
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from engines.api import Component, ModelSpec
from engines.errors import ModelMissing
from engines.parts.quantise import in_4bit, stream_4bit

_STORED_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4}


def weight_dtype(spec: ModelSpec) -> torch.dtype:
    """What a model's weights are held in: the embedded ones float32, exact on any CPU; the large ones bfloat16."""
    return torch.float32 if spec.toy else torch.bfloat16


def component(spec: ModelSpec, folder: Path, name: str) -> Component:
    """One part of a model as the GPU manager moves it, sized without reading a weight.

    `bytes`: the registry row's measured figure where it has one, else elements in the files × element size.
    Raises: ModelMissing.
    """
    size = spec.component_bytes.get(name) or _elements(folder / name) * weight_dtype(spec).itemsize
    return Component(f"{spec.name}/{name}", size, partial(load, spec, folder, name))


def load(spec: ModelSpec, folder: Path, name: str) -> Any:
    """The module in evaluation mode with frozen weights, on the host, of the class that model_index.json names.

    What the row's option `nf4` names is held in 4 bits, but for the modules that its `full_width` names.
    Raises: ModelMissing.
    """
    source, dtype = _existing(folder / name), weight_dtype(spec)
    kind, small = _class(folder, name), name in spec.options.get("nf4", ())
    keep = spec.options.get("full_width", ())
    if _library(folder, name) == "transformers":
        module = kind.from_pretrained(source, local_files_only=True, dtype=dtype)
        module = in_4bit(module, dtype, keep) if small else module
    elif small:
        module = stream_4bit(kind, source, dtype, keep)
    else:
        module = kind.from_pretrained(source, local_files_only=True, torch_dtype=dtype)
    return module.eval().requires_grad_(False)


def tokenizer(folder: Path, name: str) -> Any:
    """A tokenizer or processor, of the class that model_index.json names. Raises: ModelMissing."""
    return _class(folder, name).from_pretrained(_existing(folder / name), local_files_only=True)


def scheduler(folder: Path) -> dict[str, Any]:
    """The scheduler's configuration, which `sampling.sigmas` understands. Raises: ModelMissing."""
    return _read_json(folder / "scheduler" / "scheduler_config.json")


def config(folder: Path, name: str) -> dict[str, Any]:
    """A part's own config.json, so that sizes are known before its weights are. Raises: ModelMissing."""
    return _read_json(folder / name / "config.json")


def _library(folder: Path, name: str) -> str:
    return str(_index_entry(folder, name)[0])


def _class(folder: Path, name: str) -> Any:
    library, class_name = _index_entry(folder, name)
    return getattr(import_module(library), class_name)


def _index_entry(folder: Path, name: str) -> list[str]:
    index = _read_json(folder / "model_index.json")
    if name not in index:
        raise ModelMissing(f"{folder / 'model_index.json'} names no {name}.", "Download the whole model folder again.")
    return list(index[name])


def _elements(folder: Path) -> int:
    """The number of weights in a folder's safetensors files, from their headers alone."""
    files = sorted(_existing(folder).glob("*.safetensors"))
    if not files:
        raise ModelMissing(f"There is no safetensors file in {folder}.", "Download the whole model folder again.")
    return sum(_header_elements(file) for file in files)


def _header_elements(file: Path) -> int:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    entries = (entry for key, entry in header.items() if key != "__metadata__")
    return sum(_entry_elements(entry) for entry in entries)


def _entry_elements(entry: dict[str, Any]) -> int:
    if entry["dtype"] in _STORED_BYTES:
        return math.prod(entry["shape"])
    start, end = entry["data_offsets"]  # already quantised: it stays as it is stored
    return math.ceil((end - start) / 2)


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(_existing(path).read_text(encoding="utf-8")))


def _existing(path: Path) -> Path:
    if path.exists():
        return path
    raise ModelMissing(f"{path} is not there.", "Download the whole model folder again.")
