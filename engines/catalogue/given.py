"""Checks the file or folder that `pull --from` is given before anything is copied from it.

Reads headers and configurations, no weights.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from engines.api.errors import BadInput
from engines.api.params import Json
from engines.api.protocols import ModelSpec
from engines.catalogue import formats
from engines.catalogue.formats import demand_format
from engines.catalogue.shapes import LAYOUTS, Config
from engines.catalogue.weights import is_variant, parts_of

PREFIX = "model.diffusion_model."  # of ComfyUI's names, and of those in whole checkpoints
MARKERS = ("__index_timestep_zero__", "scaled_fp8")  # tiny tensors by which ComfyUI recognises a model; no weights
_BLOCKS = {  # class of a transformer -> its blocks' names, its makers' and diffusers'
    "FluxTransformer2DModel": ("double_blocks.", "single_transformer_blocks."),
    "QwenImageTransformer2DModel": (".img_mod.",),
}
_LORA = "a LoRA"
_OTHER_PARTS = (
    (re.compile(r"lora_|\.lora\.|lokr_|hada_"), _LORA),
    (re.compile(r"^(first_stage_model\.|vae\.)?(encoder|decoder)\.(conv|down|up|mid|mid_block)"), "a VAE"),
    (re.compile(r"^(encoder\.block\.\d+\.layer\.|shared\.weight)"), "a T5 text encoder"),
    (re.compile(r"^(text_model\.|transformer\.resblocks)"), "a CLIP text encoder"),
    (re.compile(r"^(model\.)?(language_model|layers|visual|embed_tokens)\."), "a language model"),
)
_FIRST_LAYER = ("img_in.weight", "x_embedder.weight")
_OTHER_WIDTHS = {384: "FLUX.1 Fill", 128: "FLUX.1 Canny or Depth, or FLUX.2"}


def demand_readable(spec: ModelSpec, source: Path) -> None:
    """Checks that a file or folder holds the weights of this model in a format that is supported; reads headers only.

    `source`: the transformer's safetensors file, or a model's folder in diffusers layout. Raises: BadInput.
    """
    if source.is_file():
        _demand_readable_file(spec, source)
    else:
        _demand_readable_folder(spec, source)


def mark(source: Path) -> str:
    """Returns a text that tells given weights from others: a hash of the files' names, sizes and times of change.

    `source`: a safetensors file, or a folder of which all safetensors files count. Reads none of them.
    """
    files = [source] if source.is_file() else sorted(source.rglob("*.safetensors"))
    told = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(told).encode()).hexdigest()


# ── one file ────────────────────────────────────────────────────────────────────────────────────


def _demand_readable_file(spec: ModelSpec, file: Path) -> None:
    demand_format(file)
    shapes = {key.removeprefix(PREFIX): shape for key, shape in formats.shapes(file).items()}
    known = LAYOUTS.get(spec.name, {}).get("transformer")
    blocks = _BLOCKS.get(known.class_name if known else "", ("blocks.",))
    what = next((words for pattern, words in _OTHER_PARTS if any(map(pattern.search, shapes))), "something else")
    if what == _LORA or not any(block in key for block in blocks for key in shapes):  # a LoRA names the blocks, too
        first = next(iter(shapes), "nothing")
        raise BadInput(
            f"{file.name} holds {what}, not the transformer of {spec.name}; the first tensor in it is {first}.",
            "--from takes the transformer's file, or a whole folder in diffusers layout.",
        )
    width = next((shapes[name][1] for name in _FIRST_LAYER if len(shapes.get(name, ())) == 2), None)
    if known:
        _demand_same_model(spec, file.name, known.config, width, any("guidance" in key for key in shapes))


def _demand_same_model(spec: ModelSpec, name: str, config: Config, width: int | None, guided: bool) -> None:
    """Checks that the width of the first layer and the guidance input, where known, are those of the model.

    Raises: BadInput that names the other model.
    """
    wanted = config.get("in_channels")
    if wanted and width and width != wanted:
        other = _OTHER_WIDTHS.get(width, "another model")
        raise BadInput(
            f"{name} is {other}: its first layer takes {width} channels, that of {spec.name} {wanted}.",
            f"Give the weights of {spec.name}, or of a model that was trained from it.",
        )
    if config.get("guidance_embeds") and not guided:
        raise BadInput(
            f"{name} is FLUX.1 [schnell], or another FLUX that takes no guidance; {spec.name} takes it.",
            f"Give the weights of {spec.name}, or of a model that was trained from it.",
        )


# ── a folder ────────────────────────────────────────────────────────────────────────────────────


def _demand_readable_folder(spec: ModelSpec, folder: Path) -> None:
    in_parts = spec.role != "scorer"
    if not (folder / ("model_index.json" if in_parts else "config.json")).is_file():
        raise BadInput(f"{folder} is not a model's folder in diffusers layout.", _remedy(spec, folder))
    parts = parts_of(_json(folder / "model_index.json")) if in_parts else [""]
    for part in (folder / name for name in parts):
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
            demand_format(file)
    own, wanted = _json(folder / "transformer" / "config.json"), LAYOUTS.get(spec.name, {}).get("transformer")
    if wanted and own:
        _demand_same_model(spec, str(folder), wanted.config, own.get("in_channels"), own.get("guidance_embeds", True))


def _weights(part: Path) -> Iterator[Path]:
    """Yields the safetensors files of a model's component: those of its index, else all but the variants (.fp16. …).

    Raises: BadInput for a file of the index that is missing, and for a component that has only variants.
    """
    for index in part.glob("*.safetensors.index.json"):
        if not is_variant(index.name):
            for name in sorted(set(_json(index).get("weight_map", {}).values())):
                if not (part / name).is_file():
                    raise BadInput(f"{part / name} is not there.", "Download the whole model folder again.")
                yield part / name
            return
    files = sorted(part.glob("*.safetensors"))
    plain = [file for file in files if not is_variant(file.name)]
    if files and not plain:
        raise BadInput(f"{part} has only {files[0].name}, a variant.", "Download the model without a variant.")
    yield from plain


def _remedy(spec: ModelSpec, folder: Path) -> str:
    """Describes to the user which folder or file to give instead of `folder`."""
    if (folder.parent / "model_index.json").is_file():
        return f"This is one part of a model: give {folder.parent}."
    cached = f"models--{spec.source.replace('/', '--')}/snapshots/*"
    for within in ("snapshots/*", cached, f"hub/{cached}", "*"):
        if found := sorted(folder.glob(f"{within}/model_index.json")):
            return f"Give the folder that holds model_index.json: {found[-1].parent}."
    if any((folder / name).is_dir() for name in ("diffusion_models", "unet", "checkpoints")):
        files = _some(folder.glob("*/**/*.safetensors"))
        return f"This is ComfyUI's folder: give the transformer's own file in it{files}."
    if any(folder.glob("*.safetensors")):
        return f"Give the folder that holds model_index.json, or one file{_some(folder.glob('*.safetensors'))}."
    if any(folder.glob("**/models--*")):
        return f"There is no {spec.source} in that cache: give the folder that holds model_index.json."
    return "Give the folder that holds model_index.json, or the transformer's one safetensors file."


def _some(files: Iterable[Path]) -> str:
    first = next(iter(sorted(files)), None)
    return f", such as {first}" if first else ""


def _json(file: Path) -> Json:
    """Reads a JSON object; returns an empty one where the file does not exist. Raises: BadInput where it is damaged."""
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise BadInput(f"{file} is damaged: {error}.", "Download that file again.") from error
