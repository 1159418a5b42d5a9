"""LoRA files onto a transformer and off again; a file that does not fit is an error, never a silent no-op."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from engines.api.errors import LoraMismatch, NotFound
from engines.api.params import LoraUse
from engines.catalogue.registry import declared_family, is_strange
from engines.drawing.lora_reading import PEFT_CONFIG, PEFT_FILE, PeftScales, State, plain_state
from engines.drawing.memo import Memo
from engines.weights import modulation

Read = Callable[[str, str], tuple[State, dict[str, str]]]  # a file, the family that it is read for

FAMILY = "family"  # where our own files say which family they are for
LEFT_OUT = "left out"  # where `read_adapter` says in words what it did not take from a file
_VERSION = "ss_base_model_version"
_NOT_SAID = ("sd_1.5",)  # what some trainers write as ss_base_model_version whatever they train (old ai-toolkit)


def read_adapter(path: str | Path, family: str = "flux") -> tuple[State, dict[str, str]]:
    """A LoRA's tensors under peft's names relative to the transformer, and the file's own metadata.

    Understands diffusers' ("transformer.…lora_A.weight"), kohya's ("lora_unet_…lora_down.weight") and ComfyUI's
    ("diffusion_model.…") names, with and without alphas, which are folded into the tensors; peft's own scale stays in
    the metadata, also where it came in a file of its own. Modules written flat ("lora_transformer_…") stay so.
    Black Forest Labs' names don't tell FLUX.1 from FLUX.2: what the file says of itself does, or else `family`.
    What is for a text encoder is left out, and the metadata says so; anything else that is not understood is an error.
    Raises: NotFound, LoraMismatch.
    """
    path = _existing(path)
    with _opened(path) as file:
        metadata = dict(file.metadata() or {})
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    own, note = plain_state(path, state, _declared_family(path, metadata) or family)
    if PEFT_CONFIG not in metadata and (beside := _peft_beside(path, state)):
        metadata[PEFT_CONFIG] = beside
    return own, {**metadata, **({LEFT_OUT: note} if note else {})}


class AdapterFiles:
    """`read_adapter` that remembers, within a bound of bytes; a file that has changed since is read again."""

    def __init__(self, limit_bytes: int = 1 << 30) -> None:
        self._memo: Memo[tuple[State, dict[str, str]]] = Memo(
            limit_bytes, lambda read: sum(tensor.nbytes for tensor in read[0].values())
        )
        self._reading = Lock()  # who asks for pictures looks into a file while the worker draws with another

    def __call__(self, path: str, family: str = "flux") -> tuple[State, dict[str, str]]:
        """As `read_adapter`. Raises: NotFound, LoraMismatch."""
        stat = _existing(path).stat()
        with self._reading:
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
        for name, (state, _) in adapters.items():
            transformer.load_lora_adapter(dict(state), prefix=None, adapter_name=name)
            _count(transformer, name, state)
        transformer.set_adapters(list(adapters), weights=[use.weight for use in uses])
        transformer.requires_grad_(False).eval()
        undo.pop_all()


def check(transformer: Any, uses: Sequence[LoraUse], family: str, read: Read = read_adapter) -> list[str]:
    """Whether `attach` would take these files, with a transformer that needs no weights; in words what it leaves out.

    Raises: NotFound, LoraMismatch, BadInput.
    """
    notes = (_fitting(transformer, use, family, read)[1] for use in uses)
    return [note for note in notes if note]


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
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror or error}.", "Choose another file.") from error


def _existing(path: str | Path) -> Path:
    path = Path(path)
    try:
        found = path.is_file()
    except OSError:
        found = False  # such as a name that is too long
    if not found:
        raise NotFound(f"There is no LoRA file {path}.", "Choose another, or put it back.")
    return path


def _peft_beside(path: Path, state: State) -> str:
    """The settings in the file that peft writes beside its weights; empty where these are not peft's own."""
    settings = path.with_name(PEFT_FILE)
    own = any(key.startswith("base_model.model.") for key in state) or path.stem == "adapter_model"
    if not own or any(key.endswith(".alpha") for key in state) or not settings.is_file():
        return ""
    return settings.read_text(encoding="utf-8", errors="replace")


# ── fitting ─────────────────────────────────────────────────────────────────────────────────────


def _fitting(transformer: Any, use: LoraUse, family: str, read: Read) -> tuple[State, str]:
    """A file's tensors at their strength, once every one is known to fit, and in words what is left out of it.

    Raises: NotFound, LoraMismatch, BadInput.
    """
    use.demand_usable()
    path = Path(use.file)
    name = path.name
    state, metadata = read(use.file, family)
    declared = _declared_family(path, metadata)
    if declared and declared != family:
        raise LoraMismatch(
            f"{name} is a LoRA for the {declared} family; this model is of the {family} family.",
            f"Choose a LoRA trained for {family}.",
        )
    modules = {path: module for path, module in transformer.named_modules() if hasattr(module, "in_features")}
    flat = {f"lora_transformer_{path.replace('.', '_')}": path for path in modules}
    state = {_unflattened(key, flat): value for key, value in state.items()}
    if modulation.is_tabled(transformer) and any(source in key for key in state for source in modulation.SOURCES):
        raise LoraMismatch(
            f"{name} changes the modulation layers, and this transformer has a table in their place.",
            "Lease the transformer with its own modulation layers for this LoRA.",
        )
    misfits = [problem for key, value in state.items() if (problem := _misfit(modules, key, value))]
    if misfits or not state:
        raise LoraMismatch(
            f"{name} does not fit {type(transformer).__name__}: {len(misfits)} of its {len(state)} tensors have no "
            f"place{f', the first is {misfits[0]}' if misfits else ''}.",
            f"Choose a LoRA trained for this very model of the {family} family.",
        )
    scales = PeftScales.of(metadata.get(PEFT_CONFIG, ""), name)
    return scales.applied(path, state), metadata.get(LEFT_OUT, "")


def _unflattened(key: str, flat: Mapping[str, str]) -> str:
    """OneTrainer's "lora_transformer_single_transformer_blocks_0_proj_out.…" by the model's own names."""
    module, dot, kind = key.partition(".")
    return f"{flat.get(module, module)}{dot}{kind}"


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


def _declared_family(path: Path, metadata: Mapping[str, str]) -> str:
    """The family that a file says it is for, in our words or in others'; empty if it says none.

    Raises: LoraMismatch where it is for a family that no model here belongs to.
    """
    if metadata.get(FAMILY):
        return metadata[FAMILY]
    version = metadata.get(_VERSION, "")
    said = metadata.get("modelspec.architecture") or ("" if version in _NOT_SAID else version)
    if is_strange(said):
        raise LoraMismatch(
            f"{path.name} says that it is a LoRA for {said}, which no model here is.",
            "Choose a LoRA trained for the model that you draw with.",
        )
    return declared_family(said)
