"""The modulation of Qwen-Image-Edit as a table: a third of its weights depend on the timestep alone.

Every block's `img_mod` and `txt_mod` turn the time embedding, and nothing else, into shifts, scales and gates. A
transformer made `tabled` has neither: their answers are computed once for all timesteps of a schedule, layer by layer
from the model's own files, and travel behind the time embedding, from which each block cuts what is its own. Nothing
is remembered between a forward pass and its backward, so gradient checkpointing recomputes the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.api.protocols import Component, ModelSpec
from engines.weights import components, store
from engines.weights.aligned import straight
from engines.weights.originals import opened, shards
from engines.weights.quantise import model_bytes, place, skeleton, stored

Call = tuple[int, float]  # pictures in a forward pass, noise level
Key = tuple[int, torch.dtype, float]  # rows in a call of the time embedding, its type, timestep
Layers = Callable[[str, torch.device], nn.Module]  # a modulation layer by its path in the transformer, on a device

Tensors = dict[str, Tensor]

LAYERS = ("img_mod", "txt_mod")
SOURCES = (*LAYERS, "time_text_embed")  # whoever changes one of these changes the table
GRID = tuple(level / 256 for level in range(1, 257))  # what training visits; each is exact in bfloat16
_LAYER = re.compile(r"(transformer_blocks\.\d+\.(?:img|txt)_mod)\.")
_SIXFOLD = 6  # shift, scale and gate, before the attention and before the MLP
_ROOM = 3 << 30  # bytes of rows that may stay when a new schedule comes


def wanted(spec: ModelSpec) -> bool:
    """Whether a registry row asks for the table."""
    return spec.options.get("modulation") == "table"


def component(spec: ModelSpec, folder: Path) -> Component:
    """The transformer without its modulation layers, as a plan leases it. Raises: ModelMissing."""
    whole = components.component(spec, folder, "transformer")
    form, dtype = components.form_of(spec, folder, "transformer"), components.weight_dtype(spec)
    left = whole.bytes - layer_bytes(components.config(folder, "transformer"), form, dtype)
    least = whole.streamed_bytes if whole.streamed_bytes < left else 0  # of blocks that still have their layers
    key = f"{components.row_key(spec, 'transformer')}+table/transformer"
    return Component(key, left, partial(load, spec, folder), least, table_bytes)


def layer_bytes(config: Mapping[str, Any], form: str, dtype: torch.dtype) -> int:
    """What the modulation layers of a transformer take in a form."""
    layer = skeleton(_empty(config["num_attention_heads"] * config["attention_head_dim"]), form, dtype)
    return int(config["num_layers"]) * len(LAYERS) * model_bytes(layer, form, dtype)


def grid_bytes(config: Mapping[str, Any], dtype: torch.dtype) -> int:
    """What the rows of a training take on the host: those of GRID, and of a clean reference where the model has it."""
    rows = len(GRID) + bool(config.get("zero_cond_t"))
    width = config["num_attention_heads"] * config["attention_head_dim"]
    return int(rows * config["num_layers"] * len(LAYERS) * _SIXFOLD * width * dtype.itemsize)


def load(spec: ModelSpec, folder: Path) -> Any:
    """The transformer as `components.load` gives it, tabled. Raises: ModelMissing."""
    source = components.held_in(spec, folder, "transformer")
    form = components.form_of(spec, folder, "transformer")
    layers = _Stored(source, form, components.weight_dtype(spec))
    return tabled(components.load(spec, folder, "transformer"), layers)


def tabled(transformer: Any, layers: Layers) -> Any:
    """The same transformer, its modulation layers dropped; `layers` reads one again whenever a schedule changes.

    It computes nothing before `cover` has told it which noise levels will come.
    """
    table = Table(layers)
    width = _SIXFOLD * transformer.inner_dim
    for block, start in zip(transformer.transformer_blocks, _starts(transformer), strict=True):
        for offset, name in enumerate(LAYERS):
            setattr(block, name, _Cut(start + offset * width, start + (offset + 1) * width))
    transformer.time_text_embed.register_forward_hook(table.append)
    transformer.norm_out.register_forward_pre_hook(partial(_embedding_alone, transformer.inner_dim))
    transformer.modulation = table
    return transformer


def is_tabled(transformer: Any) -> bool:
    """Whether a transformer's modulation is a table."""
    return isinstance(getattr(transformer, "modulation", None), Table)


def table_bytes(transformer: Any) -> int:
    """The RAM that a tabled transformer's rows take by now."""
    return int(transformer.modulation.nbytes)


@torch.no_grad()
def cover(transformer: Any, calls: Collection[Call]) -> None:
    """Have a row for every forward pass to come; reads the layers only where one is missing.

    `calls`: pictures in the pass, and σ. A row is computed in a call of the very shape, because what a matrix
    product rounds to depends on its number of rows. A plain transformer needs nothing, and nothing is done.
    """
    if is_tabled(transformer):
        transformer.modulation.cover(transformer, calls)


def on_grid(transformer: Any, sigma: Tensor) -> Tensor:
    """Noise levels (B,) as training with a table visits them, the nearest of GRID; as they are without a table."""
    if not is_tabled(transformer):
        return sigma
    cover(transformer, [(len(sigma), level) for level in GRID])
    return (sigma * len(GRID)).round().clamp(min=1) / len(GRID)


class Table:
    """Rows of modulation on the host, each the answers of all layers to one timestep, side by side."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._rows: dict[Key, Tensor] = {}

    @property
    def nbytes(self) -> int:
        """Of all rows; safe from any thread."""
        return sum(row.nbytes for row in self._rows.values())

    def append(self, embedder: nn.Module, args: tuple[Any, ...], embedding: Tensor) -> Tensor:
        """A forward hook of the time embedding: (M, D) to (M, D + 12·blocks·D). Raises: LookupError."""
        del embedder
        try:
            rows = [self._rows[len(embedding), embedding.dtype, level] for level in args[0].tolist()]
        except KeyError as missing:
            raise LookupError(f"the modulation table was not asked to cover {missing}") from missing
        return torch.cat([embedding, torch.stack(rows).to(embedding.device)], dim=-1)

    def cover(self, transformer: Any, calls: Collection[Call]) -> None:
        """See the function of the same name."""
        dtype = transformer.img_in(transformer.img_in.weight.new_zeros(1, transformer.config.in_channels)).dtype
        needed = _rounded(calls, dtype)
        if transformer.zero_cond_t:
            needed |= {(pictures, 0.0) for pictures, _ in needed}
        halves = 2 if transformer.zero_cond_t else 1
        keys = {(halves * pictures, dtype, level): (pictures, level) for pictures, level in sorted(needed)}
        missing = {key: call for key, call in keys.items() if key not in self._rows}
        if missing:
            self._make_room(keys)
            self._rows = {**self._rows, **_computed(transformer, self._layers, missing, dtype)}

    def _make_room(self, needed: Collection[Key]) -> None:
        if self.nbytes > _ROOM:
            self._rows = {key: row for key, row in self._rows.items() if key in needed}


def _computed(transformer: Any, layers: Layers, calls: Mapping[Key, Call], dtype: torch.dtype) -> dict[Key, Tensor]:
    """What the layers answer, one layer in memory at a time."""
    embeddings = {key: _embedding(transformer, key, *call, dtype) for key, call in calls.items()}
    answers: dict[Key, list[Tensor]] = {key: [] for key in calls}
    for path, name in _paths(transformer):
        layer = layers(path, transformer.device)
        for key, (pictures, _) in calls.items():
            seen = embeddings[key] if name == LAYERS[0] else embeddings[key][:pictures]
            answers[key].append(layer(seen)[0].cpu())
        del layer
    return {key: torch.cat(parts) for key, parts in answers.items()}


def _embedding(transformer: Any, key: Key, pictures: int, level: float, dtype: torch.dtype) -> Tensor:
    """The time embedding of a call: so many pictures at one level, then as many references at 0 where it has them."""
    timestep = torch.zeros(key[0], device=transformer.device, dtype=dtype)
    timestep[:pictures] = level
    # Past the hook, which would ask the table that is being made.
    embedding: Tensor = transformer.time_text_embed.forward(timestep, timestep)
    return embedding


def _rounded(calls: Collection[Call], dtype: torch.dtype) -> set[Call]:
    """Calls as the transformer sees them, which is told noise levels in its own type."""
    levels = torch.tensor([level for _, level in calls], dtype=torch.float32).to(dtype).tolist()
    return {(pictures, level) for (pictures, _), level in zip(calls, levels, strict=True)}


def _starts(transformer: Any) -> range:
    """Where each block's answers begin behind the time embedding."""
    width, step = transformer.inner_dim, len(LAYERS) * _SIXFOLD * transformer.inner_dim
    return range(width, width + len(transformer.transformer_blocks) * step, step)


def _paths(transformer: Any) -> Iterator[tuple[str, str]]:
    """Every modulation layer in the order of its answers: path, and which of the two it is."""
    for index in range(len(transformer.transformer_blocks)):
        for name in LAYERS:
            yield f"transformer_blocks.{index}.{name}", name


class _Cut(nn.Module):
    """In a modulation layer's place: its answer, cut out of what follows the time embedding."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self._columns = slice(start, stop)

    def forward(self, embedding: Tensor) -> Tensor:
        return embedding[:, self._columns]


def _embedding_alone(width: int, module: nn.Module, args: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """A pre-hook of the last norm, which reads the time embedding itself."""
    del module
    hidden, embedding = args
    return hidden, embedding[:, :width]


def _empty(width: int) -> nn.Sequential:
    """A modulation layer without weights, as diffusers builds it."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, _SIXFOLD * width, device="meta"))


class _Stored:
    """A checkpoint's modulation layers, each mapped from its file when asked for, in the form of the rest of the model.

    Where the files are not quantised yet it is done on the device that asks: for NF4 a CPU takes seconds a layer, a
    card milliseconds.
    """

    def __init__(self, source: Path, form: str, dtype: torch.dtype) -> None:
        self._source = source
        self._form = form
        self._dtype = dtype

    def __call__(self, path: str, device: torch.device) -> nn.Module:
        tensors = {name.removeprefix(f"{path}."): self._tensor(name) for name in self._names[path]}
        layer = skeleton(_empty(tensors["1.bias"].numel() // _SIXFOLD), self._form, self._dtype)
        for kept in [tensors] if self._quantised else self._narrowed(layer, tensors, device):
            place(layer, kept, self._form)
        return layer.to(device)

    def _narrowed(self, layer: nn.Module, tensors: Tensors, device: torch.device) -> list[Tensors]:
        wide = ((name, tensor.to(device)) for name, tensor in tensors.items())
        return [stored(layer, name, tensor, self._form, self._dtype) for name, tensor in wide]

    def _tensor(self, name: str) -> Tensor:
        """Mapped, and laid as the loader of the whole lays it: on a CPU that decides the last bit of a product."""
        with opened(self._files[name]) as file:
            return straight(file.get_tensor(name)) if self._quantised else file.get_tensor(name)

    @cached_property
    def _quantised(self) -> bool:
        return store.held_bytes(self._source) > 0

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        """The tensors of each modulation layer."""
        found: dict[str, list[str]] = {}
        for name in self._files:
            if layer := _LAYER.match(name):
                found.setdefault(layer[1], []).append(name)
        return found

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Which file each tensor is in."""
        found: dict[str, Path] = {}
        for path in shards(self._source):
            with opened(path) as file:
                found |= dict.fromkeys(file.keys(), path)
        return found
