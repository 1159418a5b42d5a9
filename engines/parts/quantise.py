"""Weights in 4 bits (NF4), made layer by layer, so that the whole never stands in memory at full width.

diffusers' own way refuses to load without a card; this one quantises on any machine, the layers being bitsandbytes'.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from bitsandbytes.nn import Linear4bit, Params4bit
from safetensors import safe_open
from torch import Tensor, nn

from engines.errors import ModelMissing

# Small, and what they do shows in every token: their width is worth keeping.
FULL_WIDTH = (
    "x_embedder",
    "context_embedder",
    "img_in",
    "txt_in",
    "time_text_embed",
    "norm_out",
    "proj_out",
    "lm_head",
)


def stream_4bit(kind: Any, folder: Path, dtype: torch.dtype, keep: Collection[str] = ()) -> Any:
    """A diffusers model from its safetensors files, each linear layer quantised as it is read.

    `keep`: modules that stay at full width beside `FULL_WIDTH`. Peak host memory: the quantised model and one tensor.
    Raises: ModelMissing when a weight is in no file.
    """
    with init_empty_weights(include_buffers=False):
        model = kind.from_config(kind.load_config(folder))
    for path in [path for path, module in model.named_modules() if _quantisable(path, module, keep)]:
        _replace(model, path, _empty_4bit(model.get_submodule(path), dtype))
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                _place(model, name, tensors.get_tensor(name), dtype)
    missing = [name for name, weight in model.named_parameters() if weight.is_meta]
    if missing:
        raise ModelMissing(
            f"{folder} lacks {len(missing)} weights, the first is {missing[0]}.",
            "Download the whole model folder again.",
        )
    return model


def in_4bit(model: nn.Module, dtype: torch.dtype, keep: Collection[str] = ()) -> nn.Module:
    """The same model with its linear layers quantised in place, one after another, all but those under `keep`."""
    for path in [path for path, module in model.named_modules() if _quantisable(path, module, keep)]:
        layer = model.get_submodule(path)
        small = _empty_4bit(layer, dtype)
        small.weight = _quantised(layer.weight.detach(), dtype, small)
        if layer.bias is not None:
            small.bias = nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
        _replace(model, path, small)
    return model


def _quantisable(path: str, module: nn.Module, keep: Collection[str]) -> bool:
    return type(module) is nn.Linear and not _under(path, {*FULL_WIDTH, *keep})


def _under(path: str, names: Collection[str]) -> bool:
    """Whether a module of one of these names is at the top of the path, or at its end."""
    steps = path.split(".")
    return steps[0] in names or steps[-1] == "lm_head"


def _empty_4bit(layer: nn.Linear, dtype: torch.dtype) -> Linear4bit:
    small = Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=dtype,
        quant_type="nf4",
        device="meta",
    )
    # On some CPUs it would rewrite its weights at the first forward, with coarser scales, and fail on small shapes.
    small.support_avx512bf16_for_cpu = False
    return small


def _quantised(weight: Tensor, dtype: torch.dtype, layer: Linear4bit) -> Params4bit:
    """NF4 with doubly quantised scales: 4.13 bits a weight."""
    return Params4bit(weight.to(dtype), requires_grad=False, quant_type="nf4", module=layer).to("cpu")


def _place(model: nn.Module, name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    if leaf in module._buffers:
        module._buffers[leaf] = tensor
    elif leaf == "weight" and isinstance(module, Linear4bit):
        module.weight = _quantised(tensor, dtype, module)
    else:
        setattr(module, leaf, nn.Parameter(tensor.to(dtype), requires_grad=False))


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
