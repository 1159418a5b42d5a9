"""Reads LoRA files as other tools write them; raises for files with a tensor that is not understood.

A tensor is a factor (of a LoRA, a LoKr or a LoHa), an alpha, or belongs to a text encoder. Alphas are multiplied into
the factors first; then the modules are renamed to diffusers' names by diffusers' own converters.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from engines.api.errors import LoraMismatch
from engines.api.params import Json
from engines.drawing import lycoris
from engines.drawing.lora_renaming import FLAT, PREFIXES, State, joined, renamed, state_of

Number = TypeVar("Number", int, float)

PEFT_CONFIG = "lora_adapter_metadata"  # where diffusers and peft keep the adapter's LoraConfig, as JSON
PEFT_FILE = "adapter_config.json"  # where peft alone keeps it, beside the weights
LARGEST = 65504.0  # float16's largest number: a number that half precision cannot hold was never learned

_FACTOR = re.compile(r"(.+?)\.lora(?:_|\.)(A|B|down|up)(?:\.(?!weight$)\w+)?\.weight|(.+_lora\d*)\.(down|up)\.weight")
_ALPHA = ".alpha"
_DOWN = ".lora_A.weight"
_LYCORIS_FLAT = "lycoris_"  # LyCORIS' prefix of a path in the model's own names with underscores for dots
_TEXT_ENCODER = re.compile(
    r"(lora_te\d*_|lora_prior_te_|te\d?_|text_encoders?(_\d)?\.|text_model\.|cond_stage_model\.|conditioner\.|"
    r"clip_[lg]\.|t5xxl\.|qwen25_7b\.)"
)
_PLAIN = {"down", "up", "alpha"}
_OTHER_KINDS = {  # part of a tensor's name -> the kind of adapter that has such tensors
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "_norm.scale": "a control LoRA of FLUX (Canny or Depth), which draws after a control picture",
    "lokr_": "LoKr of convolutions",
    "hada_": "LoHa of convolutions",
    "oft_": "OFT",
    "boft_": "BOFT",
    "lora_mid": "a LoRA of convolutions",
    "lora_embedding": "a LoRA with trained words",
    "bundle_emb": "a LoRA with trained words",
    ".diff": "a LoRA with biases beside it",
    ".bias": "a LoRA with biases",
    "norm": "a LoRA with norms beside it",
}
_ASK_FOR_PLAIN = "Use a plain LoRA: some tools extract one (ComfyUI: Extract and Save Lora). Or choose another file."


def plain_state(path: Path, state: State, family: str) -> tuple[State, str]:
    """Converts a LoRA file's tensors to lora_A and lora_B under diffusers' names, with alphas multiplied in.

    A layer of LoKr or LoHa has an empty LoRA of rank 1, and beside it the factors as `lycoris.install` takes them.
    Returns the tensors, and a message for the user about tensors of text encoders, which are left out; "" where there
    are none. `path`: the file, which errors name; `state`: its tensors by name; `family`: the model family whose names
    are expected.
    Raises: LoraMismatch where a tensor is not understood, has no counterpart, or holds unusable numbers.
    """
    own = {key: value for key, value in state.items() if not _TEXT_ENCODER.match(_bare(key))}
    left = len(state) - len(own)
    if left and not own:
        raise LoraMismatch(
            f"{path.name} changes a text encoder alone, and no text encoder takes a LoRA here.",
            "Choose a LoRA that changes the transformer.",
        )
    note = (
        f"{path.name}: {left} tensors for a text encoder are not used, only those for the transformer." if left else ""
    )
    sides = _sides(path, own)
    products = {name: _product(path, name, given) for name, given in sides.items() if not given.keys() <= _PLAIN}
    pairs = {name: _pair(path, name, given) for name, given in sides.items() if name not in products}
    return joined(path, [renamed(path, pairs, family), _renamed_products(path, products, family)]), note


def _bare(key: str) -> str:
    """Removes from a tensor's name the prefixes that name the part of the model."""
    while prefix := next((each for each in PREFIXES if key.startswith(each)), ""):
        key = key.removeprefix(prefix)
    return key


# ── tensors ─────────────────────────────────────────────────────────────────────────────────────


def _sides(path: Path, state: State) -> dict[str, dict[str, Tensor]]:
    """Returns module -> side (down, up, alpha or a factor of LyCORIS) -> tensor. Raises: LoraMismatch."""
    sides: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        module, side = _side(key)
        if not module or not (value.is_floating_point() or side == "alpha"):
            raise _not_understood(path, state, key)
        if side in sides.setdefault(module, {}):
            raise LoraMismatch(
                f"{path.name} holds {side} of {module} twice, under the names of two tools.",
                "Download or export it again.",
            )
        sides[module][side] = value.to(torch.bfloat16) if value.element_size() == 1 else value
    return sides


def _side(key: str) -> tuple[str, str]:
    """Returns a tensor's module and its side (down, up, alpha or a factor of LyCORIS); both empty for any other."""
    key = _bare(key)
    key = key.replace(_LYCORIS_FLAT, FLAT, 1) if key.startswith(_LYCORIS_FLAT) else key
    if key.endswith(_ALPHA):
        return key.removesuffix(_ALPHA), "alpha"
    if product := lycoris.NAME.fullmatch(key):
        return product[1], product[2]
    found = _FACTOR.fullmatch(key)
    if not found:
        return "", ""
    return found[1] or found[3], {"A": "down", "B": "up"}.get(found[2], found[2] or found[4])


def _not_understood(path: Path, state: State, first: str) -> LoraMismatch:
    strange = [_bare(key) for key in state if not _side(key)[0]]
    kind = next((kind for part, kind in _OTHER_KINDS.items() if any(part in key for key in strange)), "")
    what = f"looks like {kind}" if kind else "is no plain LoRA"
    return LoraMismatch(
        f"{path.name} {what}: {max(len(strange), 1)} of its {len(state)} tensors are not understood, the first is "
        f"{first}.",
        _ASK_FOR_PLAIN,
    )


def _pair(path: Path, module: str, own: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Returns down and up of one module, with alpha / rank multiplied into up. Raises: LoraMismatch."""
    if not {"down", "up"} <= own.keys():
        missing = " and ".join(sorted({"down", "up"} - own.keys()))
        raise LoraMismatch(
            f"{path.name} is not complete: {module} has {' and '.join(sorted(own))}, and no {missing}.",
            "Download or export it again.",
        )
    down, up = own["down"], own["up"]
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1] or not down.numel() or not up.numel():
        raise LoraMismatch(
            f"{path.name} cannot be used: the factors of {module} have the shapes {tuple(down.shape)} and "
            f"{tuple(up.shape)}; expected (rank, in) and (out, rank), the rank at least 1.",
            _ASK_FOR_PLAIN,
        )
    up = _scaled(up, _strength(path, module, own["alpha"]) / down.shape[0]) if "alpha" in own else up
    _demand_learned(path, module, (down, up))
    return down, up


def _product(path: Path, module: str, own: Mapping[str, Tensor]) -> lycoris.Factors:
    """Returns the factors of one module of LoKr or LoHa, with its scale multiplied in. Raises: LoraMismatch."""
    given = {side: value for side, value in own.items() if side != "alpha"}
    alpha = _strength(path, module, own["alpha"]) if "alpha" in own else None
    try:
        found = lycoris.factors(given, alpha)
    except ValueError as error:
        raise LoraMismatch(
            f"{path.name} cannot be used: {module} holds {error}.",
            _ASK_FOR_PLAIN,
        ) from error
    _demand_learned(path, module, found.values())
    return found


def _renamed_products(path: Path, products: Mapping[str, lycoris.Factors], family: str) -> State:
    """Returns the factors of LoKr and LoHa under diffusers' names, with an empty LoRA for each module.

    Which rows of a fused layer a module takes is learned from LoRAs whose up factors are the numbers of the rows, and
    whose down factors are the number of the product. Raises: LoraMismatch.
    """
    sizes = {module: lycoris.widths(own) for module, own in products.items()}
    probes = {
        module: (torch.full((1, wide), float(index)), torch.arange(float(out))[:, None])
        for index, (module, (wide, out)) in enumerate(sizes.items())
    }
    found, numbered, state = renamed(path, probes, family), list(products.values()), State()
    for module in (key.removesuffix(_DOWN) for key in found if key.endswith(_DOWN)):
        own = numbered[int(found[f"{module}{_DOWN}"][0, 0])]
        rows = found[f"{module}.lora_B.weight"][:, 0].long()
        empty = next(iter(own.values())).new_zeros
        state |= {f"{module}.{factor}": value for factor, value in lycoris.picked(own, rows).items()}
        state |= state_of({module: (empty(1, lycoris.widths(own)[0]), empty(len(rows), 1))})
    return state


def _demand_learned(path: Path, module: str, factors: Iterable[Tensor]) -> None:
    """Raises: LoraMismatch where a factor holds a number that no training learns."""
    if not all(float(factor.abs().max()) <= LARGEST for factor in factors):
        raise LoraMismatch(
            f"{path.name} is broken: {module} holds numbers that are infinite, not a number or above {LARGEST:g}.",
            "Its training has failed, or the file is damaged: download it again, or choose an earlier checkpoint.",
        )


def _strength(path: Path, module: str, alpha: Tensor) -> float:
    if alpha.numel() != 1:
        raise LoraMismatch(
            f"{path.name} cannot be used: the alpha of {module} has the shape {tuple(alpha.shape)}; expected one "
            "number.",
            _ASK_FOR_PLAIN,
        )
    return _usable_alpha(path, module, float(alpha))


def _usable_alpha(path: Path, module: str, alpha: float) -> float:
    if not math.isfinite(alpha) or alpha == 0:
        raise LoraMismatch(
            f"{path.name} would change nothing, or everything: the alpha of {module} is {alpha:g}.",
            "Download or export it again, with an alpha above 0.",
        )
    return alpha


def _scaled(up: Tensor, scale: float) -> Tensor:
    return up if scale == 1 else (up.float() * scale).to(up.dtype)


# ── peft's settings ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class PeftScales:
    """Holds those fields of peft's LoraConfig that determine the scale of each module's update.

    `alpha`, `rank`: the values for all modules but those in `alphas` and `ranks`, which are keyed by a module's path or
    the end of it. `by_root`: the scale is alpha / √rank (rsLoRA) instead of alpha / rank.
    """

    alpha: float | None = None  # None where the settings have none: the scale is 1
    rank: int | None = None
    by_root: bool = False  # rank-stabilised: alpha / √rank
    alphas: Mapping[str, float] | None = None
    ranks: Mapping[str, int] | None = None

    @classmethod
    def of(cls, text: str, name: str) -> PeftScales:
        """Creates PeftScales from the JSON of a LoraConfig, as diffusers and peft write it.

        `text`: the JSON; "" for a file that has none, whose scales are all 1. `name`: the LoRA file's name in errors.
        Raises: LoraMismatch for JSON that is no LoraConfig, or one of a DoRA.
        """
        try:
            settings: Json = json.loads(text) if text else {}
            pairs = {key.removeprefix("transformer."): value for key, value in settings.items()}
            if pairs.get("use_dora"):
                raise LoraMismatch(f"{name} looks like DoRA: its settings declare it.", _ASK_FOR_PLAIN)
            return cls(
                alpha=None if pairs.get("lora_alpha") is None else _number(pairs["lora_alpha"]),
                rank=None if pairs.get("r") is None else int(_number(pairs["r"])),
                by_root=bool(pairs.get("use_rslora")),
                alphas={str(key): _number(value) for key, value in (pairs.get("alpha_pattern") or {}).items()},
                ranks={str(key): int(_number(value)) for key, value in (pairs.get("rank_pattern") or {}).items()},
            )
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise LoraMismatch(
                f"{name} cannot be used: its settings ({PEFT_CONFIG} or {PEFT_FILE}) are not those of a LoRA.",
                "Download or export it again.",
            ) from error

    def applied(self, path: Path, state: State) -> State:
        """Returns a LoRA's tensors, with each module's scale multiplied into its up factor (lora_B).

        `state`: the tensors by name; `path`: the file, which errors name. Raises: LoraMismatch where the tensors
        contradict the LoraConfig.
        """
        if self.alpha is not None and any(".lora_" not in key for key in state):
            raise LoraMismatch(f"{path.name} is a LoKr or LoHa as peft alone writes it, with settings.", _ASK_FOR_PLAIN)
        modules = {key.partition(".lora_")[0] for key in state}
        for named in {*(self.ranks or ()), *(self.alphas or ())}:
            if not any(_is_end(named, module) for module in modules):
                raise LoraMismatch(
                    f"{path.name} contradicts itself: its settings name {named}, for which it has no tensors.",
                    "Download or export it again.",
                )
        return {key: self._scaled(path, key, value) for key, value in state.items()}

    def _scaled(self, path: Path, key: str, value: Tensor) -> Tensor:
        module, _, kind = key.partition(".lora_")
        rank = value.shape[1] if kind == "B.weight" else value.shape[0]
        declared, alpha = _of(self.ranks or {}, module, self.rank), _of(self.alphas or {}, module, self.alpha)
        if declared not in (None, rank):
            raise LoraMismatch(
                f"{path.name} contradicts itself: its settings give rank {declared}, {module} has rank {rank}.",
                "Download or export it again.",
            )
        if kind != "B.weight" or alpha is None:
            return value
        return _scaled(value, _usable_alpha(path, module, alpha) / (math.sqrt(rank) if self.by_root else rank))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return value


def _of(pattern: Mapping[str, Number], module: str, otherwise: Number | None) -> Number | None:
    return next((value for key, value in pattern.items() if _is_end(key, module)), otherwise)


def _is_end(named: str, module: str) -> bool:
    """Returns whether a key of peft's patterns is a module's path or its end; regular expressions never match."""
    return f".{module}".endswith(f".{named.removeprefix('transformer.')}")
