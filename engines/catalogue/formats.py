"""Reads the headers of weights' files, and tells which formats can be read here; imports no torch, reads no weights."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engines.api.errors import BadInput

GGUF = ".gguf"
READ = (
    "Give a safetensors file in 8-bit floats or wider, or in bitsandbytes' 4 bits, or a GGUF file, with its makers' or "
    "ComfyUI's names."
)
SCALE = re.compile(r"\.(scale_weight|weight_scale|scale_input|input_scale|comfy_quant)$")
"""The endings of tensors that describe a weight in 8-bit floats: its scale, that of its inputs, and its format."""
_OF_WEIGHT = ("scale_weight", "weight_scale")
FOUR_BIT = re.compile(
    r"^(.+)\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.bitsandbytes__(?:nf4|fp4))$"
)
"""The names of tensors that describe a weight in bitsandbytes' 4 bits: the weight, and the ending."""
_STATE = re.compile(r"^(.+)\.quant_state\.bitsandbytes__(?:nf4|fp4)$")
_LARGEST_HEADER = 100_000_000  # safetensors' own limit
_POINTER = b"version https://git-lfs"
_QUANTISED = (  # endings of tensors' names -> the tool that writes them
    (re.compile(r"\.weight_scale_2$"), "NVFP4"),
    (re.compile(r"\.(absmax|quant_map|nested_absmax|quant_state\.\S+|SCB|weight_format)$"), "bitsandbytes"),
    (re.compile(r"\.(qweight|wscales|wcscales|smooth|smooth_factor|wzeros)$"), "Nunchaku"),
)
_WHOLE_NUMBERS = ("U8", "I8", "I32", "F4")
_METADATA = "__metadata__"
_LAYERS = "_quantization_metadata"  # ComfyUI's metadata key: the format of each quantised layer, as JSON
_GGUF_SHAPE = "comfy.gguf.orig_shape."  # ComfyUI-GGUF's key of a tensor's shape where GGUF's own cannot hold it

Header = Mapping[str, Any]  # a safetensors header: tensor -> dtype, shape, data_offsets; and __metadata__


@dataclass(frozen=True)
class GgufTensor:
    """Holds a tensor of an open GGUF file: its `shape`, and the library's own object `held` with type and bytes."""

    shape: tuple[int, ...]
    held: Any  # gguf has no types


def demand_format(file: Path) -> None:
    """Checks that the weights in a file are in a format that is read here. Raises: BadInput that names the format."""
    if file.suffix.lower() == GGUF:
        gguf_tensors(file)
        return
    if file.suffix != ".safetensors":
        raise BadInput(f"{file.name} is not a safetensors or GGUF file.", READ)
    if trouble := quantised(file):
        raise BadInput(f"{file.name} is quantised in a way that is not read here ({trouble}).", READ)


def shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the tensors in a safetensors or GGUF file, by their names. Raises: BadInput.

    A weight in bitsandbytes' 4 bits has the shape that it had at full width; what describes it is left out.
    """
    if file.suffix.lower() == GGUF:
        return {name: tensor.shape for name, tensor in gguf_tensors(file).items()}
    found = header(file)
    packed = four_bit(found)
    states = _bytes(file, found, packed.values())
    sides = {key: tuple(entry["shape"]) for key, entry in found.items() if key != _METADATA and not _of(key, packed)}
    try:
        return sides | {weight: tuple(json.loads(states[state])["shape"]) for weight, state in packed.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file.name} is damaged: its 4-bit weights are not described.", READ) from error


def four_bit(names: Iterable[str]) -> dict[str, str]:
    """Returns the weights in bitsandbytes' 4 bits among tensors' names: weight -> tensor that describes its state."""
    return {match[1]: name for name in names if (match := _STATE.match(name))}


def _of(name: str, packed: Container[str]) -> bool:
    """Returns whether a tensor describes one of the weights `packed`, which are in bitsandbytes' 4 bits."""
    match = FOUR_BIT.match(name)
    return match is not None and match[1] in packed


def scales(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields for each weight with a scale its module's name and the ending of the scale's name."""
    for name in names:
        module, _, end = name.rpartition(".")
        if end in _OF_WEIGHT:
            yield module, end


def header(file: Path) -> Header:
    """Reads a safetensors file's header, and checks that it fits the file's length. Raises: BadInput.

    Returns tensor name -> its dtype, shape and data_offsets, and the file's own metadata under `__metadata__`.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(len(_POINTER))
        if start == _POINTER:
            hint = "Run `git lfs pull` in its folder, then pull again."
            raise BadInput(f"{file} is only a pointer to the weights.", hint)
        length = int.from_bytes(start[:8], "little")
        stream.seek(8)
        text = stream.read(length) if 2 <= length <= min(size - 8, _LARGEST_HEADER) else b""
    try:
        found = json.loads(text)
        end = max((entry["data_offsets"][1] for key, entry in found.items() if key != _METADATA), default=0)
        whole = 8 + length + end == size and all("shape" in found[key] for key in found if key != _METADATA)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        whole = False
    if not whole:
        raise BadInput(f"{file} is damaged, or is not a safetensors file.", "Delete that file and download it again.")
    return dict(found)


def quantised(file: Path) -> str:
    """Returns a description of the first sign that a safetensors file is quantised in a way that is not read here.

    The text names the tool or the kind of number, and the tensor. Returns "" where there is no such sign: 8-bit floats
    with one scale for each weight, or one for each of its rows, are read, and bitsandbytes' 4 bits. Raises: BadInput
    for a damaged file.
    """
    found = header(file)
    in_four = four_bit(found)
    plain = [key for key in found if not _of(key, in_four)]
    named = ((pattern.search(key), key, whose) for key in plain for pattern, whose in _QUANTISED)
    told = next((f"{whose}: {key}" for match, key, whose in named if match), "")
    packed = (
        f"whole numbers: {key}"
        for key, entry in found.items()
        if key.endswith(".weight") and entry["dtype"] in _WHOLE_NUMBERS and key not in in_four
    )
    blocks = (
        f"scales of blocks: {key}"
        for key, entry in found.items()
        if key.endswith(_OF_WEIGHT) and len(entry["shape"]) > 1 and entry["shape"][-1] > 1
    )
    others = (f"{form}: {layer}" for layer, form in _layers(file, found) if not form.startswith("float8"))
    return told or next(others, "") or next(packed, "") or next(blocks, "")


def _layers(file: Path, found: Header) -> Iterator[tuple[str, str]]:
    """Yields the quantised layers that ComfyUI describes in a file, each with the name of its format.

    They are described in the file's metadata, or each in a tensor of bytes. A text that is no description yields an
    unknown format.
    """
    texts = {_LAYERS: found.get(_METADATA, {}).get(_LAYERS, "{}").encode()}
    texts |= _bytes(file, found, (key for key in found if key.endswith(".comfy_quant")))
    for key, text in texts.items():
        try:
            told = json.loads(text)
            layers = told.get("layers", {}) if key == _LAYERS else {key: told}
            yield from ((layer, str(how["format"])) for layer, how in layers.items())
        except (ValueError, KeyError, TypeError, AttributeError):
            yield key, "unknown"


def _bytes(file: Path, found: Header, keys: Iterable[str]) -> dict[str, bytes]:
    """Returns the bytes of small tensors in a safetensors file, by their names; `found`: its header."""
    texts = {}
    with file.open("rb") as stream:
        start = 8 + int.from_bytes(stream.read(8), "little")
        for key in keys:
            first, last = found[key]["data_offsets"]
            stream.seek(start + first)
            texts[key] = stream.read(last - first)
    return texts


def gguf_tensors(file: Path) -> dict[str, GgufTensor]:
    """Opens a GGUF file, memory-mapped, and returns its tensors by name.

    Raises: BadInput for a damaged file, and for a tensor of a type that cannot be read.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise BadInput(f"{file} is damaged ({error}).", "Delete that file and download it again.") from error
    found = {}
    for tensor in reader.tensors:
        kind = tensor.tensor_type.name
        if not _is_read(kind):
            raise BadInput(f"{file.name} is quantised in a way that is not read here ({kind}: {tensor.name}).", READ)
        told = reader.get_field(f"{_GGUF_SHAPE}{tensor.name}")
        shape = told.contents() if told else reversed(tensor.shape.tolist())
        found[str(tensor.name)] = GgufTensor(tuple(int(each) for each in shape), tensor)
    return found


@cache
def _is_read(kind: str) -> bool:
    """Returns whether the library has code for a type of GGUF's, such as Q4_K: it is given one block of zeros."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    known = GGMLQuantizationType[kind]
    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[known][1]), np.uint8), known)
    except NotImplementedError:
        return False
    return True
