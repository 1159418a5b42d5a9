"""LoRA files onto a transformer and off again; a file that does not fit is an error, never a silent no-op."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from diffusers.loaders import QwenImageLoraLoaderMixin
from peft import LoraConfig
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engines.api import LoraUse
from engines.errors import LoraMismatch, NotFound
from engines.parts import modulation
from engines.parts.memo import Memo
from engines.registry import declared_family, load_class, lora_files

State = dict[str, Tensor]
Read = Callable[[str, str], tuple[State, dict[str, str]]]  # a file, the family that it is read for

PEFT_CONFIG = "lora_adapter_metadata"  # where diffusers and peft keep the adapter's LoraConfig, as JSON
FAMILY = "family"  # where our own files say which family they are for


def read_adapter(path: str | Path, family: str = "flux") -> tuple[State, dict[str, str]]:
    """A LoRA's tensors under peft's names relative to the transformer, and the file's own metadata.

    Understands diffusers' ("transformer.…lora_A.weight"), kohya's ("lora_unet_…lora_down.weight", with alphas) and
    ComfyUI's ("diffusion_model.…") names, through diffusers' own converters; alphas are folded into the tensors.
    Black Forest Labs' names don't tell FLUX.1 from FLUX.2: what the file says of itself does, or else `family`.
    Raises: NotFound, LoraMismatch.
    """
    path = _existing(path)
    with _opened(path) as file:
        metadata = dict(file.metadata() or {})
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    converted = _converted(path, state, _declared_family(metadata) or family)
    return {key.removeprefix("transformer."): value for key, value in converted.items()}, metadata


class AdapterFiles:
    """`read_adapter` that remembers, within a bound of bytes; a file that has changed since is read again."""

    def __init__(self, limit_bytes: int = 1 << 30) -> None:
        self._memo: Memo[tuple[State, dict[str, str]]] = Memo(
            limit_bytes, lambda read: sum(tensor.nbytes for tensor in read[0].values())
        )

    def __call__(self, path: str, family: str = "flux") -> tuple[State, dict[str, str]]:
        """As `read_adapter`. Raises: NotFound, LoraMismatch."""
        stat = _existing(path).stat()
        return self._memo.get((path, family, stat.st_mtime_ns, stat.st_size), lambda: read_adapter(path, family))


def touches_modulation(use: LoraUse) -> bool:
    """Whether a file changes what a modulation table is made of, by its names alone. Raises: NotFound, LoraMismatch."""
    with _opened(_existing(use.file)) as file:
        return any(source in name for name in file.keys() for source in modulation.SOURCES)  # noqa: SIM118


def attach(transformer: Any, uses: Sequence[LoraUse], family: str, read: Read = read_adapter) -> None:
    """Load a stack of LoRAs and give each its strength; all of it, or none of it.

    The base stays as it is, at whatever width: adapters act beside its layers. Every module that a file names is
    counted on the transformer afterwards.
    Raises: NotFound, LoraMismatch.
    """
    adapters = {f"stack_{index}": _fitting(transformer, use, family, read) for index, use in enumerate(uses)}
    if not adapters:
        return
    with ExitStack() as undo, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config` attribute")  # a stack is what we mean
        undo.callback(detach, transformer)
        for name, (state, settings) in adapters.items():
            transformer.load_lora_adapter(dict(state), prefix=None, adapter_name=name, metadata=settings)
            _count(transformer, name, state)
        transformer.set_adapters(list(adapters), weights=[use.weight for use in uses])
        transformer.requires_grad_(False).eval()
        undo.pop_all()


def stack_bytes(uses: Sequence[LoraUse]) -> int:
    """What a stack of LoRA files takes on the card, held in float32 at worst. Raises: NotFound."""
    return sum(2 * _existing(use.file).stat().st_size for use in uses)


def detach(transformer: Any) -> None:
    """Leave the transformer as it was before `attach`, to the bit."""
    if getattr(transformer, "peft_config", None):
        transformer.unload_lora()


@contextmanager
def attached(transformer: Any, uses: Sequence[LoraUse], family: str, read: Read = read_adapter) -> Iterator[Any]:
    """A stack of LoRAs for the length of a block; a resident transformer is handed on clean whatever happens."""
    try:
        attach(transformer, uses, family, read)
        yield transformer
    finally:
        detach(transformer)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise LoraMismatch(
            f"{path.name} is not a safetensors file: {error}.", "Download or export it again."
        ) from error


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"There is no LoRA file {path}.", "Choose another, or put it back.")
    return path


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def _converted(path: Path, state: State, family: str) -> State:
    """Any known naming to diffusers'. Raises: LoraMismatch."""
    try:
        if any("lora_unet_transformer_blocks" in key or key.startswith("diffusion_model.transformer") for key in state):
            return dict(QwenImageLoraLoaderMixin.lora_state_dict(state))
        if any("double_blocks" in key or "single_blocks" in key or key.startswith("lora_t") for key in state):
            return _bfl_converted(path, state, family)
        return _plain(state)
    except (ValueError, AssertionError, KeyError, IndexError, NotImplementedError) as error:
        raise LoraMismatch(
            f"The names of the tensors in {path.name} are not understood: {str(error)[:200]}.",
            f"Expected diffusers', kohya's or ComfyUI's names for a model of the {family} family.",
        ) from error


def _plain(state: State) -> State:
    """Names that are diffusers' already, give or take a prefix or an alpha beside them."""
    bare = {
        key.removeprefix("diffusion_model.").removeprefix("base_model.model."): value for key, value in state.items()
    }
    if any(key.endswith((".alpha", ".lora_down.weight")) or ".default." in key for key in bare):
        bare = {key.removeprefix("transformer."): value for key, value in bare.items()}
        return dict(QwenImageLoraLoaderMixin.lora_state_dict(bare))
    return bare


def _bfl_converted(path: Path, state: State, family: str) -> State:
    """Black Forest Labs' module names to diffusers', counting that none is dropped. Raises: LoraMismatch."""
    files = lora_files(family)
    if not files.reader:
        raise LoraMismatch(
            f"The tensors in {path.name} are named as in FLUX, which the {family} family is not.",
            f"Choose a LoRA trained for {family}.",
        )
    kohya = {_kohya_name(key): value for key, value in state.items()}
    converted = dict(load_class(files.reader).lora_state_dict(dict(kohya)))
    modules = [key.removesuffix(".lora_down.weight") for key in kohya if key.endswith(".lora_down.weight")]
    expected = sum(next((n for tail, n in files.fused.items() if module.endswith(tail)), 1) for module in modules)
    found = sum(key.endswith("lora_A.weight") for key in converted)
    if found < expected:
        raise LoraMismatch(
            f"{path.name} holds {expected} LoRA modules under their own names, of which only {found} are understood.",
            "Export it again in diffusers' format.",
        )
    return converted


def _kohya_name(key: str) -> str:
    """ComfyUI's "diffusion_model.double_blocks.0.img_mod.lin.lora_A.weight" as kohya would write it."""
    if not key.startswith("diffusion_model."):
        return key
    key = key.replace(".lora_A.", ".lora_down.").replace(".lora_B.", ".lora_up.")
    for ending in (".lora_down.weight", ".lora_up.weight", ".alpha"):
        if key.endswith(ending):
            module = key.removeprefix("diffusion_model.").removesuffix(ending)
            return f"lora_unet_{module.replace('.', '_')}{ending}"
    return key


# ── fitting ─────────────────────────────────────────────────────────────────────────────────────


def _fitting(transformer: Any, use: LoraUse, family: str, read: Read) -> tuple[State, dict[str, Any] | None]:
    """A file's tensors and peft settings, once every tensor is known to fit. Raises: NotFound, LoraMismatch."""
    name = Path(use.file).name
    state, metadata = read(use.file, family)
    declared = _declared_family(metadata)
    if declared and declared != family:
        raise LoraMismatch(
            f"{name} is a LoRA for the {declared} family; this model is of the {family} family.",
            f"Choose a LoRA trained for {family}.",
        )
    if modulation.is_tabled(transformer) and any(source in key for key in state for source in modulation.SOURCES):
        raise LoraMismatch(
            f"{name} changes the modulation layers, and this transformer has a table in their place.",
            "Lease the transformer with its own modulation layers for this LoRA.",
        )
    modules = {path: module for path, module in transformer.named_modules() if hasattr(module, "in_features")}
    misfits = [problem for key, value in state.items() if (problem := _misfit(modules, key, value))]
    if misfits or not state:
        raise LoraMismatch(
            f"{name} does not fit {type(transformer).__name__}: {len(misfits)} of its {len(state)} tensors have no "
            f"place{f', the first is {misfits[0]}' if misfits else ''}.",
            f"Choose a LoRA trained for this very model of the {family} family.",
        )
    return state, _peft_settings(metadata)


def _count(transformer: Any, name: str, state: State) -> None:
    """Whether as many modules carry an adapter as its file has. Raises: LoraMismatch."""
    expected = sum(".lora_A." in key for key in state)
    found = sum(name in module.lora_A for module in transformer.modules() if hasattr(module, "lora_A"))
    if found != expected:
        raise LoraMismatch(
            f"Of a LoRA's {expected} modules {found} were loaded.", "Export it again in diffusers' format."
        )


def _misfit(modules: Mapping[str, Any], key: str, value: Tensor) -> str:
    """What is wrong with one tensor, in words; empty where it fits."""
    path, _, kind = key.partition(".lora_")
    module = modules.get(path)
    if module is None or kind not in ("A.weight", "B.weight"):
        return f"{key}: expected a linear layer of that name, found none"
    expected, found = (module.in_features, value.shape[1]) if kind[0] == "A" else (module.out_features, value.shape[0])
    return "" if expected == found else f"{key}: expected width {expected}, found {found}"


def _declared_family(metadata: Mapping[str, str]) -> str:
    """The family that a file says it is for, in our words or in the model specification's; empty if it says none."""
    if metadata.get(FAMILY):
        return metadata[FAMILY]
    return declared_family(metadata.get("modelspec.architecture") or metadata.get("ss_base_model_version") or "")


def _peft_settings(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The LoraConfig that diffusers and peft write beside the weights; it holds rank and alpha."""
    if PEFT_CONFIG not in metadata:
        return None
    settings = {key.removeprefix("transformer."): value for key, value in json.loads(metadata[PEFT_CONFIG]).items()}
    known = {field.name for field in dataclasses.fields(LoraConfig)}
    return {key: value for key, value in settings.items() if key in known}
