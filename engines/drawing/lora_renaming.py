"""Renames the modules of LoRA files to diffusers' names, by diffusers' own converters; raises where one is lost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from diffusers.loaders import QwenImageLoraLoaderMixin
from diffusers.loaders.lora_conversion_utils import swap_scale_shift
from torch import Tensor

from engines.api.errors import LoraMismatch
from engines.catalogue.registry import load_class, lora_files

State = dict[str, Tensor]
Pairs = dict[str, tuple[Tensor, Tensor]]  # module -> down (rank, in), up (out, rank)
Reader: TypeAlias = Any  # one of diffusers' LoRA loader classes

PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.")  # of any module's name
FLAT = "lora_transformer_"  # before a path in the model's own names with underscores for dots

_KOHYA = "lora_unet_"
_BFL_BLOCKS = ("double_blocks", "single_blocks")
_BFL = re.compile(
    r"(double_blocks|single_blocks|img_in|txt_in|time_in|guidance_in|vector_in|final_layer)[._].+|(img_in|txt_in)|"
    r"\w+_modulation(_img|_txt)?[._]lin"
)
_XLABS = ".processor."
_XLABS_FUSED = {"qkv_lora": 3, "qkv_lora1": 3, "qkv_lora2": 3}
_NORM_OUT = "final_layer.adaLN_modulation.1"
_AROUND = {  # the makers' layers outside the blocks, as kohya writes them -> as the makers do
    name.replace(".", "_"): name
    for name in (
        *("img_in", "txt_in", "time_in.in_layer", "time_in.out_layer", "guidance_in.in_layer", "guidance_in.out_layer"),
        *("vector_in.in_layer", "vector_in.out_layer", "final_layer.linear", _NORM_OUT),
        *("single_stream_modulation.lin", "double_stream_modulation_img.lin", "double_stream_modulation_txt.lin"),
    )
}


def renamed(path: Path, pairs: Pairs, family: str) -> State:
    """Converts any known naming to diffusers'; flat names (lora_transformer_…) stay flat.

    `path`: the file, which errors name; `pairs`: its modules' factors, alphas multiplied in; `family`: the model family
    whose names are expected. Raises: LoraMismatch where a module is not understood or is there under two names.
    """
    _demand_once(path, [name.removeprefix(_KOHYA).removeprefix(FLAT).replace(".", "_") for name in pairs])
    has_reader = bool(lora_files(family).reader)
    unet = {name.removeprefix(_KOHYA): pair for name, pair in pairs.items() if name.startswith(_KOHYA)}
    other = {name: pair for name, pair in pairs.items() if not name.startswith(_KOHYA)}
    makers = {  # those named by Black Forest Labs' code
        name: pair
        for name, pair in (unet | other).items()
        if name.startswith(_BFL_BLOCKS) or (has_reader and _BFL.fullmatch(name))
    }
    ours = {name: pair for name, pair in unet.items() if name not in makers}  # paths in the model's own names, flat
    if not has_reader and any(name.startswith(_BFL_BLOCKS) for name in makers):
        raise LoraMismatch(
            f"The tensors in {path.name} are named as in FLUX, which the {family} family is not.",
            f"Choose a LoRA trained for {family}.",
        )
    states = [state_of({name: pair for name, pair in other.items() if name not in makers})]
    try:
        if has_reader:
            states += [state_of({f"{FLAT}{name}": pair for name, pair in ours.items()})]
            states += _through_reader(path, makers, family)
        elif unet:
            states += [_converted(path, QwenImageLoraLoaderMixin, _kohya(unet), len(unet))]
    except (ValueError, AssertionError, KeyError, IndexError, NotImplementedError, RuntimeError) as error:
        raise LoraMismatch(
            f"{path.name} does not fit: its layers are not understood as those of a model of the {family} family"
            f"{f' ({str(error)[:200]})' if str(error) else ''}.",
            f"Choose a LoRA trained for {family}, in diffusers', kohya's or ComfyUI's names.",
        ) from error
    return joined(path, states)


def joined(path: Path, states: Iterable[State]) -> State:
    """Returns the tensors of all `states` as one dict. Raises: LoraMismatch where two of them hold the same name."""
    states = list(states)
    _demand_once(path, [name for state in states for name in state])
    return {name: value for state in states for name, value in state.items()}


def _demand_once(path: Path, names: Sequence[str]) -> None:
    """Raises: LoraMismatch where a name is there twice."""
    if len(set(names)) < len(names):
        name, _ = Counter(names).most_common(1)[0]
        raise LoraMismatch(
            f"{path.name} holds {name} twice, under the names of two tools.", "Download or export it again."
        )


def state_of(pairs: Pairs) -> State:
    """Returns the tensors of a LoRA under peft's names: lora_A is down, lora_B is up."""
    named = ((f"{module}.lora_A.weight", f"{module}.lora_B.weight", *pair) for module, pair in pairs.items())
    return {key: value for down, up, a, b in named for key, value in ((down, a), (up, b))}


def _kohya(pairs: Pairs) -> State:
    downs = {f"{_KOHYA}{module}.lora_down.weight": down for module, (down, _) in pairs.items()}
    return downs | {f"{_KOHYA}{module}.lora_up.weight": up for module, (_, up) in pairs.items()}


def _through_reader(path: Path, pairs: Pairs, family: str) -> Iterator[State]:
    """Converts Black Forest Labs' module names to diffusers', group by group. Raises: LoraMismatch where one is lost.

    `pairs`: the factors by the makers' names, with dots or with kohya's underscores.
    """
    files = lora_files(family)
    reader = load_class(files.reader) if pairs else None
    groups: dict[str, Pairs] = {"blocks": {}, "around": {}, _XLABS: {}}
    for module, pair in pairs.items():
        flat = module.replace(".", "_")
        if _XLABS in module:
            groups[_XLABS][module] = pair
        elif files.reads_dotted and flat in _AROUND:
            groups["around"][_AROUND[flat]] = pair
            if _AROUND[flat] == _NORM_OUT:  # diffusers swaps scale and shift of the weights, and forgets the LoRA's
                groups["around"][_NORM_OUT] = (pair[0], swap_scale_shift(pair[1]))
        else:
            groups["blocks"][flat] = pair
    fused = {**files.fused, **_XLABS_FUSED}
    for name, group in groups.items():
        if not group:
            continue
        expected = sum(next((n for tail, n in fused.items() if module.endswith(tail)), 1) for module in group)
        if name == "around":
            state = {f"diffusion_model.{key}": value for key, value in state_of(group).items()}
        elif name == _XLABS:
            state = {f"{module}.down.weight": down for module, (down, _) in group.items()}
            state |= {f"{module}.up.weight": up for module, (_, up) in group.items()}
        else:
            state = _kohya(group)
        yield _converted(path, reader, state, expected)


def _converted(path: Path, reader: Reader, state: State, expected: int) -> State:
    """Converts tensors' names with a LoRA loader class of diffusers, and removes its prefix "transformer.".

    Raises: LoraMismatch where the result has not `expected` modules.
    """
    out = {key.removeprefix("transformer."): value for key, value in reader.lora_state_dict(dict(state)).items()}
    found = sum(key.endswith("lora_A.weight") for key in out)
    if found != expected or len(out) != 2 * expected:
        raise LoraMismatch(
            f"{path.name} holds {expected} LoRA modules under their own names, of which only {found} are understood.",
            "Export it again in diffusers' format.",
        )
    return out
