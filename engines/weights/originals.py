"""Reads weights as others publish them, one tensor at a time, from a folder in diffusers layout or from one file.

Tensors are mapped from their files: a tensor is read when it is first used, and a shard is closed after its last
tensor.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.api.errors import BadInput, ModelMissing
from engines.api.params import Json
from engines.catalogue import given
from engines.catalogue.formats import READ, demand_format
from engines.catalogue.weights import is_variant
from engines.weights.published import Published, Scaled, Weight, published

_BLOCK_NAMES = {"double_blocks": "transformer_blocks", "single_blocks": "single_transformer_blocks"}
_BFL_BLOCK = re.compile(r"(double_blocks|single_blocks)\.(\d+)\.")
_DIFFUSERS_BLOCK = re.compile(r"(transformer_blocks|single_transformer_blocks)\.0\.")
_TINY = 8  # numbers in a marker, at most
Read = Callable[[Published, str], Tensor]


def read_json(file: Path) -> Json:
    """Returns the JSON object in a file of a model's folder. Raises: ModelMissing if the file is missing or damaged."""
    if not file.is_file():
        raise ModelMissing(f"{file} is not there.", "Download the whole model folder again.")
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError) as error:
        raise ModelMissing(f"{file} is damaged ({error}).", "Delete that file and download it again.") from error


def shards(folder: Path) -> list[Path]:
    """Returns the paths of a component's safetensors files.

    These are the files that the component's index file names; without an index, all except variants such as .fp16.
    `folder`: the component's folder. Raises: ModelMissing if it has no safetensors file, or a damaged index file.
    """
    for index in sorted(folder.glob("*.safetensors.index.json")):
        if not is_variant(index.name):
            return [folder / name for name in sorted(set(read_json(index).get("weight_map", {}).values()))]
    files = [file for file in sorted(folder.glob("*.safetensors")) if not is_variant(file.name)]
    if not files:
        raise ModelMissing(f"There is no safetensors file in {folder}.", "Download the whole model folder again.")
    return files


def tensors(source: Path, model: nn.Module) -> Iterator[tuple[str, Weight]]:
    """Yields the weights of a component as pairs (name in `model`, weight); e4m3 floats stay so, with their scales.

    `source`: the component's folder or one safetensors file; `model`: the module that the weights are for. Raises:
    ModelMissing for a missing or damaged file; BadInput for a weight of another shape, or for a single file in a format
    that is not supported.
    """
    # Scales take the way of their weights through the same renaming and splitting, row for row.
    scales = _named(source, model, lambda held, key: held.scale(key))
    weights = _fitting(source, model, lambda held, key: held.tensor(key))
    for (name, weight), (_, scale) in zip(weights, scales, strict=True):
        if weight.dtype != torch.float8_e4m3fn:
            yield name, weight
        else:
            yield name, Scaled(weight, scale[0, 0] if bool((scale == scale[0]).all()) else scale)


def demand_fitting(source: Path, model: nn.Module) -> None:
    """Checks that the files in `source` have all weights of `model`, each in its shape. Reads no weights.

    `source`: a component's folder or one safetensors file. Raises: BadInput for weights that do not fit; ModelMissing
    for a missing or damaged file.
    """

    def outline(held: Published, key: str) -> Tensor:
        """Returns a tensor of a weight's shape without its numbers."""
        return torch.empty(held.shape(key), device="meta")

    came = {name for name, _ in _fitting(source, model, outline)}
    weights = dict(model.named_parameters(remove_duplicate=False))
    tied = {id(weights[name]) for name in came if name in weights}
    missing = [name for name, weight in weights.items() if id(weight) not in tied]
    if missing:
        raise BadInput(
            f"{source.name} lacks {len(missing)} weights of {type(model).__name__}, the first is {missing[0]}.",
            "It is another model, or only a part of this one: give all weights of the very model that you pull.",
        )


def _fitting(source: Path, model: nn.Module, read: Read) -> Iterator[tuple[str, Tensor]]:
    """Yields what `_named` does, once it has the model's shape. Raises: ModelMissing, BadInput."""
    for name, weight in _named(source, model, read):
        path, _, leaf = name.rpartition(".")
        expected = getattr(model.get_submodule(path), leaf)
        if weight.shape != expected.shape:
            raise BadInput(
                f"{name} in {source.name} has the shape {tuple(weight.shape)}; {type(model).__name__} has "
                f"{tuple(expected.shape)} there.",
                "Give the weights of the very model that you pull, at full width: not quantised, not of a sibling.",
            )
        yield name, weight


def _named(source: Path, model: nn.Module, read: Read) -> Iterator[tuple[str, Tensor]]:
    """Yields (name in `model`, what `read` returns for it) of each weight. Raises: ModelMissing, BadInput."""
    return (_single_file if source.is_file() else _folder)(source, model, read)


def _folder(source: Path, model: nn.Module, read: Read) -> Iterator[tuple[str, Tensor]]:
    names = _Names(model)
    for file in shards(source):
        with published(file) as held:
            for key in held.keys():  # noqa: SIM118  it is no mapping
                name = names(key)
                if name:
                    yield name, read(held, key)


class _Names:
    """Converts names in a file to names in a module, by transformers' own table of renamed modules."""

    def __init__(self, model: nn.Module) -> None:
        self._known = dict.fromkeys([*model.state_dict(), *(name for name, _ in model.named_parameters())], True)
        self._prefix = getattr(model, "base_model_prefix", None)
        self._renamings = _renamings(model)

    def __call__(self, key: str) -> str:
        """Returns the name in the module, empty where it has none: old files hold buffers that are computed today."""
        if key in self._known:
            return key
        if self._renamings:
            from transformers.core_model_loading import rename_source_key

            key, _ = rename_source_key(key, self._renamings, [], self._prefix, self._known)
        return key if key in self._known else ""


def _renamings(model: nn.Module) -> list[Any]:
    """Returns transformers' renamings of a model; diffusers' models have none."""
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        return []
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming

    return [entry for entry in get_model_conversion_mapping(model) if isinstance(entry, WeightRenaming)]


def _single_file(file: Path, model: nn.Module, read: Read) -> Iterator[tuple[str, Tensor]]:
    """Yields the weights of a transformer's file, by Black Forest Labs, ComfyUI or diffusers, in diffusers' names."""
    kind = type(model).__name__
    demand_format(file)
    with published(file) as held:
        names = {key.removeprefix(given.PREFIX): key for key in held.keys()}  # noqa: SIM118  it is no mapping
        for marker in given.MARKERS:
            if marker in names and math.prod(held.shape(names[marker])) <= _TINY:
                del names[marker]
        state, known = _Unread(names, partial(read, held)), model.state_dict().keys()
        for name, weight in state.items() if names.keys() <= known else converted(kind, state, file.name):
            if name not in known:
                raise BadInput(f"{file.name} holds no {kind}: that model has no {name}.", READ)
            yield name, weight


class _Unread(Mapping[str, Tensor]):
    """Maps names to tensors, each of which is read from its file whenever it is asked for."""

    def __init__(self, keys: Mapping[str, str], read: Callable[[str], Tensor]) -> None:
        self._keys, self._read = keys, read

    def __getitem__(self, name: str) -> Tensor:
        return self._read(self._keys[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def converted(kind: str, state: Mapping[str, Tensor], file: str) -> Iterator[tuple[str, Tensor]]:
    """Yields the weights of a checkpoint as pairs (diffusers' name, tensor), converted block by block to save memory.

    `kind`: the name of a model class of diffusers; diffusers' converter for this class is used. `state`: the
    checkpoint's tensors by their original names; `file`: the checkpoint's file name, for error messages. Raises:
    BadInput for tensors that are not those of this model class.
    """
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    loadable: Any = SINGLE_FILE_LOADABLE_CLASSES
    convert = loadable.get(kind, {}).get("checkpoint_mapping_fn", dict)
    try:
        for index, (part, blocks) in enumerate(_block_by_block(state)):
            for name, weight in convert(part).items():
                block = _DIFFUSERS_BLOCK.match(name)
                if block and block[1] in blocks:
                    yield f"{block[1]}.{index}.{name[block.end() :]}", weight
                elif not block and index == 0:
                    yield name, weight
    except KeyError as error:
        raise BadInput(f"{file} holds no {kind}: {error} is not in it.", READ) from error
    except (IndexError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        first = next(iter(state), "nothing")
        raise BadInput(
            f"{file} holds no {kind}: its tensors have other names or shapes, the first is {first}.", READ
        ) from error


def _block_by_block(state: Mapping[str, Tensor]) -> Iterator[tuple[dict[str, Tensor], set[str]]]:
    """Yields, block by block, a checkpoint with Black Forest Labs' names that has one block of each kind.

    With each it yields the kinds (diffusers' names) whose block is new in it: a kind with fewer blocks repeats its
    first. The tensors of a block are taken from `state` when the block is yielded.
    """
    blocks: dict[tuple[str, int], dict[str, str]] = {}
    around = []
    for key in state:
        if found := _BFL_BLOCK.match(key):
            blocks.setdefault((found[1], int(found[2])), {})[f"{found[1]}.0.{key[found.end() :]}"] = key
        else:
            around.append(key)
    outside = {key: state[key] for key in around}
    counts = {kind: 1 + max(index for name, index in blocks if name == kind) for kind, _ in blocks}
    for index in range(max(counts.values(), default=1)):
        part = dict(outside)
        for kind, count in counts.items():
            part |= {name: state[key] for name, key in blocks[kind, index if index < count else 0].items()}
        yield part, {_BLOCK_NAMES[kind] for kind, count in counts.items() if index < count}
