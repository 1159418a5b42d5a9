"""Model folders of the published shapes whose weight files are holes: every header is true, no weight takes a byte.

The files are sparse: what is mapped from them is read as zeros, and nothing here reads it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from engines.api.protocols import ModelSpec
from engines.catalogue.shapes import Layout, Part
from engines.catalogue.weights import held_name
from engines.weights import components
from engines.weights.aligned import ALIGNMENT
from engines.weights.quantise import FORMS, model_bytes, skeleton, stored
from engines.weights.store import MANIFEST
from engines.weights.synthetic import frame

DEPTHS = ("num_layers", "num_single_layers")
_SIDE = 64  # of a weight that is quantised to learn the names and types of what is stored
_NAMES = {
    torch.float32: "F32", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3", torch.int8: "I8", torch.uint8: "U8",
}  # fmt: skip
Shaped = tuple[str, torch.dtype, tuple[int, ...], bytes]  # a stored tensor: name, type, shape, its bytes where known


def units(layout: Layout) -> int:
    """Returns how many equal parts a transformer's blocks can be cut into, each with every kind of block."""
    config = layout["transformer"].config
    return math.gcd(*(config[name] for name in DEPTHS if name in config))


def shallow(layout: Layout, parts: int) -> Layout:
    """Returns a layout whose transformer has so many of its `units`; all else is whole."""
    library, kind, config = layout["transformer"]
    depths = {name: config[name] * parts // units(layout) for name in DEPTHS if name in config}
    return {**layout, "transformer": Part(library, kind, {**config, **depths})}


def build(spec: ModelSpec, layout: Layout, folder: Path) -> Path:
    """Writes a model's folder in the forms of its registry row, and returns it; `spec` must not state its bytes."""
    frame(spec, layout, folder)
    dtype = components.weight_dtype(spec)
    for name in layout:
        form = components.form_of(spec, folder, name)
        target = folder / held_name(name, form)
        model = skeleton(components.bare(folder, name, folder / name), form, dtype, components.full_width(spec))
        target.mkdir(exist_ok=True)
        if target != folder / name:
            (target / "config.json").write_text((folder / name / "config.json").read_text())
        _write(target / "model.safetensors", list(_tensors(model, form, dtype)))
        manifest = {"form": form, "dtype": str(dtype), "bytes": model_bytes(model, form, dtype)}
        (target / MANIFEST).write_text(json.dumps(manifest))
    return folder


def without_sizes(spec: ModelSpec) -> ModelSpec:
    """Returns a registry row whose sizes are those of the folder, which may be of a shallow model."""
    return replace(spec, component_bytes={})


def _tensors(model: nn.Module, form: str, dtype: torch.dtype) -> Iterator[Shaped]:
    kind = FORMS[form].kind if form in FORMS else ()
    seen: set[int] = set()
    for path, module in model.named_modules():
        kept = {key: each for key, each in module._buffers.items() if key not in module._non_persistent_buffers_set}
        for leaf, buffer in kept.items():
            if type(module).__name__ != "Linear8bit" and buffer is not None and buffer.is_floating_point():
                yield f"{path}.{leaf}", dtype, tuple(buffer.shape), b""
        for leaf, weight in module.named_parameters(recurse=False):
            if id(weight) in seen:
                continue
            seen.add(id(weight))
            name = f"{path}.{leaf}".removeprefix(".")
            if leaf == "weight" and isinstance(module, kind):
                yield from _quantised(name, form, dtype, module.out_features, module.in_features)
            else:
                yield name, dtype if weight.is_floating_point() else weight.dtype, tuple(weight.shape), b""


def _quantised(name: str, form: str, dtype: torch.dtype, rows: int, columns: int) -> Iterator[Shaped]:
    """Yields what is stored for a quantised weight, by what is stored for a small one."""
    layer = skeleton(nn.ModuleDict({"one": nn.Linear(_SIDE, _SIDE, bias=False, device="meta")}), form, dtype)
    small = stored(layer, "one.weight", torch.eye(_SIDE), form, dtype)
    count, blocks = rows * columns, -(-rows * columns // 64)
    shapes = {
        "weight": ((count + 1) // 2, 1) if form == "nf4" else (rows, columns),
        "weight.absmax": (blocks,),
        "weight.nested_absmax": (-(-blocks // 256),),
        "scale": (rows,),
        "weight_scale": (rows, 1),
    }
    for key, tensor in small.items():
        ending, told = key.removeprefix("one."), b""
        shape = shapes.get(ending, tuple(tensor.shape))
        if ending.startswith("weight.quant_state"):
            state = json.loads(bytes(tensor.tolist()))
            told = json.dumps({**state, "shape": [rows, columns]}).encode()
            shape = (len(told),)
        yield name.removesuffix("weight") + ending, tensor.dtype, shape, told


def _write(file: Path, tensors: list[Shaped]) -> None:
    """Writes a safetensors file whose tensors are holes, each from a multiple of `ALIGNMENT` bytes on."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    known: list[tuple[int, bytes]] = []
    end = 0
    nbytes = {name: torch.Size(shape).numel() * dtype.itemsize for name, dtype, shape, _ in tensors}
    for name, dtype, shape, told in sorted(tensors, key=lambda each: nbytes[each[0]] % ALIGNMENT != 0):
        start, end = end, end + nbytes[name]
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
        known += [(start, told)] if told else []
    words = json.dumps(header, separators=(",", ":")).encode()
    words += b" " * (-(len(words) + 8) % ALIGNMENT)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(words)) + words)
        begin = stream.tell()
        for start, told in known:
            stream.seek(begin + start)
            stream.write(told)
        stream.truncate(begin + end)
