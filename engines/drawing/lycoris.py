"""Reads the factors of LoKr and LoHa, and computes their updates beside a layer of any precision.

LoKr: ΔW = w1 ⊗ w2, a Kronecker product. LoHa: ΔW = (w1_a·w1_b) ∘ (w2_a·w2_b), an elementwise product. A factor of LoKr
may itself be a product, w_a·w_b. A whole ΔW (`diff`) is a Kronecker product with the number 1.
Source: lycoris/modules/lokr.py and loha.py in KohakuBlueleaf/LyCORIS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.api.protocols import Loaded

Factors = dict[str, Tensor]  # the factors of one layer's update, by LyCORIS' names

NAME = re.compile(r"(.+)\.(lokr_w[12](?:_[ab])?|hada_w[12]_[ab]|diff)")  # of a tensor: its layer, its factor
ROWS = "lokr_rows"  # which rows of the product a layer takes, where several layers share one product

_HALVES = (({"lokr_w1"}, {"lokr_w1_a", "lokr_w1_b"}), ({"lokr_w2"}, {"lokr_w2_a", "lokr_w2_b"}))
_WHOLE = [{"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}, *(one | other for one, other in product(*_HALVES))]


def factors(given: Mapping[str, Tensor], alpha: float | None) -> Factors:
    """Returns the factors of one layer's update, in one data type and with the scale multiplied in.

    The scale is alpha / rank; it is 1 without an alpha, and where no factor is itself a product, as in LyCORIS.
    Raises: ValueError, with the reason, where the factors are not those of one matrix.
    """
    kind, names = next(iter(given.values())).dtype, ", ".join(sorted(given))
    own = {name: value.float() for name, value in given.items()}
    if any(value.ndim != 2 or not value.numel() for value in own.values()):
        shapes = ", ".join(str(tuple(value.shape)) for value in own.values())
        raise ValueError(f"{names} of the shapes {shapes}, where a linear layer has matrices")
    if own.keys() == {"diff"}:
        own = {"lokr_w1": torch.ones(1, 1), "lokr_w2": own["diff"]}
    if own.keys() not in _WHOLE:
        raise ValueError(f"{names}, which are not the factors of one LoKr or LoHa")
    for name in own:  # of each product, the inner widths
        if name.endswith("_a") and own[name].shape[1] != own[f"{name[:-1]}b"].shape[0]:
            raise ValueError(f"{names}, whose ranks differ")
    rank = next((own[name].shape[0] for name in ("lokr_w2_b", "lokr_w1_b", "hada_w1_b") if name in own), 0)
    scale = alpha / rank if rank and alpha is not None else 1.0
    if "lokr_w1_a" in own:
        own["lokr_w1"] = own.pop("lokr_w1_a") @ own.pop("lokr_w1_b")
    first = "hada_w1_a" if "hada_w1_a" in own else "lokr_w1"
    own[first] = own[first] * scale
    if "hada_w1_a" in own and [own[f"hada_w1_{side}"].shape[at] for at, side in enumerate("ab")] != [
        own[f"hada_w2_{side}"].shape[at] for at, side in enumerate("ab")
    ]:
        raise ValueError(f"{names}, whose products differ in shape")
    return {name: value.to(kind) for name, value in own.items()}


def widths(own: Factors) -> tuple[int, int]:
    """Returns the widths, in and out, of the layer whose update these factors make."""
    if "hada_w1_a" in own:
        return own["hada_w1_b"].shape[1], own["hada_w1_a"].shape[0]
    w1, last = own["lokr_w1"], own.get("lokr_w2")
    wide, out = (own["lokr_w2_b"], own["lokr_w2_a"]) if last is None else (last, last)
    return w1.shape[1] * wide.shape[1], w1.shape[0] * out.shape[0]


def picked(own: Factors, rows: Tensor) -> Factors:
    """Returns the factors of those rows of the product that a layer takes: other programs fuse several layers in one.

    `rows`: the indices of the rows, int64.
    """
    if "hada_w1_a" in own:
        return {**own, "hada_w1_a": own["hada_w1_a"][rows], "hada_w2_a": own["hada_w2_a"][rows]}
    return own if torch.equal(rows, torch.arange(widths(own)[1])) else {**own, ROWS: rows}


def install(transformer: Loaded, name: str, state: Mapping[str, Tensor]) -> None:
    """Puts products in place of the empty LoRA layers called `name` that their layers have.

    `state`: the file's tensors; those under a layer's path and a name of LyCORIS are its factors.
    """
    layers: dict[str, Factors] = {}
    for key, value in state.items():
        path, _, factor = key.rpartition(".")
        if factor.startswith(("lokr_", "hada_")):
            layers.setdefault(path, {})[factor] = value
    moved: dict[int, Tensor] = {}  # layers that were one share its factors
    for path, own in layers.items():
        layer = transformer.get_submodule(path)
        device = layer.lora_B[name].weight.device
        placed = {factor: moved.setdefault(id(value), value.to(device)) for factor, value in own.items()}
        through = nn.Identity()
        through.register_parameter("weight", nn.Parameter(next(iter(placed.values())).new_empty(0)))  # peft reads dtype
        layer.lora_A[name] = through
        layer.lora_B[name] = Hadamard(placed) if "hada_w1_a" in placed else Kronecker(placed)


class Kronecker(nn.Module):
    """Computes (w1 ⊗ w2)·x without the product: w2 on each block of x, then w1 across the blocks."""

    rows: Tensor | None

    def __init__(self, own: Factors) -> None:
        super().__init__()
        self.own = nn.ParameterDict({name: nn.Parameter(t) for name, t in own.items() if name != ROWS})
        self.register_buffer("rows", own.get(ROWS))

    def forward(self, x: Tensor) -> Tensor:
        """Returns ΔW·x for the layer's inputs x (…, in)."""
        blocks = x.unflatten(-1, (self.own["lokr_w1"].shape[1], -1))
        for name in ("lokr_w2", "lokr_w2_b", "lokr_w2_a"):
            blocks = functional.linear(blocks, self.own[name]) if name in self.own else blocks
        out: Tensor = (self.own["lokr_w1"] @ blocks).flatten(-2)
        return out if self.rows is None else out[..., self.rows]


class Hadamard(nn.Module):
    """Computes ((w1_a·w1_b) ∘ (w2_a·w2_b))·x; forms the product anew each time."""

    def __init__(self, own: Factors) -> None:
        super().__init__()
        self.own = nn.ParameterDict({name: nn.Parameter(t) for name, t in own.items()})

    def forward(self, x: Tensor) -> Tensor:
        """Returns ΔW·x for the layer's inputs x (…, in)."""
        first = self.own["hada_w1_a"] @ self.own["hada_w1_b"]
        return functional.linear(x, first * (self.own["hada_w2_a"] @ self.own["hada_w2_b"]))
