"""A quantised part on disk: written once, tensor by tensor, and mapped back without being read or copied.

The layout is that of diffusers and transformers (config.json, safetensors shards, for NF4 bitsandbytes' own names), and
`quantised.json` beside them says what it is.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.api.errors import ModelMissing
from engines.weights.aligned import straight, write_aligned
from engines.weights.originals import opened, shards
from engines.weights.quantise import model_bytes, place, stored

MANIFEST = "quantised.json"
SHARD_BYTES = 1 << 29  # what is quantised waits in memory until it is this much
OnTensor = Callable[[str], None]


def write(
    model: nn.Module,
    weights: Iterable[tuple[str, Tensor]],
    target: Path,
    form: str,
    dtype: torch.dtype,
    *,
    on_tensor: OnTensor = lambda _: None,
    device: str = "cpu",
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Hold a part's `weights` in a form in the folder `target`; it is there whole, or not at all.

    `model` is its `skeleton`, `weights` have its names; `device` is where weights are quantised, one at a time. Peak
    memory: one shard and one weight. Raises: ModelMissing, BadInput.
    """
    draft = target.with_name(f"{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, draft, ignore_errors=True)
        shelf = _Shelf(draft, shard_bytes)
        came: set[int] = set()
        for name, weight in weights:
            parameter = id(_named(model, name))
            if parameter not in came:  # weights that modules share are kept once
                came.add(parameter)
                kept = stored(model, name, weight.to(device), form, dtype)
                shelf.put({key: tensor.cpu() for key, tensor in kept.items()})
                on_tensor(name)
        _check_all_came(model, came, target)
        shelf.close()
        _write_config(model, draft)
        _write_json(draft / MANIFEST, {"form": form, "dtype": str(dtype), "bytes": model_bytes(model, form, dtype)})
        _sync(draft)
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
        undo.pop_all()
    _sync(target.parent)


def read(model: nn.Module, folder: Path, form: str) -> None:
    """Map a part's files into its `skeleton`. Raises: ModelMissing."""
    for file in shards(folder):
        with opened(file) as mapped:
            place(model, {key: straight(mapped.get_tensor(key)) for key in mapped.keys()}, form)  # noqa: SIM118


def held_bytes(folder: Path) -> int:
    """What a written part takes in memory; 0 where none is whole."""
    manifest = folder / MANIFEST
    return int(json.loads(manifest.read_text(encoding="utf-8"))["bytes"]) if manifest.is_file() else 0


class _Shelf:
    """Collects tensors and puts them away a shard at a time; those of one call stay together."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder = folder
        self._limit = shard_bytes
        self._waiting: dict[str, Tensor] = {}
        self._bytes = self._files = 0

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Take them; a full shard goes to disk."""
        self._waiting |= {name: tensor.contiguous() for name, tensor in tensors.items()}
        self._bytes += sum(tensor.nbytes for tensor in tensors.values())
        if self._bytes >= self._limit:
            self.close()

    def close(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._files += 1
            write_aligned(self._folder / f"model-{self._files:05d}.safetensors", self._waiting)
        self._waiting, self._bytes = {}, 0


def _named(model: nn.Module, name: str) -> Any:
    path, _, leaf = name.rpartition(".")
    return getattr(model.get_submodule(path), leaf)


def _check_all_came(model: nn.Module, came: set[int], target: Path) -> None:
    missing = [name for name, weight in model.named_parameters() if id(weight) not in came]
    if missing:
        raise ModelMissing(
            f"What {target.name} is made from lacks {len(missing)} weights, the first is {missing[0]}.",
            "Download the whole model folder again.",
        )


def _write_config(model: Any, folder: Path) -> None:
    if hasattr(model, "save_config"):  # diffusers
        model.save_config(folder)
        return
    model.config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)


def _write_json(file: Path, data: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(data, indent=2), encoding="utf-8")


def _sync(folder: Path) -> None:
    """Make a folder's files and names outlive a power cut, where the system can."""
    for file in folder.iterdir():
        if file.is_file():
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_DIRECTORY)
        os.fsync(handle)
        os.close(handle)
