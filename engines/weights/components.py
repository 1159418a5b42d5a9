"""Sizes, loads and quantises the components (text encoder, transformer, VAE) of a model folder in diffusers layout."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import torch
from accelerate import init_empty_weights

from engines.api.errors import ModelMissing
from engines.api.forms import FULL_WIDTH
from engines.api.params import Json
from engines.api.protocols import Component, Loaded, ModelSpec
from engines.catalogue.formats import header
from engines.catalogue.given import Given, Source
from engines.catalogue.imports import bringing_in
from engines.catalogue.weights import held_name, pulled_form
from engines.weights import originals, store
from engines.weights.originals import read_json, shards, tensors
from engines.weights.published import opened
from engines.weights.quantise import FORMS, check_whole, model_bytes, place, skeleton, stored

LibraryClass: TypeAlias = Any  # a class of diffusers or transformers, by its name in model_index.json

_QUANTISED = "quantization_config"  # tells how another tool had quantised the weights; ours are told beside them
_STORED_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4}


def weight_dtype(spec: ModelSpec) -> torch.dtype:
    """Returns the dtype of a model's weights: float32 for the small built-in models, bfloat16 for all others."""
    dtype: torch.dtype = getattr(torch, spec.dtype)
    return dtype


def form_of(spec: ModelSpec, folder: Path, name: str) -> str:
    """Returns the precision in which a component of a model is loaded, such as "nf4".

    `spec`: the model's registry row; `folder`: the model's folder; `name`: the component. A precision that the function
    `holding` has written into the row takes precedence. Without it, a component that the row does not quantise is
    "bf16"; any other has the precision chosen when the model was downloaded, or else that of the row.
    """
    if asked := spec.options.get("asked", {}).get(name):
        return str(asked)
    own = next((form for form in FORMS if name in spec.options.get(form, ())), FULL_WIDTH)
    return own if own == FULL_WIDTH else pulled_form(folder) or own


def holding(spec: ModelSpec, name: str, form: str) -> ModelSpec:
    """Returns a copy of a registry row with the precision `form` (such as "bf16") for the component `name`.

    This takes precedence over the precision chosen when the model was downloaded.
    """
    return replace(spec, options={**spec.options, "asked": {**spec.options.get("asked", {}), name: form}})


def row_key(spec: ModelSpec, name: str) -> str:
    """Returns the part of a component's key that names the model, such as "mini-flux" or "mini-flux@int8".

    Components with equal keys have equal weights and are loaded once. The precision is part of the key only if
    `holding` set one for the component `name`.
    """
    asked = spec.options.get("asked", {}).get(name)
    return f"{spec.name}@{asked}" if asked else spec.name


def in_form(spec: ModelSpec, form: str) -> ModelSpec:
    """Returns a copy of a registry row in which all quantised components have the precision `form` instead.

    `form`: the precision; bf16 leaves them unquantised.
    """
    small = tuple(name for known in FORMS for name in spec.options.get(known, ()))
    rest = {key: value for key, value in spec.options.items() if key not in FORMS}
    return replace(spec, options={**rest, form: small} if form in FORMS else rest)


def component(spec: ModelSpec, folder: Path, name: str) -> Component:
    """Returns the description of one component of a model. Reads no weights.

    The description has a key (equal for equal weights), the bytes on the GPU, and the function that loads the
    component. The bytes are those in the registry row. If the row has none, they are those recorded when the component
    was quantised, or else are computed from the shapes of its weights. `folder`: the model's folder. Raises:
    ModelMissing if it lacks the component.
    """
    form = form_of(spec, folder, name)
    held = held_name(name, form)
    size = spec.component_bytes.get(held) or store.held_bytes(folder / held) or _counted(spec, folder, name, form)
    least = streamed_bytes(held_in(spec, folder, name), size, weight_dtype(spec).itemsize)
    return Component(f"{row_key(spec, name)}/{name}", size, partial(load, spec, folder, name), least)


def streamed_bytes(folder: Path, size: int, itemsize: int) -> int:
    """Returns the bytes of GPU memory that a component needs if its blocks are copied to the GPU one at a time.

    This memory holds all weights outside the blocks, and two blocks: the second is copied before the first is freed.
    `folder`: the component's files; `size`: its bytes when it is loaded whole; `itemsize`: the bytes of one weight
    outside the blocks. Returns 0 if the component has no blocks, or if copying them one at a time saves no memory.
    Raises: ModelMissing for a damaged file.
    """
    outside, blocks = 0, Counter[str]()
    for file in sorted(folder.glob("*.safetensors")):
        with opened(file) as mapped:
            for name in mapped.keys():  # noqa: SIM118  safe_open is no mapping
                elements = math.prod(mapped.get_slice(name).get_shape())
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


def load(spec: ModelSpec, folder: Path, name: str) -> Loaded:
    """Loads a component of a model to RAM, as a module of the class that model_index.json names.

    The module is frozen and in evaluation mode. If quantised files of it exist, they are memory-mapped. Otherwise, for
    a precision other than bf16, the weights are quantised one by one while they are read. `folder`: the model's folder.
    Raises: ModelMissing if a file of the component is missing or damaged.
    """
    form, dtype, source = form_of(spec, folder, name), weight_dtype(spec), _existing(held_in(spec, folder, name))
    if store.held_bytes(source):
        module = _filled(spec, folder, name, source, form, store.read)
    elif form in FORMS:

        def quantise(model: Loaded, source: Path, form: str) -> None:
            for key, weight in tensors(Source(source), model):
                place(model, stored(model, key, weight, form, dtype), form)

        module = _filled(spec, folder, name, source, form, quantise)
    else:
        read_json(source / "config.json")  # checked before the libraries read them: these name no damaged file
        for file in shards(source):
            with opened(file):
                pass
        knob = "dtype" if _library(folder, name) == "transformers" else "torch_dtype"
        module = _class(folder, name).from_pretrained(source, local_files_only=True, **{knob: dtype})
    return module.eval().requires_grad_(False)


def held_in(spec: ModelSpec, folder: Path, name: str) -> Path:
    """Returns the folder from which `load` reads a component of a model.

    This is the folder of the quantised files if it exists, otherwise that of the original files. `folder`: the model's
    folder; `name`: the component.
    """
    held = folder / held_name(name, form_of(spec, folder, name))
    return held if store.held_bytes(held) else folder / name


def write(
    spec: ModelSpec, folder: Path, name: str, form: str, source: Path | Source, *, device: str = "cpu",
    on_tensor: store.OnTensor = lambda done, total: None,
) -> None:  # fmt: skip
    """Quantises a component of a model and writes it to the model's `folder`, where `load` finds it.

    `form`: the precision; bf16 writes the component at full width. `source`: the original weights, a folder or one
    file; `device`: where the quantising is computed; `on_tensor`: called after each weight with the number of those
    that are done, and of all. Raises: ModelMissing for a missing or damaged file or weight; BadInput for weights that
    do not fit the model.
    """
    dtype, weights = weight_dtype(spec), source if isinstance(source, Source) else Source(source)
    model = skeleton(bare(folder, name, folder / name), form, dtype, full_width(spec))
    target = folder / held_name(name, form)
    store.write(model, tensors(weights, model), target, form, dtype, device=device, on_tensor=on_tensor)


def demand_fitting(spec: ModelSpec, folder: Path, given: Given) -> None:
    """Checks that the weights which a user gives have the names and shapes of this model. Reads no weights.

    `folder`: the folder with the model's configurations; `given`: the given weights. Raises: BadInput for weights that
    do not fit; ModelMissing for a missing or damaged file.
    """
    small = {name for form in FORMS for name in spec.options.get(form, ())} if given.folder else set()
    whole = {name: Source(given.folder / name) for name in sorted(small) if given.folder}
    for name, source in {**whole, **given.parts}.items():
        originals.demand_fitting(source, bare(folder, name, folder / name))


def _filled(
    spec: ModelSpec, folder: Path, name: str, source: Path, form: str, fill: Callable[[Loaded, Path, str], None]
) -> Loaded:
    """Builds a component without weights, and calls `fill`, which loads the weights into it. Raises: ModelMissing."""
    model: Loaded = skeleton(bare(folder, name, source), form, weight_dtype(spec), full_width(spec))
    fill(model, source, form)
    if _library(folder, name) == "transformers":
        model.tie_weights(missing_keys={key for key, weight in model.named_parameters() if weight.is_meta})
    check_whole(model, str(source))
    return model


def bare(folder: Path, name: str, source: Path) -> Loaded:
    """Builds the module that a component's config describes, without weights (on the meta device).

    Tied weights are tied. `folder`: the model's folder; `name`: the component; `source`: the folder with the
    component's config, or a file of weights; for a file, the config in `folder` is used. Raises: ModelMissing
    for a missing or damaged config.
    """
    kind = _class(folder, name)
    described = source if source.is_dir() else folder / name
    read_json(described / "config.json")  # raises where the libraries would name no file
    with init_empty_weights(include_buffers=False):
        if _library(folder, name) == "diffusers":
            told = kind.load_config(described)
            return kind.from_config({key: value for key, value in told.items() if key != _QUANTISED})
        config = kind.config_class.from_pretrained(described, local_files_only=True)
        if hasattr(config, _QUANTISED):
            delattr(config, _QUANTISED)
        model = kind(config)
    model.tie_weights()
    if (described / "generation_config.json").is_file():
        model.generation_config = type(model.generation_config).from_pretrained(described, local_files_only=True)
    return model


def full_width(spec: ModelSpec) -> tuple[str, ...]:
    """Returns the names of modules that stay at full width: small ones, or those that all blocks share."""
    return tuple(spec.options.get("full_width", ()))


def _counted(spec: ModelSpec, folder: Path, name: str, form: str) -> int:
    """Computes the size of a component in bytes from the shapes in its config, or in its files' headers."""
    dtype, original = weight_dtype(spec), _existing(folder / name)
    if form in FORMS:
        return model_bytes(skeleton(bare(folder, name, original), form, dtype, full_width(spec)), form, dtype)
    elements = 0
    for file in shards(original):
        for entry in (entry for key, entry in header(file).items() if key != "__metadata__"):
            if entry["dtype"] in _STORED_BYTES:
                elements += math.prod(entry["shape"])
            else:  # quantised already: it stays as it is stored
                start, end = entry["data_offsets"]
                elements += math.ceil((end - start) / 2)
    return elements * dtype.itemsize


def tokenizer(folder: Path, name: str) -> Loaded:
    """Loads a tokenizer or processor of a model, as the class that model_index.json names.

    `folder`: the model's folder; `name`: the tokenizer's folder in it. Raises: ModelMissing if that is missing or
    damaged.
    """
    kind, place = _class(folder, name), _existing(folder / name)
    try:
        return kind.from_pretrained(place, local_files_only=True)
    except (ValueError, TypeError) as error:
        raise ModelMissing(f"{place} cannot be read ({error}).", "Delete that folder and download it again.") from error


def scheduler(folder: Path) -> Json:
    """Returns the configuration of a model's noise scheduler, from scheduler_config.json in the model's `folder`.

    Raises: ModelMissing if there is no such file.
    """
    return read_json(folder / "scheduler" / "scheduler_config.json")


def config(folder: Path, name: str) -> Json:
    """Returns the content of a component's config.json.

    `folder`: the model's folder; `name`: the component, such as "vae". Raises: ModelMissing if there is no such file.
    """
    return read_json(folder / name / "config.json")


def _library(folder: Path, name: str) -> str:
    return str(_index_entry(folder, name)[0])


def _class(folder: Path, name: str) -> LibraryClass:
    library, class_name = _index_entry(folder, name)
    with bringing_in():
        return getattr(import_module(library), class_name)


def _index_entry(folder: Path, name: str) -> list[str]:
    """Returns the library and the class of a component from model_index.json. Raises: ModelMissing."""
    index = read_json(folder / "model_index.json")
    if name not in index:
        raise ModelMissing(f"{folder / 'model_index.json'} lacks {name}.", "Download the whole model folder again.")
    return list(index[name])


def _existing(path: Path) -> Path:
    if path.exists():
        return path
    raise ModelMissing(f"{path} is not there.", "Download the whole model folder again.")
