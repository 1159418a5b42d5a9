"""Replaces the modulation layers of Qwen-Image-Edit by a table, since they depend on the timestep alone.

They hold a third of the weights: every block's `img_mod` and `txt_mod` compute shifts, scales and gates from the time
embedding and nothing else. In a tabled transformer these layers are removed. Their outputs are computed once for all
timesteps of a schedule, layer by layer from the model's own files. A row of the table, the outputs of all layers for
one timestep, is appended to the time embedding, and each block cuts its own part from there. No state is kept between a
forward pass and its backward pass, so gradient checkpointing recomputes the same.

A LoRA that changes these layers is folded into the table. It is attached to layers without weights that stand for the
removed ones, and computes beside each layer while the table is computed. Each stack of LoRAs has rows of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from engines.api.protocols import Component, Loaded, ModelSpec
from engines.catalogue.shapes import Config
from engines.weights import components, store
from engines.weights.aligned import straight
from engines.weights.originals import shards
from engines.weights.published import opened
from engines.weights.quantise import model_bytes, place, skeleton, stored

Call = tuple[int, float]  # pictures in a forward pass, noise level
Key = tuple[str, int, torch.dtype, float]  # stack of LoRAs, rows in a call of the time embedding, its type, timestep
LoraLayer: TypeAlias = Any  # peft's, whose base layer is exchanged here
Layers = Callable[[str, torch.device], nn.Module]  # reads a modulation layer, by its path, onto a device

LAYERS = ("img_mod", "txt_mod")
SOURCES = (*LAYERS, "time_text_embed")  # the modules from which the table is computed
GRID = tuple(level / 256 for level in range(1, 257))  # noise levels of training; each is exact in bfloat16
_LAYER = re.compile(r"(transformer_blocks\.\d+\.(?:img|txt)_mod)\.")
_SIXFOLD = 6  # shift, scale and gate of the attention, and of the MLP
_ROOM = 3 << 30  # bytes of rows; above it a new schedule drops the rows of others


def wanted(spec: ModelSpec) -> bool:
    """Returns whether the model's modulation layers are to be replaced by a table, as its registry row says."""
    return spec.options.get("modulation") == "table"


def component(spec: ModelSpec, folder: Path) -> Component:
    """Returns the description of a transformer whose modulation layers are replaced by a table of their outputs.

    The description has a key (equal for equal weights), the bytes on the GPU without these layers, and the function
    that loads the transformer. `folder`: the model's folder. Raises: ModelMissing if it lacks the transformer.
    """
    whole = components.component(spec, folder, "transformer")
    form, dtype = components.form_of(spec, folder, "transformer"), components.weight_dtype(spec)
    left = whole.bytes - layer_bytes(components.config(folder, "transformer"), form, dtype)
    least = whole.streamed_bytes if whole.streamed_bytes < left else 0  # computed from files with these layers
    key = f"{components.row_key(spec, 'transformer')}+table/transformer"
    return Component(key, left, partial(load, spec, folder), least, table_bytes)


def layer_bytes(config: Config, form: str, dtype: torch.dtype) -> int:
    """Returns the bytes of all modulation layers of a transformer.

    `config`: the transformer's config.json; `form`: the precision of the weights, bf16 or a quantised one; `dtype`: the
    compute dtype.
    """
    layer = skeleton(_empty(config["num_attention_heads"] * config["attention_head_dim"]), form, dtype)
    return int(config["num_layers"]) * len(LAYERS) * model_bytes(layer, form, dtype)


def grid_bytes(config: Config, dtype: torch.dtype) -> int:
    """Returns the bytes of RAM that the table of modulation outputs takes in a training.

    There is one row for each noise level of `GRID`, and one for level 0 in models that use it for reference pictures.
    Each batch size needs rows of its own; the result is for a training with one batch size. `config`: the transformer's
    config.json; `dtype`: the compute dtype.
    """
    rows = len(GRID) + bool(config.get("zero_cond_t"))
    width = config["num_attention_heads"] * config["attention_head_dim"]
    return int(rows * config["num_layers"] * len(LAYERS) * _SIXFOLD * width * dtype.itemsize)


def load(spec: ModelSpec, folder: Path) -> Loaded:
    """Loads the transformer to RAM, and replaces its modulation layers by a table of their outputs.

    The table is empty; before the transformer computes, `cover` must fill it. `folder`: the model's folder. Raises:
    ModelMissing if it lacks the transformer.
    """
    source = components.held_in(spec, folder, "transformer")
    form = components.form_of(spec, folder, "transformer")
    layers = _Stored(source, form, components.weight_dtype(spec))
    return tabled(components.load(spec, folder, "transformer"), layers)


def tabled(transformer: Loaded, layers: Layers) -> Loaded:
    """Replaces a transformer's modulation layers by an empty table of their outputs; returns the transformer.

    Before the transformer can compute, `cover` must fill the table for the noise levels of the forward passes.
    `layers`: a function that takes a modulation layer's path and a device, and reads that layer from the disk.
    """
    inner = start = transformer.inner_dim
    width = _SIXFOLD * inner
    cuts: list[_Cut] = []
    for block in transformer.transformer_blocks:
        for name in LAYERS:
            cuts.append(_Cut(start, start + width, _StandIn(inner, width, getattr(block, name)[1].weight.dtype)))
            setattr(block, name, cuts[-1])
            start += width

    def embedding_alone(module: nn.Module, args: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Gives the last norm, which reads the time embedding itself, the embedding without the table's row."""
        hidden, embedding = args
        return hidden, embedding[:, :inner]

    table = Table(layers, cuts)
    transformer.time_text_embed.register_forward_hook(table.append)
    transformer.norm_out.register_forward_pre_hook(embedding_alone)
    transformer.modulation = table
    return transformer


def is_tabled(transformer: Loaded) -> bool:
    """Returns whether the modulation layers of a transformer were replaced by a table of their outputs."""
    return isinstance(getattr(transformer, "modulation", None), Table)


def table_bytes(transformer: Loaded) -> int:
    """Returns the bytes of RAM that a transformer's table of modulation outputs takes now."""
    return int(transformer.modulation.nbytes)


@torch.no_grad()
def cover(transformer: Loaded, calls: Collection[Call]) -> None:
    """Computes the missing rows of the table of modulation outputs for the coming forward passes.

    `calls`: for each forward pass, its number of pictures and its noise level σ. Rows depend on both, because rounding
    depends on the batch size. Does nothing if the transformer has no table.
    """
    if is_tabled(transformer):
        transformer.modulation.cover(transformer, calls)


def on_grid(transformer: Loaded, sigma: Tensor) -> Tensor:
    """Returns noise levels (B,), each moved to the nearest level of `GRID`, for which the table then has rows.

    A training's table of modulation outputs has rows for the levels of `GRID` only. This function computes all of them
    that are missing for batches of B pictures. If the transformer has no table, `sigma` is returned unchanged.
    """
    if not is_tabled(transformer):
        return sigma
    cover(transformer, [(len(sigma), level) for level in GRID])
    return (sigma * len(GRID)).round().clamp(min=1) / len(GRID)


class Table:
    """Holds the outputs of a transformer's modulation layers in RAM; it is empty until `cover` computes its rows.

    Each row has the outputs of all layers for one timestep, side by side. Each batch size has rows of its own, and each
    stack of LoRAs that changes these layers or the time embedding.
    `layers`: reads a modulation layer; `cuts`: what stands for the layers in the transformer's blocks.
    """

    def __init__(self, layers: Layers, cuts: Sequence[_Cut]) -> None:
        self._layers = layers
        self._cuts = cuts
        self._rows: dict[Key, Tensor] = {}
        self._stacks: WeakKeyDictionary[LoraLayer, str] = WeakKeyDictionary()  # a stack's first layer -> its hash

    @property
    def nbytes(self) -> int:
        """Returns the bytes of RAM that all rows take now; any thread may call it."""
        return sum(row.nbytes for row in self._rows.values())

    def append(self, embedder: nn.Module, args: tuple[Tensor, ...], embedding: Tensor) -> Tensor:
        """Appends to each time embedding the table's row for its timestep: (M, D) → (M, D + 12·blocks·D).

        It is a forward hook. `embedder`: the hooked module, not used; `args`: the module's inputs, timesteps (M,)
        first; `embedding`: the module's output. Raises: LookupError for a timestep whose row `cover` did not compute
        with the LoRAs that the transformer has now.
        """
        attached = self._loras(embedder)
        stack = self._stacks.get(attached[0], "not covered") if attached else ""
        try:
            rows = [self._rows[stack, len(embedding), embedding.dtype, level] for level in args[0].tolist()]
        except KeyError as missing:
            raise LookupError(f"the modulation table was not asked to cover {missing}") from missing
        return torch.cat([embedding, torch.stack(rows).to(embedding.device)], dim=-1)

    def cover(self, transformer: Loaded, calls: Collection[Call]) -> None:
        """Computes the missing rows for the coming forward passes of the transformer, with the LoRAs that it has now.

        `calls`: for each forward pass, its number of pictures and its noise level σ. If the table takes more than
        `_ROOM` bytes, rows that these passes do not need are dropped first.
        """
        attached = self._loras(transformer.time_text_embed)
        if attached and attached[0] not in self._stacks:
            self._stacks[attached[0]] = _hashed(attached)
        stack = self._stacks[attached[0]] if attached else ""
        dtype = transformer.img_in(transformer.img_in.weight.new_zeros(1, transformer.config.in_channels)).dtype
        # The transformer gets noise levels in its own type.
        levels = torch.tensor([level for _, level in calls], dtype=torch.float32).to(dtype).tolist()
        needed = {(pictures, level) for (pictures, _), level in zip(calls, levels, strict=True)}
        if transformer.zero_cond_t:
            needed |= {(pictures, 0.0) for pictures, _ in needed}
        halves = 2 if transformer.zero_cond_t else 1
        keys = {(stack, halves * pictures, dtype, level): (pictures, level) for pictures, level in sorted(needed)}
        missing = {key: call for key, call in keys.items() if key not in self._rows}
        if missing:
            if self.nbytes > _ROOM:
                self._rows = {key: row for key, row in self._rows.items() if key in keys}
            self._rows = {**self._rows, **_computed(transformer, self._layers, missing, dtype)}

    def _loras(self, embedder: nn.Module) -> list[LoraLayer]:
        """Returns the LoRA layers on which the table depends; none where LoRAs are switched off.

        `embedder`: the time embedding, whose layers may have LoRAs, too.
        """
        modules = (module for source in (embedder, *self._cuts) for module in source.modules())
        layers: list[LoraLayer] = [module for module in modules if hasattr(module, "lora_A")]
        return [layer for layer in layers if not layer.disable_adapters and {*layer.active_adapters} & {*layer.lora_A}]


def _hashed(attached: Sequence[LoraLayer]) -> str:
    """Returns a hash of the weights and strengths of all active LoRAs in these layers."""
    told = blake2b(digest_size=16)
    for index, layer in enumerate(attached):
        for name in layer.active_adapters:
            if name not in layer.lora_A:
                continue
            told.update(f"{index} {layer.in_features} {layer.out_features} {layer.scaling[name]!r}".encode())
            for side in (layer.lora_A[name], layer.lora_B[name]):
                for key, weight in side.state_dict().items():
                    told.update(f"{key} {weight.dtype} {tuple(weight.shape)}".encode())
                    told.update(weight.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return told.hexdigest()


def _computed(transformer: Loaded, layers: Layers, calls: Mapping[Key, Call], dtype: torch.dtype) -> dict[Key, Tensor]:
    """Returns the rows of the given calls, computed with one modulation layer in memory at a time."""
    embeddings: dict[Key, Tensor] = {}
    for key, (pictures, level) in calls.items():
        timestep = torch.zeros(key[1], device=transformer.device, dtype=dtype)  # clean references are at 0
        timestep[:pictures] = level
        embeddings[key] = transformer.time_text_embed.forward(timestep, timestep)  # `forward` runs no hook
    outputs: dict[Key, list[Tensor]] = {key: [] for key in calls}
    for index, block in enumerate(transformer.transformer_blocks):
        for name in LAYERS:
            layer = layers(f"transformer_blocks.{index}.{name}", transformer.device)
            with getattr(block, name).loras_on(layer, transformer.device):
                for key, (pictures, _) in calls.items():
                    seen = embeddings[key] if name == LAYERS[0] else embeddings[key][:pictures]
                    outputs[key].append(layer(seen)[0].cpu())
            del layer
    return {key: torch.cat(parts) for key, parts in outputs.items()}


class _Cut(nn.Sequential):
    """Stands for a modulation layer: returns that layer's output, cut from the row behind the time embedding.

    Its modules have the names of the layer's own, so that LoRAs find their place: `1` is the linear layer without its
    weights, or a LoRA layer around that.
    """

    def __init__(self, start: int, stop: int, linear: _StandIn) -> None:
        super().__init__(nn.SiLU(), linear)
        self._columns = slice(start, stop)

    def forward(self, embedding: Tensor) -> Tensor:
        """Returns the columns (M, 6·D) of the time embedding with its row (M, …)."""
        return embedding[:, self._columns]

    @contextmanager
    def loras_on(self, layer: nn.Module, device: torch.device) -> Iterator[None]:
        """Attaches the LoRAs that this layer has to the real modulation layer, inside a `with` block.

        `layer`: the real one, on `device`, to which the LoRAs' weights go for as long.
        """
        lora: LoraLayer = self[1]
        if isinstance(lora, _StandIn):
            yield
            return
        stand_in, real = lora.base_layer, layer.get_submodule("1")
        lora.to(device)
        lora.base_layer = real
        layer.register_module("1", lora)
        try:
            yield
        finally:
            layer.register_module("1", real)
            lora.base_layer = stand_in
            lora.to(stand_in.weight.device)


class _StandIn(nn.Linear):
    """Stands for the linear layer of a modulation layer: it has that layer's widths and type, and no weights.

    A LoRA layer around it keeps its weights in RAM, in the type that they would have beside the real layer.
    """

    def __init__(self, inputs: int, outputs: int, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)  # nn.Linear's own makes the weights
        self.in_features, self.out_features = inputs, outputs
        vars(self).update(weight=torch.empty(0, dtype=dtype), bias=None)  # no parameter, which would move to the GPU


def _empty(width: int) -> nn.Sequential:
    """Builds a modulation layer without weights, as diffusers does."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, _SIXFOLD * width, device="meta"))


class _Stored:
    """Reads a checkpoint's modulation layers, each mapped from its file, in the precision of the rest of the model.

    Where the files are not quantised, a layer is quantised on the device that needs it: for NF4 a CPU takes seconds a
    layer, a GPU milliseconds.
    """

    def __init__(self, source: Path, form: str, dtype: torch.dtype) -> None:
        self._source = source
        self._quantised = store.held_bytes(source) > 0
        self._form = form
        self._dtype = dtype

    def __call__(self, path: str, device: torch.device) -> nn.Module:
        tensors: dict[str, Tensor] = {}
        for name, file in self._files[path].items():
            with opened(file) as mapped:
                tensor = mapped.get_tensor(name)
                # Aligned as in the whole model: on a CPU that decides the last bit of a product.
                tensors[name.removeprefix(f"{path}.")] = straight(tensor) if self._quantised else tensor
        layer = skeleton(_empty(tensors["1.bias"].numel() // _SIXFOLD), self._form, self._dtype)
        if self._quantised:
            place(layer, {name: tensor.to(device) for name, tensor in tensors.items()}, self._form)
        else:
            for name, tensor in tensors.items():
                place(layer, stored(layer, name, tensor.to(device), self._form, self._dtype), self._form)
        return layer

    @cached_property
    def _files(self) -> dict[str, dict[str, Path]]:
        """Returns the file of each tensor, by the path of its modulation layer."""
        found: dict[str, dict[str, Path]] = {}
        for path in shards(self._source):
            with opened(path) as file:
                for name in file.keys():  # noqa: SIM118  safe_open is no mapping
                    if layer := _LAYER.match(name):
                        found.setdefault(layer[1], {})[name] = path
        return found
