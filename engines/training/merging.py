"""Merges a stack of LoRA files into one file: exactly, by concatenating ranks, or to a chosen rank."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from engines.api.errors import BadInput, LoraMismatch
from engines.api.params import LoraUse
from engines.drawing.lora_files import read_adapter
from engines.drawing.lora_reading import PEFT_CONFIG, PeftScales
from engines.drawing.lora_renaming import FLAT, State
from engines.training.export import Info, draft, write_adapter

OnLayer = Callable[[int, int], None]  # layers that are merged, of all


class Factors(NamedTuple):
    """Holds one layer's update B·A: `down` is A (rank, in), `up` is B (out, rank)."""

    down: Tensor
    up: Tensor


def merge(uses: Sequence[LoraUse], path: Path, info: Info, rank: int = 0, on_layer: OnLayer | None = None) -> float:
    """Merges LoRA files with their strengths into one file at `path`, and returns the relative error of its updates.

    At strength 1 the merged file has the effect of the stack. `rank`: the highest rank of a layer; 0 keeps the sum of
    the ranks, which is exact. A layer with a higher sum gets its best approximation of that rank, by a singular value
    decomposition. The error is the norm of what was cut off, relative to that of the updates of all layers.
    `info`: the facts for the file's metadata, whose rank, alpha and targets are set here; `on_layer`: called after each
    layer. The file is read back before it gets its name. Raises: NotFound; BadInput for an empty stack or a strength
    out of bounds; LoraMismatch for a file that is damaged, is a LoKr or LoHa, or changes layers of other sizes than the
    rest.
    """
    # 1. All files' layers, with strengths and scales multiplied in.
    stack = [_layers(use, info.family) for use in uses if use.weight]
    if not stack:
        raise BadInput("There is nothing to merge.", "Choose LoRAs with a strength other than 0.")
    names = list(dict.fromkeys(name for layers in stack for name in layers))

    # 2. Layer by layer their concatenation, cut to the rank.
    merged: dict[str, Tensor] = {}
    lost = total = 0.0
    for index, name in enumerate(names, start=1):
        whole = _joined(name, [layers[name] for layers in stack if name in layers])
        kept, cut, norm = _cut(whole, rank)
        merged |= {f"{name}.lora_A.weight": kept.down, f"{name}.lora_B.weight": kept.up}
        lost, total = lost + cut, total + norm
        if on_layer:
            on_layer(index, len(names))

    # 3. One file, whose scale is 1.
    kinds = dict.fromkeys(re.sub(r"(blocks\\\.)\d+", r"\1\\d+", re.escape(name)) for name in names)  # of all blocks
    highest = max(merged[f"{name}.lora_A.weight"].shape[0] for name in names)
    with draft(path) as written:
        write_adapter(written, merged, replace(info, rank=highest, alpha=float(highest), targets="|".join(kinds)))
    return float((lost / total) ** 0.5) if total else 0.0


def _layers(use: LoraUse, family: str) -> Mapping[str, Factors]:
    """Returns the layers of a LoRA file by name, with its scales and its strength. Raises: NotFound, LoraMismatch."""
    use.demand_usable()
    path = Path(use.file)
    read, metadata = read_adapter(path, family)
    odd = next((key for key in read if ".lora_" not in key or key.startswith(FLAT)), "")
    if odd:
        raise LoraMismatch(
            f"{path.name} cannot be merged: {odd} is not a factor of a plain LoRA by diffusers' names.",
            "Take it out of the stack, or use the stack as it is.",
        )
    state: State = PeftScales.of(metadata.get(PEFT_CONFIG, ""), path.name).applied(path, read)
    names = dict.fromkeys(key.partition(".lora_")[0] for key in state)
    pairs = {name: (state[f"{name}.lora_A.weight"], state[f"{name}.lora_B.weight"]) for name in names}
    return {name: Factors(down, (up.float() * use.weight).to(up.dtype)) for name, (down, up) in pairs.items()}


def _joined(name: str, parts: Sequence[Factors]) -> Factors:
    """Returns the sum of a layer's updates as one, whose rank is the sum of the ranks. Raises: LoraMismatch."""
    sizes = {(part.down.shape[1], part.up.shape[0]) for part in parts}
    if len(sizes) > 1:
        raise LoraMismatch(
            f"These LoRAs are for different models: {name} has the sizes {' and '.join(map(str, sorted(sizes)))}.",
            "Merge LoRAs of one base.",
        )
    kind = reduce(torch.promote_types, (factor.dtype for part in parts for factor in part))
    downs, ups = ([factor.to(kind) for factor in side] for side in zip(*parts, strict=True))
    return Factors(torch.cat(downs).contiguous(), torch.cat(ups, dim=1).contiguous())


def _cut(whole: Factors, rank: int) -> tuple[Factors, float, float]:
    """Returns a layer's update cut to a rank, and the squared norms of what was cut off and of the whole.

    The decomposition is that of the small product of the factors' triangular parts, which has the same singular values.
    """
    down, up = whole.down.double(), whole.up.double()
    left, upper = torch.linalg.qr(up)
    right, lower = torch.linalg.qr(down.T)
    rows, values, columns = torch.linalg.svd(upper @ lower.T, full_matrices=False)
    norm = float(values.square().sum())
    if not rank or rank >= down.shape[0]:
        return whole, 0.0, norm
    root = values[:rank].sqrt()
    kept = Factors(root[:, None] * (columns[:rank] @ right.T), (left @ rows[:, :rank]) * root)
    kind = whole.up.dtype
    kept = Factors(kept.down.to(kind).contiguous(), kept.up.to(kind).contiguous())
    return kept, float(values[rank:].square().sum()), norm
