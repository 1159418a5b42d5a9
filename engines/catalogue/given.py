"""What `pull --from` is given, looked at before anything is fetched: headers and configurations alone, no weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engines.api.errors import BadInput
from engines.api.protocols import ModelSpec
from engines.catalogue.shapes import LAYOUTS

PREFIX = "model.diffusion_model."  # ComfyUI's, and that of whole checkpoints
MARKERS = ("__index_timestep_zero__", "scaled_fp8")  # ComfyUI knows a model by them: tiny tensors that are no weights
READ = "Give a safetensors file in bfloat16, float16, float32 or plain 8-bit float, in its makers' or ComfyUI's names."
_LARGEST_HEADER = 100_000_000  # safetensors' own limit
_POINTER = b"version https://git-lfs"
_QUANTISED = (  # endings of tensors' names -> whose
    (re.compile(r"\.(scale_weight|scale_input|weight_scale|weight_scale_2|input_scale|comfy_quant)$"), "scaled fp8"),
    (re.compile(r"\.(absmax|quant_map|nested_absmax|quant_state\.\S+)$"), "bitsandbytes"),
    (re.compile(r"\.(qweight|wscales|wcscales|smooth|smooth_factor|wzeros)$"), "Nunchaku"),
)
_WHOLE_NUMBERS = ("U8", "I8", "I32", "F4")
_BLOCKS = {  # the transformer's class -> what its blocks' tensors are called, by its makers and by diffusers
    "FluxTransformer2DModel": ("double_blocks.", "single_transformer_blocks."),
    "QwenImageTransformer2DModel": (".img_mod.",),
}
_OTHER_PARTS = (
    (re.compile(r"lora_|\.lora\.|lokr_|hada_"), "a LoRA"),
    (re.compile(r"^(first_stage_model\.|vae\.)?(encoder|decoder)\.(conv|down|up|mid|mid_block)"), "a VAE"),
    (re.compile(r"^(encoder\.block\.\d+\.layer\.|shared\.weight)"), "a T5 text encoder"),
    (re.compile(r"^(text_model\.|transformer\.resblocks)"), "a CLIP text encoder"),
    (re.compile(r"^(model\.)?(language_model|layers|visual|embed_tokens)\."), "a language model"),
)
_FIRST_LAYER = ("img_in.weight", "x_embedder.weight")
_OTHER_WIDTHS = {384: "FLUX.1 Fill", 128: "FLUX.1 Canny or Depth, or FLUX.2"}
_VARIANTS = (".fp16.", ".bf16.", ".non_ema.")

Header = Mapping[str, Any]


def demand_readable(spec: ModelSpec, source: Path) -> None:
    """Refuse what cannot become this model, as far as headers and configurations tell. Raises: BadInput."""
    if source.is_file():
        _demand_readable_file(spec, source)
    else:
        _demand_readable_folder(spec, source)


# ── one file ────────────────────────────────────────────────────────────────────────────────────


def _demand_readable_file(spec: ModelSpec, file: Path) -> None:
    if file.suffix != ".safetensors":
        kind = "a GGUF file, which is not read here" if file.suffix.lower() == ".gguf" else "not a safetensors file"
        raise BadInput(f"{file.name} is {kind}.", READ)
    found = header(file)
    if trouble := quantised(found):
        raise BadInput(f"{file.name} is quantised in a way that is not read here ({trouble}).", READ)
    shapes = {key.removeprefix(PREFIX): entry["shape"] for key, entry in found.items() if key != "__metadata__"}
    _, kind, config = LAYOUTS.get(spec.name, {}).get("transformer", ("", "", {}))
    blocks = _BLOCKS.get(kind, ("blocks.",))
    if not any(block in key for block in blocks for key in shapes):
        first = next(iter(shapes), "nothing")
        what = next((words for pattern, words in _OTHER_PARTS if any(map(pattern.search, shapes))), "something else")
        raise BadInput(
            f"{file.name} holds {what}, not the transformer of {spec.name}; the first tensor in it is {first}.",
            "--from takes the transformer's file, or a whole folder in diffusers layout.",
        )
    width = next((shapes[name][1] for name in _FIRST_LAYER if len(shapes.get(name, ())) == 2), None)
    _demand_same_model(spec, file.name, config, width, any("guidance" in key for key in shapes))


def header(file: Path) -> Header:
    """A safetensors file's header, once its length fits it. Raises: BadInput."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(len(_POINTER))
        if start == _POINTER:
            raise BadInput(f"{file} is only a pointer to the weights.", "Run `git lfs pull` there, then pull again.")
        length = int.from_bytes(start[:8], "little")
        stream.seek(8)
        text = stream.read(length) if 2 <= length <= min(size - 8, _LARGEST_HEADER) else b""
    try:
        found = json.loads(text)
        end = max((entry["data_offsets"][1] for key, entry in found.items() if key != "__metadata__"), default=0)
        whole = 8 + length + end == size and all("shape" in found[key] for key in found if key != "__metadata__")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        whole = False
    if not whole:
        raise BadInput(f"{file} is damaged, or no safetensors file.", "Delete that file and download it again.")
    return dict(found)


def quantised(found: Header) -> str:
    """Which tensor shows that weights are no plain numbers, and whose way it is; empty where all are plain."""
    named = ((pattern.search(key), key, whose) for key in found for pattern, whose in _QUANTISED)
    told = next((f"{whose}: {key}" for match, key, whose in named if match), "")
    packed = (
        f"whole numbers: {key}"
        for key, entry in found.items()
        if key.endswith(".weight") and entry["dtype"] in _WHOLE_NUMBERS
    )
    mixed = "_quantization_metadata" if "_quantization_metadata" in found.get("__metadata__", {}) else ""
    return told or next(packed, "") or mixed


def _demand_same_model(spec: ModelSpec, name: str, config: Mapping[str, Any], width: int | None, guided: bool) -> None:
    """Whether the first layer and the guidance are those of this model; nothing is known of some models."""
    wanted = config.get("in_channels")
    if wanted and width and width != wanted:
        other = _OTHER_WIDTHS.get(width, "another model")
        raise BadInput(
            f"{name} is {other}: its first layer takes {width} channels, that of {spec.name} {wanted}.",
            f"Give the weights of {spec.name}, or of a model that was trained from it.",
        )
    if config.get("guidance_embeds") and not guided:
        raise BadInput(
            f"{name} is FLUX.1 [schnell], or another FLUX that is not told how strong its guidance is; {spec.name} is.",
            f"Give the weights of {spec.name}, or of a model that was trained from it.",
        )


# ── a folder ────────────────────────────────────────────────────────────────────────────────────


def _demand_readable_folder(spec: ModelSpec, folder: Path) -> None:
    in_parts = spec.role != "scorer"
    if not (folder / ("model_index.json" if in_parts else "config.json")).is_file():
        raise BadInput(f"{folder} is not a model's folder in diffusers layout.", _which(spec, folder))
    parts = _parts(folder) if in_parts else [folder]
    for part in parts:
        if not part.is_dir():
            raise BadInput(f"{folder} lacks the part {part.name}.", "Download the whole model folder again.")
        config = _json(part / "config.json")
        if config.get("quantization_config"):
            whose = dict(config["quantization_config"]).get("quant_method", "another tool")
            raise BadInput(
                f"{part} is quantised already, by {whose}.",
                "Give the folder of the model at full width; it is quantised here.",
            )
        for file in _weights(part):
            if trouble := quantised(header(file)):
                raise BadInput(f"{file} is quantised in a way that is not read here ({trouble}).", READ)
    own, wanted = _json(folder / "transformer" / "config.json"), LAYOUTS.get(spec.name, {}).get("transformer")
    if wanted and own:
        _demand_same_model(spec, str(folder), wanted[2], own.get("in_channels"), own.get("guidance_embeds", True))


def _parts(folder: Path) -> list[Path]:
    """The folders that hold weights by a folder's model_index.json."""
    index = _json(folder / "model_index.json")
    named = [name for name, entry in index.items() if isinstance(entry, list) and len(entry) == 2 and None not in entry]
    return [folder / name for name in named]


def _weights(part: Path) -> Iterator[Path]:
    """The files that the index names, else those without a variant in their name. Raises: BadInput."""
    for index in part.glob("*.safetensors.index.json"):
        if not any(variant in index.name for variant in _VARIANTS):
            for name in sorted(set(_json(index).get("weight_map", {}).values())):
                if not (part / name).is_file():
                    raise BadInput(f"{part / name} is not there.", "Download the whole model folder again.")
                yield part / name
            return
    files = sorted(part.glob("*.safetensors"))
    plain = [file for file in files if not any(variant in file.name for variant in _VARIANTS)]
    if files and not plain:
        raise BadInput(f"{part} has {files[0].name} alone, a variant.", "Download the model without a variant.")
    yield from plain


def _which(spec: ModelSpec, folder: Path) -> str:
    """Which folder to give instead."""
    if (folder.parent / "model_index.json").is_file():
        return f"That is one part of a model: give {folder.parent}."
    cached = f"models--{spec.source.replace('/', '--')}/snapshots/*"
    for within in ("snapshots/*", cached, f"hub/{cached}", "*"):
        if found := sorted(folder.glob(f"{within}/model_index.json")):
            return f"Give the folder that holds model_index.json: {found[-1].parent}."
    if any((folder / name).is_dir() for name in ("diffusion_models", "unet", "checkpoints")):
        files = _some(folder.glob("*/**/*.safetensors"))
        return f"That is ComfyUI's folder: give the transformer's own file in it{files}."
    if any(folder.glob("*.safetensors")):
        return f"Give the folder that holds model_index.json, or one file{_some(folder.glob('*.safetensors'))}."
    if any(folder.glob("**/models--*")):
        return f"There is no {spec.source} in that cache: give the folder that holds model_index.json."
    return "Give the folder that holds model_index.json, or the transformer's one safetensors file."


def _some(files: Iterable[Path]) -> str:
    first = next(iter(sorted(files)), None)
    return f", such as {first}" if first else ""


def _json(file: Path) -> dict[str, Any]:
    """An object; empty where there is none. Raises: BadInput where it cannot be read."""
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise BadInput(f"{file} is damaged: {error}.", "Download that file again.") from error
