"""Weights in 4 or 8 bits, made tensor by tensor, so that the whole never stands in memory at full width.

diffusers' own way refuses to load without a card; this one quantises on any machine. What a layer becomes is a few
named tensors, the same in memory and on disk, so that a model that was saved answers to the bit as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from torch import Tensor, nn

from engines.api.errors import ModelMissing
from engines.weights.eight_bits import Linear8bit, as_multiplied, eight_bits

# Small, and what they do shows in every token: their width is worth keeping.
_KEPT_AT_THE_TOP = (
    "x_embedder", "context_embedder", "img_in", "txt_in", "time_text_embed", "norm_out", "proj_out",
)  # fmt: skip
_KEPT_ANYWHERE = ("visual", "lm_head")  # a vision tower sees the face that must stay the same
_BLOCK, _NESTED_BLOCK = 64, 256
_CODES = 4 * (16 + 256)  # bytes of the two code books


@dataclass(frozen=True)
class Form:
    """How linear layers are held in fewer bits.

    `empty` makes a layer without weights, `tensors` turns a weight (out, in) into what is kept, by ending of its
    name, `fill` gives that back to an empty layer, `bytes` counts it from the weight's shape and compute dtype.
    """

    kind: type[nn.Module]
    empty: Callable[[nn.Linear, torch.dtype], nn.Module]
    tensors: Callable[[Tensor, torch.dtype], dict[str, Tensor]]
    fill: Callable[[Any, Mapping[str, Tensor]], None]
    bytes: Callable[[int, int, torch.dtype], int]


def skeleton(model: nn.Module, form: str, dtype: torch.dtype, keep: Collection[str] = ()) -> nn.Module:
    """The same model with empty quantised layers where its form has them; `bf16` leaves it as it is.

    `keep`: modules at the top that stay at full width beside those that always do.
    """
    if form in FORMS:
        for path in quantisable(model, keep):
            _replace(model, path, FORMS[form].empty(model.get_submodule(path), dtype))
    return model


def stored(model: nn.Module, name: str, weight: Tensor, form: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """What is kept of one weight of a `skeleton`: itself in `dtype`, or its quantised tensors, by full names."""
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    if form in FORMS and leaf == "weight" and isinstance(module, FORMS[form].kind):
        return {f"{path}.{ending}": tensor for ending, tensor in FORMS[form].tensors(weight, dtype).items()}
    is_weight = leaf in module._parameters and weight.is_floating_point()
    return {name: weight.to(dtype) if is_weight else weight}


def place(model: nn.Module, tensors: Mapping[str, Tensor], form: str) -> None:
    """Put kept tensors into a skeleton; those of one quantised weight come together."""
    for path, own in _by_layer(tensors).items():
        module = model.get_submodule(path)
        if form in FORMS and isinstance(module, FORMS[form].kind) and "weight" in own:
            FORMS[form].fill(module, own)
            own = {leaf: own[leaf] for leaf in own.keys() & {"bias"}}
        for leaf, tensor in own.items():
            if leaf in module._buffers:
                module._buffers[leaf] = tensor
            else:
                setattr(module, leaf, nn.Parameter(tensor, requires_grad=False))


def _by_layer(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by the path of their module, then by the rest of their names; a weight's state is named below it."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        path = name.partition(".weight.")[0] if ".weight." in name else name.rpartition(".")[0]
        layers.setdefault(path, {})[name[len(path) :].removeprefix(".")] = tensor
    return layers


def check_whole(model: nn.Module, where: str) -> None:
    """A model with holes is an error that names the first. Raises: ModelMissing."""
    missing = [name for name, weight in model.named_parameters() if weight.is_meta]
    if missing:
        raise ModelMissing(
            f"{where} lacks {len(missing)} weights, the first is {missing[0]}.",
            "Download the whole model folder again.",
        )


def in_form(model: nn.Module, form: str, dtype: torch.dtype, keep: Collection[str] = ()) -> nn.Module:
    """A loaded model with its linear layers quantised in place, one after another."""
    for path in quantisable(model, keep):
        layer = model.get_submodule(path)
        small = FORMS[form].empty(layer, dtype)
        FORMS[form].fill(small, FORMS[form].tensors(layer.weight.detach(), dtype))
        if layer.bias is not None:
            small.bias = nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
        _replace(model, path, small)
    return model


def model_bytes(model: nn.Module, form: str, dtype: torch.dtype) -> int:
    """What a `skeleton` takes once it is filled, counted from its shapes.

    Weights that modules share are counted once, buffers that a model computes not at all.
    """
    small = _small(model, FORMS[form]) if form in FORMS else frozenset()
    return sum(
        FORMS[form].bytes(*weight.shape, dtype) if name in small else weight.numel() * dtype.itemsize
        for name, weight in model.named_parameters()
    )


def _small(model: nn.Module, form: Form) -> frozenset[str]:
    return frozenset(f"{path}.weight" for path, module in model.named_modules() if isinstance(module, form.kind))


def quantisable(model: nn.Module, keep: Collection[str] = ()) -> list[str]:
    """Paths of the linear layers that a form with fewer bits changes."""
    linear = [path for path, module in model.named_modules() if type(module) is nn.Linear]
    return [path for path in linear if not _kept(path, keep)]


def _kept(path: str, keep: Collection[str]) -> bool:
    steps = path.split(".")
    return steps[0] in {*_KEPT_AT_THE_TOP, *keep} or any(step in _KEPT_ANYWHERE for step in steps)


# ── the two forms ───────────────────────────────────────────────────────────────────────────────


class _Linear4bit(Linear4bit):  # type: ignore[misc]  # bitsandbytes has no types
    """bitsandbytes' layer, which answers in the type of its input, under autocast in autocast's."""

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = super().forward(as_multiplied(x))
        return answer


def _empty_4bit(layer: nn.Linear, dtype: torch.dtype) -> nn.Module:
    small = _Linear4bit(
        layer.in_features, layer.out_features, layer.bias is not None, compute_dtype=dtype, quant_type="nf4",
        device="meta",
    )  # fmt: skip
    # On some CPUs it would rewrite its weights at the first forward, with coarser scales, and fail on small shapes.
    small.support_avx512bf16_for_cpu = False
    return small


def _tensors_4bit(weight: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """NF4 with doubly quantised scales, 4.13 bits a weight, under the names that bitsandbytes saves them by."""
    small = Params4bit(weight.to(dtype), requires_grad=False, quant_type="nf4").to(weight.device)
    state = small.quant_state.as_dict(packed=True)
    return {"weight": small.data, **{f"weight.{name}": tensor.clone() for name, tensor in state.items()}}


def _fill_4bit(layer: Any, tensors: Mapping[str, Tensor]) -> None:
    stats = {name: tensor for name, tensor in tensors.items() if name.startswith("weight.")}
    weight = tensors["weight"]
    layer.weight = Params4bit.from_prequantized(weight, stats, device=weight.device, module=layer)


def _bytes_4bit(rows: int, columns: int, dtype: torch.dtype) -> int:
    """Codes, a scale a block in one byte, their own scales and offset in four, the two code books."""
    count = rows * columns
    blocks = math.ceil(count / _BLOCK)
    return math.ceil(count / 2) + blocks + 4 * math.ceil(blocks / _NESTED_BLOCK) + 4 + _CODES


def _empty_8bit(layer: nn.Linear, dtype: torch.dtype) -> nn.Module:
    return Linear8bit(layer.in_features, layer.out_features, layer.bias is not None, dtype, "meta")


def _tensors_8bit(weight: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    levels, scale = eight_bits(weight, dtype)
    return {"weight": levels, "scale": scale}


def _fill_8bit(layer: Any, tensors: Mapping[str, Tensor]) -> None:
    layer.weight = nn.Parameter(tensors["weight"], requires_grad=False)
    layer.scale = tensors["scale"]


def _bytes_8bit(rows: int, columns: int, dtype: torch.dtype) -> int:
    return rows * columns + rows * dtype.itemsize


FORMS: Mapping[str, Form] = {
    "nf4": Form(Linear4bit, _empty_4bit, _tensors_4bit, _fill_4bit, _bytes_4bit),
    "int8": Form(Linear8bit, _empty_8bit, _tensors_8bit, _fill_8bit, _bytes_8bit),
}


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
