"""From a folder in diffusers layout to the parts that a plan leases."""

from __future__ import annotations

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import safe_open

from engines.api.errors import ModelMissing
from engines.api.protocols import Component, ModelSpec
from engines.catalogue.imports import bringing_in
from engines.catalogue.weights import FULL_WIDTH, held_name, pulled_form
from engines.weights import originals, store
from engines.weights.originals import shards, tensors
from engines.weights.quantise import FORMS, check_whole, model_bytes, place, skeleton, stored

_STORED_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4}


def weight_dtype(spec: ModelSpec) -> torch.dtype:
    """Returns what a model's weights are held in: what its row names."""
    dtype: torch.dtype = getattr(torch, spec.dtype)
    return dtype


def form_of(spec: ModelSpec, folder: Path, name: str) -> str:
    """How a part is held: `bf16` (full width), `nf4` or `int8`; as the row says, or as `pull` was asked for."""
    if asked := spec.options.get("asked", {}).get(name):
        return str(asked)
    own = next((form for form in FORMS if name in spec.options.get(form, ())), FULL_WIDTH)
    return own if own == FULL_WIDTH else pulled_form(folder) or own


def holding(spec: ModelSpec, name: str, form: str) -> ModelSpec:
    """The same row with one of its parts held in another form, whatever was pulled."""
    return replace(spec, options={**spec.options, "asked": {**spec.options.get("asked", {}), name: form}})


def row_key(spec: ModelSpec, name: str) -> str:
    """What a part's row is called on the card: held in another form, it never stands in for the one that draws."""
    asked = spec.options.get("asked", {}).get(name)
    return f"{spec.name}@{asked}" if asked else spec.name


def in_form(spec: ModelSpec, form: str) -> ModelSpec:
    """The same row with what it quantises held in another form."""
    small = tuple(name for known in FORMS for name in spec.options.get(known, ()))
    rest = {key: value for key, value in spec.options.items() if key not in FORMS}
    return replace(spec, options={**rest, form: small} if form in FORMS else rest)


def component(spec: ModelSpec, folder: Path, name: str) -> Component:
    """One part of a model as the GPU manager moves it, sized without reading a weight.

    `bytes`: the registry row's figure where it has one, else what was written when it was quantised, else counted
    from the files' headers, or from the shapes of the model that its config describes. Raises: ModelMissing.
    """
    form = form_of(spec, folder, name)
    held = held_name(name, form)
    size = spec.component_bytes.get(held) or store.held_bytes(folder / held) or _counted(spec, folder, name, form)
    least = streamed_bytes(held_in(spec, folder, name), size, weight_dtype(spec).itemsize)
    return Component(f"{row_key(spec, name)}/{name}", size, partial(load, spec, folder, name), least)


def streamed_bytes(folder: Path, size: int, itemsize: int) -> int:
    """What a part of `size` bytes takes on the card when its blocks come one by one: all outside of them, and two.

    A block is what a numbered list holds; what lies outside keeps its full width of `itemsize` bytes. 0 where the
    files know no blocks. Two, since one is copied in before the allocator has all of the last one back.
    """
    outside, blocks = 0, Counter[str]()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                elements = math.prod(tensors.get_slice(name).get_shape())
                block = re.match(r"(.*?\.)?[A-Za-z_]+\.\d+(?=\.)", name)
                if block:
                    blocks[block.group()] += elements
                else:
                    outside += elements * itemsize
    if len(blocks) < 2 or outside >= size:
        return 0
    largest = max(blocks.values()) / blocks.total()
    least = int(outside + 2 * largest * (size - outside))
    return least if least < size else 0


def load(spec: ModelSpec, folder: Path, name: str) -> Any:
    """The module in evaluation mode with frozen weights, on the host, of the class that model_index.json names.

    A part that was quantised before is mapped from its files; else it is quantised now, weight by weight, when its
    form is not `bf16`. Raises: ModelMissing.
    """
    form, dtype, source = form_of(spec, folder, name), weight_dtype(spec), _existing(held_in(spec, folder, name))
    if store.held_bytes(source):
        module = _filled(spec, folder, name, source, form, store.read)
    elif form in FORMS:
        module = _filled(spec, folder, name, source, form, partial(_quantise, dtype=dtype))
    else:
        knob = "dtype" if _library(folder, name) == "transformers" else "torch_dtype"
        module = _class(folder, name).from_pretrained(source, local_files_only=True, **{knob: dtype})
    return module.eval().requires_grad_(False)


def held_in(spec: ModelSpec, folder: Path, name: str) -> Path:
    """The folder whose files `load` reads: the quantised part's where it was written, else the original's."""
    held = folder / held_name(name, form_of(spec, folder, name))
    return held if store.held_bytes(held) else folder / name


def write(
    spec: ModelSpec, folder: Path, name: str, form: str, source: Path, *, device: str = "cpu",
    on_tensor: store.OnTensor = lambda _: None,
) -> None:  # fmt: skip
    """Quantise one part once, from a folder or a single file, to where `load` finds it.

    Raises: ModelMissing, BadInput.
    """
    dtype = weight_dtype(spec)
    model = skeleton(bare(folder, name, source), form, dtype, _full_width(spec))
    target = folder / held_name(name, form)
    store.write(model, tensors(source, model), target, form, dtype, device=device, on_tensor=on_tensor)


def demand_fitting(spec: ModelSpec, folder: Path, source: Path) -> None:
    """Whether what `pull` was given fills the parts of a model that are made of it; no weight is read.

    `folder` has the configurations, `source` is a model's folder or the transformer's file. Raises: ModelMissing,
    BadInput.
    """
    small = {name for form in FORMS for name in spec.options.get(form, ())}
    for name in sorted({"transformer"} if source.is_file() else small):
        place = source if source.is_file() else source / name
        originals.demand_fitting(place, bare(folder, name, folder / name))


def _filled(
    spec: ModelSpec, folder: Path, name: str, source: Path, form: str, fill: Callable[[Any, Path, str], None]
) -> Any:
    """A skeleton with its weights in."""
    model = skeleton(bare(folder, name, source), form, weight_dtype(spec), _full_width(spec))
    fill(model, source, form)
    if _library(folder, name) == "transformers":
        model.tie_weights(missing_keys={key for key, weight in model.named_parameters() if weight.is_meta})
    check_whole(model, str(source))
    return model


def _quantise(model: Any, source: Path, form: str, dtype: torch.dtype) -> None:
    for name, weight in tensors(source, model):
        place(model, stored(model, name, weight, form, dtype), form)


def bare(folder: Path, name: str, source: Path) -> Any:
    """The model that a part's config describes, all weights on the meta device, those that are shared tied."""
    kind = _class(folder, name)
    described = source if source.is_dir() else folder / name
    with init_empty_weights(include_buffers=False):
        if _library(folder, name) == "diffusers":
            return kind.from_config(kind.load_config(_existing(described)))
        model = kind(kind.config_class.from_pretrained(_existing(described), local_files_only=True))
    model.tie_weights()
    if (described / "generation_config.json").is_file():
        model.generation_config = type(model.generation_config).from_pretrained(described, local_files_only=True)
    return model


def _full_width(spec: ModelSpec) -> tuple[str, ...]:
    """What the row wants kept at full width, shared by all blocks or small."""
    return tuple(spec.options.get("full_width", ()))


def _counted(spec: ModelSpec, folder: Path, name: str, form: str) -> int:
    dtype = weight_dtype(spec)
    if form in FORMS:
        empty = bare(folder, name, _existing(folder / name))
        return model_bytes(skeleton(empty, form, dtype, _full_width(spec)), form, dtype)
    return sum(_header_elements(file) for file in shards(_existing(folder / name))) * dtype.itemsize


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
    with bringing_in():
        return getattr(import_module(library), class_name)


def _index_entry(folder: Path, name: str) -> list[str]:
    index = _read_json(folder / "model_index.json")
    if name not in index:
        raise ModelMissing(f"{folder / 'model_index.json'} names no {name}.", "Download the whole model folder again.")
    return list(index[name])


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
