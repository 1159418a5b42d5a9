"""Loads LoRA files onto a transformer and unloads them; a file that does not fit raises and is never ignored."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

from safetensors import SafetensorError, safe_open
from torch import Tensor

from engines.api.errors import LoraMismatch, NotFound
from engines.api.params import LoraUse
from engines.api.protocols import Loaded
from engines.catalogue.registry import declared_family, families_alike, is_strange
from engines.drawing import lycoris
from engines.drawing.lora_reading import PEFT_CONFIG, PEFT_FILE, PeftScales, plain_state
from engines.drawing.lora_renaming import FLAT, State, joined
from engines.drawing.memo import Memo
from engines.weights import modulation
from engines.weights.published import Mapped

Read = Callable[[str, str], tuple[State, dict[str, str]]]  # a file, the family to read it for -> tensors, metadata

FAMILY = "family"  # metadata key by which our own files declare their family
LEFT_OUT = "left out"  # metadata key by which `read_adapter` describes the tensors that it left out
_MAKERS = "named by"  # metadata key by which `read_adapter` says whose names the file has, if not diffusers'
_VERSION = "ss_base_model_version"
_NOT_SAID = ("sd_1.5",)  # versions that some trainers (old ai-toolkit) write whatever they train
_COMMON = re.compile(  # layers that several families have under one name and in one shape
    r"transformer_blocks\.(\d+)\.attn\.(?:to_[qkv]|to_out\.0|to_add_out|add_[qkv]_proj)|norm_out\.linear|"
    r"time_text_embed\.timestep_embedder\.linear_[12]"
)
_CHOOSE = "Choose a LoRA trained for the model that you draw with."
_SAY_SO = (
    "If you know that it is for this model, say so: tick “It is for this model” beside its weight, or give "
    '"for_this_model": true by script. Otherwise choose another file.'
)


def read_adapter(path: str | Path, family: str = "flux") -> tuple[State, dict[str, str]]:
    """Reads a LoRA file; returns its tensors and its metadata.

    The tensors are named as in peft, relative to the transformer ("….lora_A.weight"), with alphas multiplied in. The
    file may have names of diffusers ("transformer.…lora_A.weight"), kohya ("lora_unet_…lora_down.weight") or ComfyUI
    ("diffusion_model.…"). OneTrainer's flat module names ("lora_transformer_…") are kept. Beside the empty LoRA of a
    layer of LoKr or LoHa are its factors, as `lycoris.install` takes them.
    Tensors of text encoders are left out, and the metadata entry `LEFT_OUT` describes them. The scale in peft's
    settings is not applied: the settings stay in the metadata, or are added there from an adapter_config.json beside
    the file. Where the file has alphas, these count, and the metadata has no settings.
    `family`: the model family whose tensor names are expected where the metadata declares no family.
    Raises: NotFound for a missing file, LoraMismatch for one that is damaged or has a tensor that is not understood.
    """
    path = _existing(path)
    with _opened(path) as file:
        metadata = dict(file.metadata() or {})
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  safe_open is no mapping
    try:
        own, note = plain_state(path, state, _declared_family(metadata) or family)
    except LoraMismatch as error:
        if strange := _strange(metadata):
            raise LoraMismatch(_foreign(path, strange), _CHOOSE) from error
        raise
    settings = path.with_name(PEFT_FILE)
    is_pefts = any(key.startswith("base_model.model.") for key in state) or path.stem == "adapter_model"
    has_alphas = any(key.endswith(".alpha") for key in state)
    if has_alphas:
        metadata.pop(PEFT_CONFIG, None)  # its scale is in the tensors already
    elif PEFT_CONFIG not in metadata and is_pefts and settings.is_file():
        metadata[PEFT_CONFIG] = settings.read_text(encoding="utf-8", errors="replace")
    if any("double_blocks" in key for key in state):
        metadata[_MAKERS] = "XLabs" if any(".processor." in key for key in state) else "Black Forest Labs"
    return own, {**metadata, **({LEFT_OUT: note} if note else {})}


class AdapterFiles:
    """Reads LoRA files as `read_adapter` does, and caches their tensors; a changed file is read again.

    `limit_bytes`: the most bytes of tensors in the cache.
    """

    def __init__(self, limit_bytes: int = 1 << 30) -> None:
        self._memo: Memo[tuple[State, dict[str, str]]] = Memo(
            limit_bytes, lambda read: sum(tensor.nbytes for tensor in read[0].values())
        )
        self._reading = Lock()  # a request may check one file while the worker draws with another

    def __call__(self, path: str, family: str = "flux") -> tuple[State, dict[str, str]]:
        """Returns what `read_adapter` returns for a file, from the cache if possible.

        Raises: NotFound, LoraMismatch.
        """
        file = _existing(path)
        beside = file.with_name(PEFT_FILE)
        stats = [each.stat() for each in (file, beside) if each.is_file()]
        key = (path, family, *((stat.st_mtime_ns, stat.st_size) for stat in stats))
        with self._reading:
            return self._memo.get(key, lambda: read_adapter(path, family))


def touches_modulation(use: LoraUse) -> bool:
    """Returns whether a LoRA file changes the transformer's modulation layers or its time embedding.

    Some transformers are loaded with a precomputed table of outputs in place of these layers, which is computed anew
    for a stack with such a LoRA. Raises: NotFound for a missing file, LoraMismatch for one that is not a safetensors
    file.
    """
    with _opened(_existing(use.file)) as file:
        return any(source in name for name in file.keys() for source in modulation.SOURCES)  # noqa: SIM118  no mapping


def attach(transformer: Loaded, uses: Sequence[LoraUse], family: str, read: Read = read_adapter) -> None:
    """Loads LoRA files onto a transformer and sets the strength of each; after an error none is loaded.

    The base weights do not change, whatever their precision: LoRA layers compute beside them. Afterwards every module
    that a file names is checked to have a LoRA layer. Where a table replaces the transformer's modulation layers, it
    must cover the coming forward passes afterwards, since LoRAs may change its rows. `family`: the model's family;
    `read`: reads a file as `read_adapter` does.
    Raises: NotFound for a missing file, LoraMismatch for one that does not fit, BadInput for a strength out of bounds.
    """
    adapters = {f"stack_{index}": fitting(transformer, use, family, read) for index, use in enumerate(uses)}
    if not adapters:
        return
    with ExitStack() as undo, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config` attribute")  # a stack is intended
        undo.callback(detach, transformer)
        for name, (state, _) in adapters.items():
            plain = {key: value for key, value in state.items() if ".lora_" in key}
            transformer.load_lora_adapter(plain, prefix=None, adapter_name=name)
            _count(transformer, name, state)
            lycoris.install(transformer, name, state)
        transformer.set_adapters(list(adapters), weights=[use.weight for use in uses])
        transformer.requires_grad_(False).eval()
        undo.pop_all()


def check(transformer: Loaded, uses: Sequence[LoraUse], family: str, read: Read = read_adapter) -> list[str]:
    """Checks that `attach` would load these files; returns a message for each file with tensors that will not be used.

    `transformer`: may be without weights. The other parameters and the errors are those of `attach`.
    """
    notes = (fitting(transformer, use, family, read)[1] for use in uses)
    return [note for note in notes if note]


def stack_bytes(uses: Sequence[LoraUse]) -> int:
    """Returns the most bytes that LoRA files take on the GPU: twice their sizes, as they may be in float32 there.

    Raises: NotFound where a file does not exist.
    """
    return sum(2 * _existing(use.file).stat().st_size for use in uses)


def detach(transformer: Loaded) -> None:
    """Unloads all LoRAs from a transformer, which then computes as before `attach`, to the bit."""
    if getattr(transformer, "peft_config", None):
        transformer.unload_lora()


@contextmanager
def attached(transformer: Loaded, uses: Sequence[LoraUse], family: str, read: Read = read_adapter) -> Iterator[Loaded]:
    """Loads LoRA files onto a transformer inside a `with` block, and unloads them even after an error.

    The parameters and errors are those of `attach`; yields the transformer.
    """
    try:
        attach(transformer, uses, family, read)
        yield transformer
    finally:
        detach(transformer)


@contextmanager
def _opened(path: Path) -> Iterator[Mapped]:
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


# ── fitting ─────────────────────────────────────────────────────────────────────────────────────


def fitting(transformer: Loaded, use: LoraUse, family: str, read: Read) -> tuple[State, str]:
    """Reads a LoRA file, checks that each tensor fits the transformer, and multiplies peft's scales into them.

    Returns the tensors, and a description of those left out, "" for none. Raises: NotFound, LoraMismatch, BadInput.
    """
    use.demand_usable()
    path = Path(use.file)
    name = path.name
    state, metadata = read(use.file, family)
    if not state:
        raise LoraMismatch(f"{name} holds no tensors.", "Download or export it again.")
    declared, strange = _declared_family(metadata), _strange(metadata)
    if strange and not use.for_this_model:
        raise LoraMismatch(_foreign(path, strange), f"{_CHOOSE} {_SAY_SO}")
    if declared and declared != family:
        raise LoraMismatch(
            f"{name} is a LoRA for the {declared} family; this model belongs to the {family} family.",
            f"Choose a LoRA trained for {family}.",
        )
    modules = {path: module for path, module in transformer.named_modules() if hasattr(module, "in_features")}
    # OneTrainer's flat names, "lora_transformer_single_transformer_blocks_0_proj_out.…".
    dotted = {f"{FLAT}{path.replace('.', '_')}": path for path in modules}
    parted = ((key.partition("."), value) for key, value in state.items())
    state = joined(path, ({f"{dotted.get(flat, flat)}{dot}{kind}": value} for (flat, dot, kind), value in parted))
    loras = [key for key in state if ".lora_" in key]  # layers of LoKr and LoHa have an empty one
    misfits = [problem for key in loras if (problem := _misfit(modules, key, state[key]))]
    if misfits:
        raise LoraMismatch(
            f"{name} does not fit {type(transformer).__name__}: {len(misfits)} of its {len(state)} tensors have no "
            f"place, the first is {misfits[0]}.",
            f"Choose a LoRA trained for this very model of the {family} family.",
        )
    if not (declared or use.for_this_model):
        _demand_sure(path, family, state, metadata)
    scales = PeftScales.of(metadata.get(PEFT_CONFIG, ""), name)
    return scales.applied(path, state), metadata.get(LEFT_OUT, "")


def _count(transformer: Loaded, name: str, state: State) -> None:
    """Checks that as many modules of the transformer have the adapter `name` as its file names.

    Raises: LoraMismatch.
    """
    expected = sum(".lora_A." in key for key in state)
    found = sum(name in module.lora_A for module in transformer.modules() if hasattr(module, "lora_A"))
    if found != expected:
        raise LoraMismatch(
            f"Only {found} of a LoRA's {expected} modules were loaded.", "Export it again in diffusers' format."
        )


def _misfit(modules: Mapping[str, Loaded], key: str, value: Tensor) -> str:
    """Returns why no layer of the transformer takes the tensor `key`; "" where one does."""
    path, _, kind = key.partition(".lora_")
    module = modules.get(path)
    if module is None or kind not in ("A.weight", "B.weight"):
        return f"{key}: expected a linear layer of that name, found none"
    expected, found = (module.in_features, value.shape[1]) if kind[0] == "A" else (module.out_features, value.shape[0])
    return "" if expected == found else f"{key}: expected width {expected}, found {found}"


def _demand_sure(path: Path, family: str, state: State, metadata: Mapping[str, str]) -> None:
    """Raises LoraMismatch where the file fits models of other families just as well, and says nothing of its own.

    `state`: the file's tensors under diffusers' names, all of which fit a model of `family`.
    """
    downs = {key.partition(".lora_")[0]: value for key, value in state.items() if ".lora_A." in key}
    common = {module: _COMMON.fullmatch(module) for module in downs}
    blocks = {module: int(found[1]) + 1 for module, found in common.items() if found and found[1]}
    if not blocks or not all(common.values()) or metadata.get(_MAKERS) == "XLabs":
        return
    width = downs[next(iter(blocks))].shape[1]
    others = [each for each in families_alike(width, max(blocks.values()), _MAKERS in metadata) if each != family]
    if others:
        raise LoraMismatch(
            f"{path.name} does not say which model it is for, and changes layers that the {' and the '.join(others)} "
            f"family have as well as the {family} family.",
            _SAY_SO,
        )


def _declared_family(metadata: Mapping[str, str]) -> str:
    """Returns the family that a LoRA file's metadata declares, by our own entry or others'; "" where it declares none.

    "" also stands for a family to which no model here belongs.
    """
    return metadata.get(FAMILY) or declared_family(_architecture(metadata))


def _strange(metadata: Mapping[str, str]) -> str:
    """Returns the architecture that a LoRA file declares if no model here has it, "" otherwise."""
    architecture = "" if metadata.get(FAMILY) else _architecture(metadata)
    return architecture if is_strange(architecture) else ""


def _architecture(metadata: Mapping[str, str]) -> str:
    version = metadata.get(_VERSION, "")
    return metadata.get("modelspec.architecture") or ("" if version in _NOT_SAID else version)


def _foreign(path: Path, architecture: str) -> str:
    return f"{path.name} declares that it is a LoRA for {architecture}, which no model here is."
