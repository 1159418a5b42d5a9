"""Stores a quantised component on disk: written tensor by tensor, and mapped back without a read or a copy.

The layout is that of diffusers and transformers (config.json, safetensors shards; tensors of NF4 have bitsandbytes'
names, those of fp8 ComfyUI's); `quantised.json` beside them records the precision, the compute type and the bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn

from engines.api.errors import ModelMissing
from engines.api.protocols import Loaded
from engines.catalogue.durable import flush
from engines.weights.aligned import straight, write_aligned
from engines.weights.originals import read_json, shards
from engines.weights.published import Weight, opened
from engines.weights.quantise import model_bytes, place, stored

MANIFEST = "quantised.json"
SHARD_BYTES = 1 << 29  # quantised tensors stay in memory until they fill a shard
OnTensor = Callable[[str], None]


def write(
    model: nn.Module,
    weights: Iterable[tuple[str, Weight]],
    target: Path,
    form: str,
    dtype: torch.dtype,
    *,
    on_tensor: OnTensor = lambda _: None,
    device: str = "cpu",
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Quantises the weights of a component and writes them to the folder `target`, completely or not at all.

    `model`: the component, as `skeleton` returned it; `weights`: pairs (name in `model`, weight); `form`: the
    precision; `dtype`: the compute dtype; `on_tensor`: called with each weight's name when it is done;
    `device`: where the quantising is computed; `shard_bytes`: the size from which a new file is begun. No more
    than one file and one weight are in memory at a time. Raises: ModelMissing if `weights` lacks a weight of the model;
    and what the iterator `weights` raises.
    """
    draft = target.with_name(f"{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, draft, ignore_errors=True)
        shelf = _Shelf(draft, shard_bytes)
        came: set[int] = set()
        for name, weight in weights:
            path, _, leaf = name.rpartition(".")
            parameter = id(getattr(model.get_submodule(path), leaf))
            if parameter not in came:  # weights that modules share are written once
                came.add(parameter)
                kept = stored(model, name, weight.to(device), form, dtype)
                shelf.put({key: tensor.cpu() for key, tensor in kept.items()})
                on_tensor(name)
        _check_all_came(model, came, target)
        shelf.close()
        _write_config(model, draft)
        manifest = {"form": form, "dtype": str(dtype), "bytes": model_bytes(model, form, dtype)}
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        for file in draft.iterdir():
            flush(file)
        flush(draft)
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
        undo.pop_all()
    flush(target.parent)


def read(model: nn.Module, folder: Path, form: str) -> None:
    """Memory-maps the stored files of a quantised component, and puts their tensors into `model`.

    `model`: the component, as `skeleton` returned it; `form`: its precision. Raises: ModelMissing for a missing or
    damaged file.
    """
    for file in shards(folder):
        with opened(file) as mapped:
            place(model, {key: straight(mapped.get_tensor(key)) for key in mapped.keys()}, form)  # noqa: SIM118  safe_open is no mapping


def held_bytes(folder: Path) -> int:
    """Returns the bytes that a stored quantised component takes in memory; 0 if `folder` has no complete one.

    Raises: ModelMissing for a damaged record.
    """
    manifest = folder / MANIFEST
    return int(read_json(manifest).get("bytes", 0)) if manifest.is_file() else 0


class _Shelf:
    """Collects tensors and writes them shard by shard; the tensors of one call of `put` stay together."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder = folder
        self._limit = shard_bytes
        self._waiting: dict[str, Tensor] = {}
        self._bytes = self._files = 0

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Adds tensors, and writes the shard once it is full."""
        self._waiting |= {name: tensor.contiguous() for name, tensor in tensors.items()}
        self._bytes += sum(tensor.nbytes for tensor in tensors.values())
        if self._bytes >= self._limit:
            self.close()

    def close(self) -> None:
        """Writes the tensors collected so far."""
        if self._waiting:
            self._files += 1
            write_aligned(self._folder / f"model-{self._files:05d}.safetensors", self._waiting)
        self._waiting, self._bytes = {}, 0


def _check_all_came(model: nn.Module, came: set[int], target: Path) -> None:
    missing = [name for name, weight in model.named_parameters() if id(weight) not in came]
    if missing:
        raise ModelMissing(
            f"The weights given for {target.name} lack {len(missing)} of the model's, the first is {missing[0]}.",
            "Download the whole model folder again.",
        )


def _write_config(model: Loaded, folder: Path) -> None:
    if hasattr(model, "save_config"):  # diffusers
        model.save_config(folder)
        return
    model.config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)
