"""Writes LoRA files, for this program and for other tools, and checks each by reading it back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engines.api.errors import BadInput, LoraMismatch
from engines.api.params import TrainParams
from engines.catalogue.registry import lora_files
from engines.drawing.lora_files import read_adapter
from engines.drawing.lora_reading import PEFT_CONFIG
from engines.training.module_names import FORMS, Slot, prefixed, slot

State = Mapping[str, Tensor]
_PARTS = {  # of a module, by form; ComfyUI reads kohya's too, InvokeAI with that prefix these alone
    "kohya": (".lora_down.weight", ".lora_up.weight", ".alpha"),
    "comfyui": (".lora_A.weight", ".lora_B.weight", ".alpha"),
}
_KEEPS_ALPHA = ("kohya",)  # forms whose every reader multiplies by alpha / rank; in the others alpha is the rank
_KEPT_EMPTY = {"trigger", "dataset"}  # entries that `Info.of` needs even where they are empty
_TOLERANCE = 1e-4  # relative to a module's norm; more where alpha is folded into narrower numbers


@dataclass(frozen=True, kw_only=True)
class Info:
    """Holds the facts about a LoRA that its file's metadata records.

    `family`, `base_model`: names; `step`: the training steps so far; `dataset`: hash of the training data; `targets`:
    regular expression for the names of the layers with a LoRA; `pictures`: the number of training pictures; `made`:
    the date and time in ISO 8601. A field that has its default value is unknown.
    """

    family: str
    base_model: str
    trigger: str
    rank: int
    alpha: float
    step: int
    dataset: str
    targets: str
    params: TrainParams | None = None
    pictures: int = 0  # a repeated one as often as it is repeated
    licence: str = ""  # the base model's
    made: str = ""  # ISO 8601
    ranks: Mapping[str, int] = field(default_factory=dict)  # of modules whose rank is not `rank`
    told: str = ""  # what the file is, where it does not come from one training

    def metadata(self, form: str = "diffusers") -> dict[str, str]:
        """Returns the metadata entries of a LoRA file, by name.

        They are this program's own, and those of peft, kohya and Stability AI's ModelSpec. All values are text; entries
        whose value is unknown are left out. `form`: the tool whose module names the file has, which is diffusers, kohya
        or comfyui.
        Source: the ss_* entries of kohya-ss/sd-scripts (train_network.py), and Stability-AI/ModelSpec 1.0.1.
        """
        own = {
            "family": self.family,
            "base_model": self.base_model,
            "trigger": self.trigger,
            "rank": str(self.rank),
            "alpha": str(self.alpha),
            "step": str(self.step),
            "dataset": self.dataset,
            "targets": self.targets,
            "params": json.dumps(self.params.to_json(), sort_keys=True) if self.params else "",
            "pictures": str(self.pictures or ""),
            "licence": self.licence,
            "made": self.made,
            "told": self.told,
        }
        entries = own | self._kohya() | self._model_spec()
        if form == "diffusers":  # without these diffusers and peft take the alpha to be the rank
            scales: dict[str, object] = {"r": self.rank, "lora_alpha": self.alpha, "target_modules": self.targets}
            if self.ranks:
                scale = self.alpha / self.rank
                alphas = {name: rank * scale for name, rank in self.ranks.items()}
                scales |= {"rank_pattern": dict(self.ranks), "alpha_pattern": alphas}
            peft = {f"transformer.{name}": value for name, value in scales.items()}
            entries[PEFT_CONFIG] = json.dumps(peft, sort_keys=True)
        return {name: value for name, value in entries.items() if value or name in _KEPT_EMPTY}

    def _kohya(self) -> dict[str, str]:
        """Returns the metadata entries of kohya's tools, which many other programs read, too."""
        files, params = lora_files(self.family), self.params
        tags = {f"1_{self.trigger}": {self.trigger: self.pictures or 1}} if self.trigger else {}
        known = {
            "ss_network_module": files.network,
            "ss_network_dim": str(self.rank),
            "ss_network_alpha": str(self.alpha),
            "ss_base_model_version": files.base_version,
            "ss_sd_model_name": self.base_model,
            "ss_steps": str(self.step),
            "ss_num_train_images": str(self.pictures or ""),
            "ss_tag_frequency": json.dumps(tags) if tags else "",  # where most programs look for a trigger
        }
        if params is None:
            return known
        return known | {
            "ss_learning_rate": str(params.learning_rate),
            "ss_unet_lr": str(params.learning_rate),
            "ss_resolution": str((params.resolution, params.resolution)),
            "ss_max_train_steps": str(params.steps),
            "ss_total_batch_size": str(params.batch_size * params.gradient_accumulation),
            "ss_gradient_accumulation_steps": str(params.gradient_accumulation),
            "ss_gradient_checkpointing": str(params.gradient_checkpointing),
            "ss_max_grad_norm": str(params.max_grad_norm),
            "ss_optimizer": params.optimizer,
            "ss_seed": str(params.seed),
        }

    def _model_spec(self) -> dict[str, str]:
        """Returns the metadata entries of Stability-AI/ModelSpec, which programs show in their lists of models."""
        files = lora_files(self.family)
        side = self.params.resolution if self.params else 0
        data = f" on {self.pictures} pictures" if self.pictures else ""
        use = f" Say {self.trigger} in the prompt." if self.trigger else ""
        return {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": files.architectures.get(self.base_model, files.architecture),
            "modelspec.implementation": files.implementation,
            "modelspec.title": f"{self.trigger or self.base_model} LoRA, step {self.step}",
            "modelspec.description": self.told
            or (f"A LoRA of {self.base_model}, trained with FLENwheel{data} for {self.step} steps.{use}"),
            "modelspec.date": self.made,
            "modelspec.license": self.licence,
            "modelspec.resolution": f"{side}x{side}" if side else "",
            "modelspec.prediction_type": "flow",
            "modelspec.trigger_phrase": self.trigger,
        }

    @classmethod
    def of(cls, metadata: Mapping[str, str], path: Path) -> Info:
        """Creates an Info from the metadata of a LoRA file that this program wrote.

        `path`: the file, for error messages. Raises: LoraMismatch if an entry is missing.
        """
        try:
            return cls(
                family=metadata["family"],
                base_model=metadata["base_model"],
                trigger=metadata["trigger"],
                rank=int(metadata["rank"]),
                alpha=float(metadata["alpha"]),
                step=int(metadata["step"]),
                dataset=metadata["dataset"],
                targets=metadata["targets"],
                params=TrainParams.kept(json.loads(metadata["params"])) if metadata.get("params") else None,
                pictures=int(metadata.get("pictures", 0)),
                licence=metadata.get("licence", ""),
                made=metadata.get("made", ""),
                told=metadata.get("told", ""),
            )
        except KeyError as error:
            raise LoraMismatch(
                f"{path.name} was not trained here: its metadata lacks {error}.",
                "Use it in the form that it has.",
            ) from error
        except (ValueError, TypeError, BadInput) as error:
            raise LoraMismatch(
                f"The metadata of {path.name} cannot be read: {error}.",
                "Use it in the form that it has, or train it anew.",
            ) from error


def write_adapter(path: Path, state: State, info: Info) -> None:
    """Writes a LoRA to a safetensors file in diffusers' format, then reads the file and compares the tensors.

    `state`: the LoRA's tensors by peft's names, without the prefix "transformer.", which is added. Raises: LoraMismatch
    if a tensor that was read differs.
    """
    tensors = {f"transformer.{name}": value.detach().cpu().contiguous() for name, value in state.items()}
    ranks = {name.partition(".lora_")[0]: value.shape[0] for name, value in state.items() if ".lora_A." in name}
    other = {name: rank for name, rank in ranks.items() if rank != info.rank}
    _save(tensors, path, replace(info, ranks=other), "diffusers")
    found, _ = read_adapter(path)
    lost = [name for name, value in state.items() if name not in found or not torch.equal(found[name], value.cpu())]
    if lost or len(found) != len(state):
        raise LoraMismatch(
            f"{path} does not read back as it was written: {len(lost)} of {len(state)} tensors differ.",
            "Check the disk, then continue the training.",
        )


def export(source: Path, path: Path, form: str) -> None:
    """Writes a copy of a LoRA file that was trained here, in the format of another tool.

    `source`: the file to read; `path`: the file to write; `form`: the format: diffusers, kohya or comfyui. At equal
    strength the copy has the effect of the original. In the formats diffusers and comfyui, where many programs ignore
    alpha, alpha / rank is multiplied into the tensors, and the metadata then gives alpha as equal to the rank.
    The copy is checked by reading it before it gets its final name, so that an error leaves no file. Raises: BadInput
    for an unknown form; LoraMismatch if `source` was not trained here, the format has no name for a module, or the
    check fails.
    """
    if form not in FORMS:
        raise BadInput(f"There is no LoRA form named {form}.", f"Choose one of: {', '.join(FORMS)}.")
    state, metadata = read_adapter(source)
    info = Info.of(metadata, source)
    if form == "diffusers":
        with draft(path) as written:
            write_adapter(written, scaled(state, info.alpha / info.rank), replace(info, alpha=float(info.rank)))
    else:
        write_converted(path, converted(state, info, form), state, info, form)


def scaled(state: State, scale: float) -> dict[str, Tensor]:
    """Returns a LoRA's tensors with the up matrices multiplied by `scale`."""
    return {
        name: (value.float() * scale).to(value.dtype) if scale != 1 and ".lora_B." in name else value
        for name, value in state.items()
    }


def write_converted(path: Path, tensors: State, state: State, info: Info, form: str) -> None:
    """Writes the tensors that `converted` returned to a file, and checks the file by reading it.

    `tensors`: the converted tensors; `state`, `info`: the original tensors and metadata; `form`: kohya or comfyui.
    Raises: LoraMismatch if the product of up and down matrix differs in any layer; then no file is left.
    """
    with draft(path) as written:
        _save(tensors, written, info if form in _KEEPS_ALPHA else replace(info, alpha=float(info.rank)), form)
        if _known_to_diffusers(state, info):
            found: State = read_adapter(written, info.family)[0]
        else:
            found = _read_by_names(written, state, info, form)
        modules, scale = dict.fromkeys((*_modules(state), *_modules(found))), info.alpha / info.rank
        wrong = [name for name in modules if not _same(_factors(state, name), _factors(found, name), scale)]
        if wrong:
            raise LoraMismatch(
                f"{path.name} would not do in {form}'s names what was learned: {len(wrong)} modules differ when it "
                f"is read back, the first is {wrong[0]}.",
                "Export it in diffusers' form, and report this: it is an error of ours.",
            )


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Yields a path of the same name in a temporary folder; the file there replaces `path` unless an error occurs."""
    with TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        yield written
        written.replace(path)


def _save(tensors: State, path: Path, info: Info, form: str) -> None:
    metadata = {**info.metadata(form), "modelspec.hash_sha256": content_hash(tensors)}
    save_file(dict(tensors), path, metadata=metadata)


def content_hash(tensors: State) -> str:
    """Returns the hash by which Stability-AI/ModelSpec identifies a safetensors file: "0x", then a SHA-256 in hex.

    It covers the tensors in the order in which such a file stores them, without the header.
    """
    found = hashlib.sha256()
    for _, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"0x{found.hexdigest()}"


def converted(state: State, info: Info, form: str) -> dict[str, Tensor]:
    """Returns a LoRA's tensors by kohya's or ComfyUI's names, with the alpha values that these tools expect.

    `state`, `info`: the tensors by peft's names, and the metadata; `form`: kohya or comfyui. ComfyUI's alphas equal the
    rank; they are left out for model families whose reader in diffusers fails on them.
    Where the tool has one fused layer for several layers of diffusers (such as q, k and v), the down matrices are
    stacked and the up matrices form a block diagonal. The product is the same, and the rank is the sum of the ranks.
    The layer by which other programs know the family (its `mark`) is added with zeros, where it has no LoRA.
    Raises: LoraMismatch for a module that the tool has no name for.
    """
    groups: dict[str, dict[int, str]] = {}
    slots: dict[str, Slot] = {}
    mark, beside, times = lora_files(info.family).mark
    alike = state.get(f"{beside}.lora_A.weight")
    if alike is not None and f"{mark}.lora_A.weight" not in state:
        shapes = {"A": (1, alike.shape[1]), "B": (times * alike.shape[1], 1)}
        state = {**state, **{f"{mark}.lora_{side}.weight": alike.new_zeros(*shapes[side]) for side in shapes}}
    for module in _modules(state):
        place = slot(info.family, module)
        if place is None:
            raise LoraMismatch(f"{form} has no name for {module}.", "Export it in diffusers' form.")
        groups.setdefault(place.module, {})[place.index] = module
        slots[place.module] = place
    out: dict[str, Tensor] = {}
    keeps_alpha = form in _KEEPS_ALPHA
    scale, state = (info.alpha / info.rank, state) if keeps_alpha else (1.0, scaled(state, info.alpha / info.rank))
    parts = _PARTS[form] if keeps_alpha or not lora_files(info.family).reads_dotted else _PARTS[form][:2]
    for theirs, ours in groups.items():
        down, up = _fused(state, ours, slots[theirs].widths)
        values = (down.contiguous(), up.contiguous(), torch.tensor(scale * down.shape[0]))
        out.update({f"{prefixed(form, theirs)}{part}": value for part, value in zip(parts, values, strict=False)})
    return out


def _fused(state: State, ours: Mapping[int, str], widths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Returns the (down, up) of a fused module, joined from those of several of our modules.

    `ours`: index in the fused module -> our module; `widths`: the outputs' widths in hidden sizes. Outputs without a
    LoRA get zeros.
    """
    pairs = {
        index: (state[f"{module}.lora_A.weight"], state[f"{module}.lora_B.weight"]) for index, module in ours.items()
    }
    if len(widths) == 1:
        return pairs[0]
    some, (down, up) = next(iter(pairs.items()))
    hidden = up.shape[0] // widths[some]
    for index, width in enumerate(widths):
        pairs.setdefault(index, (torch.zeros_like(down), up.new_zeros(width * hidden, up.shape[1])))
    ordered = [pairs[index] for index in range(len(widths))]
    return torch.cat([down for down, _ in ordered]), torch.block_diag(*(up for _, up in ordered))


# ── reading back ────────────────────────────────────────────────────────────────────────────────


def _known_to_diffusers(state: State, info: Info) -> bool:
    """Returns whether diffusers' converter splits this model's fused layers correctly.

    It assumes one hidden size, which small models do not have.
    """
    known = lora_files(info.family).cut_at
    places = {module: slot(info.family, module) for module in _modules(state)}
    hidden = {
        state[f"{module}.lora_B.weight"].shape[0] // place.widths[place.index]
        for module, place in places.items()
        if place and len(place.widths) > 1
    }
    return not known or hidden <= {known}


def _read_by_names(path: Path, state: State, info: Info, form: str) -> State:
    """Reads a converted file with our own tables of names; tensors that these lack keep the names in the file."""
    tensors: dict[str, Tensor] = load_file(path)
    read: set[str] = set()
    found: dict[str, Tensor] = {}
    for module in _modules(state):
        place = slot(info.family, module)
        if place is None:
            continue
        keys = [f"{prefixed(form, place.module)}{part}" for part in _PARTS[form]]
        if any(key not in tensors for key in keys[:2]):
            continue
        read.update(keys)
        down, up = (tensors[key] for key in keys[:2])
        alpha = tensors.get(keys[2], torch.tensor(float(down.shape[0])))
        hidden = up.shape[0] // sum(place.widths)
        first = hidden * sum(place.widths[: place.index])
        found[f"{module}.lora_A.weight"] = down * (alpha / down.shape[0])
        found[f"{module}.lora_B.weight"] = up[first : first + hidden * place.widths[place.index]]
    return found | {key: value for key, value in tensors.items() if key not in read}


def _same(ours: tuple[Tensor, Tensor] | None, theirs: tuple[Tensor, Tensor] | None, scale: float) -> bool:
    """Returns whether two pairs of factors have the same product B·A but for rounding.

    `scale` multiplies ours. A module that only `theirs` has must be zero.
    """
    if theirs is None:
        return False
    if ours is None:
        return _norm(*theirs) == 0
    (down, up), (other_down, other_up) = ours, theirs
    if down.shape[1] != other_down.shape[1] or up.shape[0] != other_up.shape[0]:
        return False
    downs = torch.cat([down.double() * scale, other_down.double()])
    apart = _norm(downs, torch.cat([up.double(), -other_up.double()], dim=1))
    return apart <= max(_TOLERANCE, 2 * torch.finfo(other_down.dtype).eps) * _norm(down.double() * scale, up)


def _norm(down: Tensor, up: Tensor) -> float:
    """Returns the Frobenius norm of B·A from products of its thin sides, without computing B·A itself."""
    down, up = down.double(), up.double()
    return float(torch.sum((up.T @ up) * (down @ down.T)).clamp(min=0).sqrt())


def _factors(state: State, module: str) -> tuple[Tensor, Tensor] | None:
    """Returns a module's (down, up), or None where either is missing."""
    keys = (f"{module}.lora_A.weight", f"{module}.lora_B.weight")
    return (state[keys[0]], state[keys[1]]) if all(key in state for key in keys) else None


def _modules(state: State) -> list[str]:
    """Returns the names of the modules in a state, in its order."""
    return list(dict.fromkeys(name.partition(".lora_")[0] for name in state))
