"""Weights as others publish them, one tensor at a time: a folder in diffusers' or transformers' layout, or one file.

Tensors are mapped from their files: nothing is read before it is looked at, and a shard is let go when it is done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from engines.api.errors import BadInput, ModelMissing
from engines.catalogue import given

_VARIANTS = (".fp16.", ".bf16.", ".non_ema.")
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
_BLOCK_NAMES = {"double_blocks": "transformer_blocks", "single_blocks": "single_transformer_blocks"}
_BFL_BLOCK = re.compile(r"(double_blocks|single_blocks)\.(\d+)\.")
_DIFFUSERS_BLOCK = re.compile(r"(transformer_blocks|single_transformer_blocks)\.0\.")
_TINY = 8  # numbers in a marker, at most
Read = Callable[[Any, str], Tensor]


def shards(folder: Path) -> list[Path]:
    """The safetensors files of a part: those its index names, else those without a variant in their name.

    Raises: ModelMissing.
    """
    for index in sorted(folder.glob("*.safetensors.index.json")):
        if not _is_variant(index):
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            return [folder / name for name in sorted(set(names))]
    files = [file for file in sorted(folder.glob("*.safetensors")) if not _is_variant(file)]
    if not files:
        raise ModelMissing(f"There is no safetensors file in {folder}.", "Download the whole model folder again.")
    return files


def tensors(source: Path, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every weight of a part under the names that `model` has for it, from its folder or its single file.

    Raises: ModelMissing; BadInput for a weight of another shape, and where a single file is of a kind that is not read.
    """
    yield from _fitting(source, model, lambda mapped, key: mapped.get_tensor(key))


def demand_fitting(source: Path, model: nn.Module) -> None:
    """Whether `tensors` would give every weight of `model`, in its shape; no weight is read.

    Raises: ModelMissing, BadInput.
    """
    came = {name for name, _ in _fitting(source, model, _outline)}
    weights = dict(model.named_parameters(remove_duplicate=False))
    tied = {id(weights[name]) for name in came if name in weights}
    missing = [name for name, weight in weights.items() if id(weight) not in tied]
    if missing:
        raise BadInput(
            f"{source.name} lacks {len(missing)} weights of {type(model).__name__}, the first is {missing[0]}.",
            "It is another model, or not all of this one: give the weights of the very model that you pull.",
        )


def _fitting(source: Path, model: nn.Module, read: Read) -> Iterator[tuple[str, Tensor]]:
    """As `tensors`, whatever a weight is read as. Raises: ModelMissing, BadInput."""
    for name, weight in (_single_file if source.is_file() else _folder)(source, model, read):
        path, _, leaf = name.rpartition(".")
        expected = getattr(model.get_submodule(path), leaf)
        if weight.shape != expected.shape:
            raise BadInput(
                f"{name} in {source.name} has the shape {tuple(weight.shape)}; {type(model).__name__} has "
                f"{tuple(expected.shape)} there.",
                "Give the weights of the very model that you pull, at full width: not quantised, not of a sibling.",
            )
        yield name, weight


def _outline(mapped: Any, key: str) -> Tensor:
    """A weight's shape and type, on no device."""
    part = mapped.get_slice(key)
    return torch.empty(part.get_shape(), dtype=_TYPES.get(part.get_dtype(), torch.uint8), device="meta")


def _folder(source: Path, model: nn.Module, read: Read) -> Iterator[tuple[str, Tensor]]:
    names = _Names(model)
    for file in shards(source):
        with opened(file) as mapped:
            for key in mapped.keys():  # noqa: SIM118
                name = names(key)
                if name:
                    yield name, read(mapped, key)


class _Names:
    """From names in a file to names in a module, by transformers' own table of what it has renamed."""

    def __init__(self, model: nn.Module) -> None:
        self._known = dict.fromkeys([*model.state_dict(), *(name for name, _ in model.named_parameters())], True)
        self._prefix = getattr(model, "base_model_prefix", None)
        self._renamings = _renamings(model)

    def __call__(self, key: str) -> str:
        """Empty for what the module has no place for: old files carry buffers that are computed today."""
        if key in self._known:
            return key
        if self._renamings:
            from transformers.core_model_loading import rename_source_key

            key, _ = rename_source_key(key, self._renamings, [], self._prefix, self._known)
        return key if key in self._known else ""


def _renamings(model: nn.Module) -> list[Any]:
    """transformers' renamings; diffusers' models have none."""
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        return []
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming

    return [entry for entry in get_model_conversion_mapping(model) if isinstance(entry, WeightRenaming)]


def _single_file(file: Path, model: nn.Module, read: Read) -> Iterator[tuple[str, Tensor]]:
    """A transformer's own file, from Black Forest Labs, ComfyUI or diffusers, through diffusers' own converters."""
    kind = type(model).__name__
    if file.suffix != ".safetensors":
        raise BadInput(f"{file.name} is not a safetensors file.", given.READ)
    if trouble := given.quantised(given.header(file)):
        raise BadInput(f"{file.name} is quantised in a way that is not read here ({trouble}).", given.READ)
    with opened(file) as mapped:
        state = {key.removeprefix(given.PREFIX): read(mapped, key) for key in mapped.keys()}  # noqa: SIM118
        state = {key: weight for key, weight in state.items() if not _is_marker(key, weight)}
        known = model.state_dict().keys()
        for name, weight in state.items() if state.keys() <= known else converted(kind, state, file.name):
            if name not in known:
                raise BadInput(f"{file.name} holds no {kind}, which has no place for {name}.", given.READ)
            yield name, _float(weight)


def _is_marker(key: str, weight: Tensor) -> bool:
    return key in given.MARKERS and weight.numel() <= _TINY


def converted(kind: str, state: dict[str, Tensor], file: str) -> Iterator[tuple[str, Tensor]]:
    """By the converter that diffusers' `from_single_file` would take, a block at a time: it copies what it splits.

    Raises: BadInput.
    """
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    convert = SINGLE_FILE_LOADABLE_CLASSES.get(kind, {}).get("checkpoint_mapping_fn", dict)
    try:
        for index, (part, blocks) in enumerate(_block_by_block(state)):
            for name, weight in convert(part).items():
                block = _DIFFUSERS_BLOCK.match(name)
                if block and block[1] in blocks:
                    yield f"{block[1]}.{index}.{name[block.end() :]}", weight
                elif not block and index == 0:
                    yield name, weight
    except KeyError as error:
        raise BadInput(f"{file} holds no {kind}: {error} is not in it.", given.READ) from error
    except (IndexError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        first = next(iter(state), "nothing")
        raise BadInput(
            f"{file} holds no {kind}: its tensors have other names or shapes, the first is {first}.", given.READ
        ) from error


def _block_by_block(state: dict[str, Tensor]) -> Iterator[tuple[dict[str, Tensor], set[str]]]:
    """A checkpoint in Black Forest Labs' names as models of one block of each kind, and which kinds are not repeats."""
    blocks: dict[tuple[str, int], dict[str, Tensor]] = {}
    around = {}
    for key, weight in state.items():
        if found := _BFL_BLOCK.match(key):
            blocks.setdefault((found[1], int(found[2])), {})[f"{found[1]}.0.{key[found.end() :]}"] = weight
        else:
            around[key] = weight
    counts = {kind: 1 + max(index for name, index in blocks if name == kind) for kind, _ in blocks}
    for index in range(max(counts.values(), default=1)):
        part = dict(around)
        for kind, count in counts.items():
            part |= blocks[kind, index if index < count else 0]
        yield part, {_BLOCK_NAMES[kind] for kind, count in counts.items() if index < count}


def _float(tensor: Tensor) -> Tensor:
    """Plain 8-bit floats are widened; nothing computes in them."""
    return tensor.to(torch.bfloat16) if tensor.dtype in (torch.float8_e4m3fn, torch.float8_e5m2) else tensor


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A safetensors file, mapped. Raises: ModelMissing where it is not there or damaged."""
    if not file.is_file():
        raise ModelMissing(f"{file} is not there.", "Download the whole model folder again.")
    try:
        with safe_open(file, framework="pt") as mapped:
            yield mapped
    except SafetensorError as error:
        raise ModelMissing(f"{file} is damaged ({error}).", "Delete that file and download it again.") from error


def _is_variant(file: Path) -> bool:
    return any(variant in file.name for variant in _VARIANTS)
