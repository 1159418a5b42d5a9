"""Quantises weights to 4 or 8 bits tensor by tensor, so that a whole model is never in memory at full width.

diffusers refuses to load quantised weights without a GPU; this module quantises on any machine. A quantised layer
consists of a few named tensors, the same in memory and on disk, so that a saved model computes the same to the bit as
one that was never saved.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Protocol, TypeAlias, cast

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from torch import Tensor, nn

from engines.api.errors import ModelMissing
from engines.weights.eight_bit_floats import LinearFloat8, eight_bit_floats
from engines.weights.eight_bits import Linear8bit, as_multiplied, eight_bits
from engines.weights.published import Scaled, Weight, wide

# Kept at full width: they are small, and an error in them shows in every token.
_KEPT_AT_THE_TOP = (
    "x_embedder", "context_embedder", "img_in", "txt_in", "time_text_embed", "norm_out", "proj_out",
)  # fmt: skip
_KEPT_ANYWHERE = ("visual", "lm_head")  # a vision tower sees the face that must stay the same
_BLOCK, _NESTED_BLOCK = 64, 256
_CODES = 4 * (16 + 256)  # bytes of the two code books

QuantisedLayer: TypeAlias = Any  # a Linear4bit, Linear8bit or LinearFloat8 whose attributes are set one by one


class Form(Protocol):
    """Interface of a way to quantise linear layers, which `FORMS` names.

    `kind`: the class of a quantised layer.
    """

    kind: type[nn.Module]

    def empty(self, layer: nn.Linear, dtype: torch.dtype) -> nn.Module:
        """Returns a quantised layer of the shape of `layer`, without weights; `dtype` is its compute dtype."""

    def tensors(self, weight: Weight, dtype: torch.dtype) -> dict[str, Tensor]:
        """Quantises a weight (out, in); returns the tensors to store, by the endings of their names (such as "scale").

        `weight`: a tensor, or the 8-bit floats of a file, which a form of the same numbers keeps; `dtype`: the compute
        dtype.
        """

    def fill(self, layer: QuantisedLayer, tensors: Mapping[str, Tensor]) -> None:
        """Puts a quantised weight into a layer.

        `layer`: what `empty` returned; `tensors`: what the method `tensors` returned.
        """

    def bytes(self, rows: int, columns: int, dtype: torch.dtype) -> int:
        """Returns the bytes that a quantised weight (rows, columns) takes; `dtype` is the compute dtype."""


def skeleton(model: nn.Module, form: str, dtype: torch.dtype, keep: Collection[str] = ()) -> nn.Module:
    """Replaces the linear layers of a model by quantised layers without weights, and returns the model.

    `form`: a key of `FORMS`; bf16 leaves the model as it is; `dtype`: the compute dtype; `keep`: names of top-level
    modules to leave unquantised, in addition to those that are never quantised, such as `proj_out`.
    """
    if form in FORMS:
        for path in quantisable(model, keep):
            _replace(model, path, _empty(model, path, form, dtype))
    return model


def stored(model: nn.Module, name: str, weight: Weight, form: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Converts one weight of a model into the tensors that are stored for it, and returns them by full names.

    A weight of a quantised layer is quantised; any other weight is converted to `dtype`, the compute dtype. `model`:
    what `skeleton` returned; `name`: the weight's full name; `form`: bf16 or a key of `FORMS`.
    """
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    if form in FORMS and leaf == "weight" and isinstance(module, FORMS[form].kind):
        return {f"{path}.{ending}": tensor for ending, tensor in FORMS[form].tensors(weight, dtype).items()}
    whole = wide(weight)
    is_weight = leaf in module._parameters and whole.is_floating_point()
    return {name: whole.to(dtype) if is_weight else whole}


def place(model: nn.Module, tensors: Mapping[str, Tensor], form: str) -> None:
    """Puts stored tensors into a model that `skeleton` returned.

    `tensors`: by full names, as `stored` returns them. All tensors of one quantised weight must come in one call.
    `form`: bf16 or a key of `FORMS`.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():  # a weight's state is named below it: "path.weight.absmax"
        path = name.partition(".weight.")[0] if ".weight." in name else name.rpartition(".")[0]
        layers.setdefault(path, {})[name[len(path) :].removeprefix(".")] = tensor
    for path, own in layers.items():
        module = model.get_submodule(path)
        if form in FORMS and isinstance(module, FORMS[form].kind) and "weight" in own:
            FORMS[form].fill(module, own)
            own = {leaf: own[leaf] for leaf in own.keys() & {"bias"}}
        for leaf, tensor in own.items():
            if leaf in module._buffers:
                module._buffers[leaf] = tensor
            else:
                setattr(module, leaf, nn.Parameter(tensor, requires_grad=False))


def check_whole(model: nn.Module, where: str) -> None:
    """Checks that all weights of a model are loaded, so that none is still on the meta device.

    `where`: what the error message names as the source of the weights. Raises: ModelMissing, which names the first
    missing weight.
    """
    missing = [name for name, weight in model.named_parameters() if weight.is_meta]
    if missing:
        raise ModelMissing(
            f"{where} lacks {len(missing)} weights, the first is {missing[0]}.",
            "Download the whole model folder again.",
        )


def in_form(model: nn.Module, form: str, dtype: torch.dtype, keep: Collection[str] = ()) -> nn.Module:
    """Quantises the linear layers of a loaded model in place, one after another, and returns the model.

    `form`: a key of `FORMS`; `dtype`: the compute dtype; `keep`: names of top-level modules to leave unquantised, in
    addition to those that are never quantised, such as `proj_out`.
    """
    for path in quantisable(model, keep):
        layer = cast(nn.Linear, model.get_submodule(path))
        small = _empty(model, path, form, dtype)
        FORMS[form].fill(small, FORMS[form].tensors(layer.weight.detach(), dtype))
        if layer.bias is not None:
            small.bias = nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
        _replace(model, path, small)
    return model


def model_bytes(model: nn.Module, form: str, dtype: torch.dtype) -> int:
    """Returns the bytes that the weights of a model take once they are loaded, computed from their shapes.

    `model`: what `skeleton` returned for `form` (bf16 or a key of `FORMS`) and `dtype`. A weight that several modules
    share counts once. Buffers do not count.
    """
    small: set[str] = set()
    if form in FORMS:
        small = {f"{path}.weight" for path, module in model.named_modules() if isinstance(module, FORMS[form].kind)}
    total = 0
    for name, weight in model.named_parameters():
        if name in small:
            rows, columns = weight.shape
            total += FORMS[form].bytes(rows, columns, dtype)
        else:
            total += weight.numel() * dtype.itemsize
    return total


def quantisable(model: nn.Module, keep: Collection[str] = ()) -> list[str]:
    """Returns the paths of those linear layers of a model that are to be quantised.

    `keep`: names of top-level modules to leave out, in addition to those that are never quantised, such as `proj_out`.
    """
    kept_at_the_top = {*_KEPT_AT_THE_TOP, *keep}
    paths = []
    for path, module in model.named_modules():
        steps = path.split(".")
        kept = steps[0] in kept_at_the_top or any(step in _KEPT_ANYWHERE for step in steps)
        if type(module) is nn.Linear and not kept:
            paths.append(path)
    return paths


# ── the forms ───────────────────────────────────────────────────────────────────────────────


class _Linear4bit(Linear4bit):
    """Computes as bitsandbytes' layer, in the type of its input or, under autocast, in autocast's."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        """Takes the shape of `layer` and no weights."""
        super().__init__(  # type: ignore[no-untyped-call]  # bitsandbytes' own
            layer.in_features, layer.out_features, layer.bias is not None, compute_dtype=dtype, quant_type="nf4",
            device="meta",
        )  # fmt: skip
        # On some CPUs it would rewrite its weights at the first forward, with coarser scales, and fail on small shapes.
        self.support_avx512bf16_for_cpu = False

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(as_multiplied(x))
        return out


class _Nf4:
    """Quantises weights to bitsandbytes' NF4 with doubly quantised scales, 4.13 bits a weight."""

    kind: type[nn.Module] = Linear4bit

    def empty(self, layer: nn.Linear, dtype: torch.dtype) -> nn.Module:
        return _Linear4bit(layer, dtype)

    def tensors(self, weight: Weight, dtype: torch.dtype) -> dict[str, Tensor]:
        """Returns the tensors under the names that bitsandbytes saves them by."""
        data: Any = Params4bit(wide(weight).to(dtype), requires_grad=False, quant_type="nf4")
        small = data.to(weight.device)
        state = small.quant_state.as_dict(packed=True)
        return {"weight": small.data, **{f"weight.{name}": tensor.clone() for name, tensor in state.items()}}

    def fill(self, layer: QuantisedLayer, tensors: Mapping[str, Tensor]) -> None:
        stats = {name: tensor for name, tensor in tensors.items() if name.startswith("weight.")}
        weight = tensors["weight"].reshape(-1).view(layer.quant_storage)[:, None]
        layer.weight = Params4bit.from_prequantized(weight, stats, device=weight.device, module=layer)

    def bytes(self, rows: int, columns: int, dtype: torch.dtype) -> int:
        """Adds up codes, a one-byte scale a block, the four-byte scales of the scales, an offset, two code books."""
        count = rows * columns
        blocks = math.ceil(count / _BLOCK)
        return math.ceil(count / 2) + blocks + 4 * math.ceil(blocks / _NESTED_BLOCK) + 4 + _CODES


class _Int8:
    """Quantises weights to int8 with one scale for each output."""

    kind: type[nn.Module] = Linear8bit

    def empty(self, layer: nn.Linear, dtype: torch.dtype) -> nn.Module:
        return Linear8bit(layer.in_features, layer.out_features, layer.bias is not None, dtype, "meta")

    def tensors(self, weight: Weight, dtype: torch.dtype) -> dict[str, Tensor]:
        levels, scale = eight_bits(wide(weight), dtype)
        return {"weight": levels, "scale": scale}

    def fill(self, layer: QuantisedLayer, tensors: Mapping[str, Tensor]) -> None:
        layer.weight = nn.Parameter(tensors["weight"], requires_grad=False)
        layer.scale = tensors["scale"]

    def bytes(self, rows: int, columns: int, dtype: torch.dtype) -> int:
        return rows * columns + rows * dtype.itemsize


class _Fp8:
    """Quantises weights to e4m3 floats with one scale for each output; keeps those of a file with their own scales."""

    kind: type[nn.Module] = LinearFloat8

    def empty(self, layer: nn.Linear, dtype: torch.dtype) -> nn.Module:
        return LinearFloat8(layer.in_features, layer.out_features, layer.bias is not None, device="meta", dtype=dtype)

    def tensors(self, weight: Weight, dtype: torch.dtype) -> dict[str, Tensor]:
        """Returns the tensors under the names that ComfyUI saves them by."""
        if isinstance(weight, Scaled):
            return {"weight": weight.codes, "weight_scale": weight.scale}
        codes, scale = eight_bit_floats(weight, dtype)
        return {"weight": codes, "weight_scale": scale}

    def fill(self, layer: QuantisedLayer, tensors: Mapping[str, Tensor]) -> None:
        layer.hold(tensors["weight"], tensors["weight_scale"])

    def bytes(self, rows: int, columns: int, dtype: torch.dtype) -> int:
        """Counts a scale a row; a weight from a file may have one in all."""
        return rows * columns + rows * dtype.itemsize


FORMS: Mapping[str, Form] = {"nf4": _Nf4(), "int8": _Int8(), "fp8": _Fp8()}


def _empty(model: nn.Module, path: str, form: str, dtype: torch.dtype) -> QuantisedLayer:
    """Returns the quantised layer, without weights, for a linear layer of a model.

    T5 converts the input of the layers that it would keep in float32 to the type of their weights. For these, 4-bit
    codes are held as numbers of the compute dtype, which changes no byte of them: whole numbers would be the input's
    type otherwise.
    """
    layer: QuantisedLayer = FORMS[form].empty(cast(nn.Linear, model.get_submodule(path)), dtype)
    if path.rpartition(".")[2] in (getattr(model, "_keep_in_fp32_modules", None) or ()):
        layer.quant_storage = dtype
    return layer


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
