"""Adapter files: written for us and for other tools, and read back before anyone relies on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engines.api.errors import BadInput, LoraMismatch
from engines.api.params import TrainParams
from engines.catalogue.registry import lora_files
from engines.drawing.lora_files import read_adapter
from engines.drawing.lora_reading import PEFT_CONFIG
from engines.training.names import FORMS, Slot, prefixed, slot

State = Mapping[str, Tensor]
_PARTS = {  # of a module, by form; ComfyUI reads kohya's too, and InvokeAI knows its prefix with these alone
    "kohya": (".lora_down.weight", ".lora_up.weight", ".alpha"),
    "comfyui": (".lora_A.weight", ".lora_B.weight", ".alpha"),
}
_SCALES_BESIDE = ("kohya",)  # forms whose every reader multiplies by alpha / rank; in others alpha is the rank
_ALWAYS = {"trigger", "dataset"}  # read back even where they are empty
_TOLERANCE = 1e-4  # of a module's own size, or what folding alpha into narrower numbers costs


@dataclass(frozen=True, kw_only=True)
class Info:
    """What an adapter file tells about itself; the later ones where whoever wrote it knew them."""

    family: str
    base_model: str
    trigger: str
    rank: int
    alpha: float
    step: int
    dataset: str
    targets: str
    params: TrainParams | None = None
    pictures: int = 0  # repeats counted
    licence: str = ""  # the base model's
    made: str = ""  # ISO 8601

    def metadata(self, form: str = "diffusers") -> dict[str, str]:
        """Ours, peft's, kohya's and the model specification's entries; all text, as safetensors wants it.

        What is not known is left out. Source: the ss_* entries of kohya-ss/sd-scripts (train_network.py), and
        Stability-AI/ModelSpec 1.0.1.
        """
        told = self._own() | self._kohya() | self._model_spec()
        if form == "diffusers":
            told[PEFT_CONFIG] = json.dumps(self._peft_config(), sort_keys=True)
        return {name: value for name, value in told.items() if value or name in _ALWAYS}

    def _own(self) -> dict[str, str]:
        """What `of` reads."""
        return {
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
        }

    def _kohya(self) -> dict[str, str]:
        """What kohya's tools, and those that read their files, show of a training."""
        files, params = lora_files(self.family), self.params
        seen = {f"1_{self.trigger}": {self.trigger: self.pictures or 1}} if self.trigger else {}
        known = {
            "ss_network_module": files.network,
            "ss_network_dim": str(self.rank),
            "ss_network_alpha": str(self.alpha),
            "ss_base_model_version": files.base_version,
            "ss_sd_model_name": self.base_model,
            "ss_steps": str(self.step),
            "ss_num_train_images": str(self.pictures or ""),
            "ss_tag_frequency": json.dumps(seen) if seen else "",  # where most programs look for a trigger
        }
        return known | (_kohya_knobs(params) if params else {})

    def _model_spec(self) -> dict[str, str]:
        """What a program that lists models shows of this one."""
        files = lora_files(self.family)
        side = self.params.resolution if self.params else 0
        return {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": files.architectures.get(self.base_model, files.architecture),
            "modelspec.implementation": files.implementation,
            "modelspec.title": f"{self.trigger or self.base_model} LoRA, step {self.step}",
            "modelspec.description": self._description(),
            "modelspec.date": self.made,
            "modelspec.license": self.licence,
            "modelspec.resolution": f"{side}x{side}" if side else "",
            "modelspec.prediction_type": "flow",
            "modelspec.trigger_phrase": self.trigger,
        }

    def _description(self) -> str:
        seen = f" on {self.pictures} pictures" if self.pictures else ""
        said = f" Say {self.trigger} in the prompt." if self.trigger else ""
        return f"A LoRA of {self.base_model}, trained with FLENwheel{seen} for {self.step} steps.{said}"

    def _peft_config(self) -> dict[str, Any]:
        """What makes diffusers and peft scale by alpha / rank; without it they take alpha = rank."""
        return {
            "transformer.r": self.rank,
            "transformer.lora_alpha": self.alpha,
            "transformer.target_modules": self.targets,
        }

    @classmethod
    def of(cls, metadata: Mapping[str, str], path: Path) -> Info:
        """Read back what `metadata` wrote. Raises: LoraMismatch."""
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
            )
        except KeyError as error:
            raise LoraMismatch(
                f"{path.name} was not trained here: its metadata lacks {error}.",
                "Use it in the form that it has.",
            ) from error


def _kohya_knobs(params: TrainParams) -> dict[str, str]:
    return {
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


def write_adapter(path: Path, state: State, info: Info) -> None:
    """Write a LoRA under diffusers' names, and read it back through the door that every engine uses.

    `state`: peft's names relative to the transformer. Raises: LoraMismatch where a tensor does not come back
    as it was.
    """
    tensors = {f"transformer.{name}": value.detach().cpu().contiguous() for name, value in state.items()}
    _save(tensors, path, info, "diffusers")
    found, _ = read_adapter(path)
    lost = [name for name, value in state.items() if name not in found or not torch.equal(found[name], value.cpu())]
    if lost or len(found) != len(state):
        raise LoraMismatch(
            f"{path} does not read back as it was written: {len(lost)} of {len(state)} tensors differ.",
            "Check the disk, then continue the training.",
        )


def export(source: Path, path: Path, form: str) -> None:
    """Write one of our adapters for another tool; strength 1 there does what strength 1 does here.

    In the forms diffusers and comfyui many programs take no notice of an alpha: it is in the tensors, and said to be
    the rank.

    The file is read back before it takes its place; on an error none is left.
    Raises: BadInput for an unknown form; LoraMismatch for a file that is not ours, a module without a place, or
    one that came back another.
    """
    if form not in FORMS:
        raise BadInput(f"There is no LoRA form named {form}.", f"Choose one of: {', '.join(FORMS)}.")
    state, metadata = read_adapter(source)
    info = Info.of(metadata, source)
    if form == "diffusers":
        with _draft(path) as draft:
            write_adapter(draft, _folded(state, info), replace(info, alpha=float(info.rank)))
    else:
        write_converted(path, converted(state, info, form), state, info, form)


def _folded(state: State, info: Info) -> dict[str, Tensor]:
    """The same change to every layer at alpha = rank."""
    scale = info.alpha / info.rank
    return {
        name: (value.float() * scale).to(value.dtype) if scale != 1 and ".lora_B." in name else value
        for name, value in state.items()
    }


def write_converted(path: Path, tensors: State, state: State, info: Info, form: str) -> None:
    """Write what `converted` made of a state, once it reads back as the same change to every layer.

    Raises: LoraMismatch.
    """
    with _draft(path) as draft:
        told = info if form in _SCALES_BESIDE else replace(info, alpha=float(info.rank))
        _save(tensors, draft, told, form)
        read = _through_diffusers if _known_to_diffusers(state, info) else _through_our_names
        wrong = _differing(state, read(draft, state, info, form), info.alpha / info.rank)
        if wrong:
            raise LoraMismatch(
                f"{path.name} would not do in {form}'s names what was learned: {len(wrong)} modules differ when it "
                f"is read back, the first is {wrong[0]}.",
                "Export it in diffusers' form, and report this: it is an error of ours.",
            )


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A file of the same name elsewhere, which takes its place when all went well; else nothing is left."""
    with TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        yield draft
        draft.replace(path)


def _save(tensors: State, path: Path, info: Info, form: str) -> None:
    told = {**info.metadata(form), "modelspec.hash_sha256": content_hash(tensors)}
    save_file(dict(tensors), path, metadata=told)


def content_hash(tensors: State) -> str:
    """The model specification's: of all that follows a safetensors file's header, where wider types come first."""
    found = hashlib.sha256()
    for _, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return f"0x{found.hexdigest()}"


def converted(state: State, info: Info, form: str) -> dict[str, Tensor]:
    """Our tensors under kohya's or ComfyUI's names, with the alphas that those expect beside them.

    For ComfyUI's an alpha is the rank, and left out where diffusers' reader of these names fails on it.

    Where a tool has one module for several of ours, theirs gets our downs stacked and our ups on the block
    diagonal: the same product, at the sum of our ranks. Raises: LoraMismatch.
    """
    groups: dict[str, dict[int, str]] = {}
    slots: dict[str, Slot] = {}
    for module in _modules(state):
        place = slot(info.family, module)
        if place is None:
            raise LoraMismatch(f"{form} has no name for {module}.", "Export it in diffusers' form.")
        groups.setdefault(place.module, {})[place.index] = module
        slots[place.module] = place
    out: dict[str, Tensor] = {}
    beside = form in _SCALES_BESIDE
    scale, state = (info.alpha / info.rank, state) if beside else (1.0, _folded(state, info))
    parts = _PARTS[form] if beside or not lora_files(info.family).reads_dotted else _PARTS[form][:2]
    for theirs, ours in groups.items():
        down, up = _fused(state, ours, slots[theirs].widths)
        values = (down.contiguous(), up.contiguous(), torch.tensor(scale * down.shape[0]))
        out.update({f"{prefixed(form, theirs)}{part}": value for part, value in zip(parts, values, strict=False)})
    return out


def _fused(state: State, ours: Mapping[int, str], widths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """One (down, up) for all of a fused module; what is not trained there adds nothing."""
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
    """Whether diffusers' converter cuts this model's fused layers where they were joined; small models it does not."""
    known = lora_files(info.family).cut_at
    places = {module: slot(info.family, module) for module in _modules(state)}
    hidden = {
        state[f"{module}.lora_B.weight"].shape[0] // place.widths[place.index]
        for module, place in places.items()
        if place and len(place.widths) > 1
    }
    return not known or hidden <= {known}


def _through_diffusers(path: Path, state: State, info: Info, form: str) -> State:
    """As every engine reads another tool's file."""
    del state, form
    return read_adapter(path, info.family)[0]


def _through_our_names(path: Path, state: State, info: Info, form: str) -> State:
    """Key by key by our own tables; what they did not ask for stays under its own name."""
    tensors, asked, found = load_file(path), set(), {}
    for module in _modules(state):
        place = slot(info.family, module)
        keys = [f"{prefixed(form, place.module)}{part}" for part in _PARTS[form]] if place else []
        if not keys or any(key not in tensors for key in keys[:2]):
            continue
        asked.update(keys)
        down, up = (tensors[key] for key in keys[:2])
        alpha = tensors.get(keys[2], torch.tensor(float(down.shape[0])))
        hidden = up.shape[0] // sum(place.widths)
        first = hidden * sum(place.widths[: place.index])
        found[f"{module}.lora_A.weight"] = down * (alpha / down.shape[0])
        found[f"{module}.lora_B.weight"] = up[first : first + hidden * place.widths[place.index]]
    return found | {key: value for key, value in tensors.items() if key not in asked}


def _differing(state: State, found: State, scale: float) -> list[str]:
    """The modules that come back as another change to their layer, or not at all, or that nobody wrote."""
    modules = dict.fromkeys((*_modules(state), *_modules(found)))
    return [module for module in modules if not _same(_factors(state, module), _factors(found, module), scale)]


def _same(ours: tuple[Tensor, Tensor] | None, theirs: tuple[Tensor, Tensor] | None, scale: float) -> bool:
    """Whether B·A is the same but for rounding; a module of theirs that we lack must add nothing."""
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
    """The size of B·A (Frobenius), through products of its thin sides: the whole is never made."""
    down, up = down.double(), up.double()
    return float(torch.sum((up.T @ up) * (down @ down.T)).clamp(min=0).sqrt())


def _factors(state: State, module: str) -> tuple[Tensor, Tensor] | None:
    keys = (f"{module}.lora_A.weight", f"{module}.lora_B.weight")
    return (state[keys[0]], state[keys[1]]) if all(key in state for key in keys) else None


def _modules(state: State) -> list[str]:
    return list(dict.fromkeys(name.partition(".lora_")[0] for name in state))
