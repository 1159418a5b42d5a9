"""Reads from a picture file the prompt and the settings that a generating program wrote into it.

Each program has its own form. What is read is given as a `Told`, under the keys of AUTOMATIC1111's text.
Sources: AUTOMATIC1111/stable-diffusion-webui modules/images.py (EXIF), mcmonkeyprojects/SwarmUI docs/Image Metadata
Format.md, lllyasviel/Fooocus modules/meta_parser.py, invoke-ai/InvokeAI docs (metadata of images), NovelAI's pictures,
Comfy-Org/ComfyUI nodes.py and comfy_extras/nodes_images.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image
from PIL.ExifTags import IFD, Base

from engines.infotext import NamedLora, Told, read_parameters
from engines.metadata.comfy_graph import as_weight, told_by_graph
from engines.pictures import BROKEN

_A1111: Final = "parameters"  # the chunk of AUTOMATIC1111's text
_COMFYUI: Final = "prompt"  # the chunk of ComfyUI's graph
_TAGS: Final = (Base.Make, Base.Model, Base.ImageDescription)  # ComfyUI writes `name:text` into them
_CODES: Final = {b"ASCII\0\0\0": "ascii", b"JIS\0\0\0\0\0": "shift_jis", b"\0" * 8: "utf-8"}  # of EXIF's comments
_UNICODE: Final = b"UNICODE\0"
_SIDES: Final = re.compile(r"(\d+)\D+(\d+)")


@dataclass(frozen=True, kw_only=True)
class Form:
    """Describes the JSON that a program writes into the text chunk `chunk`; a value's place is its keys, with dots.

    `prompt`, `negative`: the places of the prompts; `pairs`: key of AUTOMATIC1111's text -> place. `sides`: the places
    of width and height, or one place of a text with both. `loras`: the place of the list of LoRAs; `lora` and `weight`:
    the places of name and weight in each, `weights` that of a list of all weights instead.
    """

    chunk: str
    prompt: str
    negative: str
    pairs: Mapping[str, str]
    sides: tuple[str, ...] = ("width", "height")
    loras: str = "loras"
    lora: str = ""
    weight: str = ""
    weights: str = ""


FORMS: Final[Mapping[str, Form]] = {
    "SwarmUI": Form(
        chunk=_A1111,
        prompt="sui_image_params.prompt",
        negative="sui_image_params.negativeprompt",
        pairs={
            "Steps": "sui_image_params.steps",
            "Seed": "sui_image_params.seed",
            "CFG scale": "sui_image_params.cfgscale",
            "Distilled CFG Scale": "sui_image_params.fluxguidancescale",
            "Model": "sui_image_params.model",
            "Sampler": "sui_image_params.sampler",
        },
        sides=("sui_image_params.width", "sui_image_params.height"),
        loras="sui_image_params.loras",
        weights="sui_image_params.loraweights",
    ),
    "Fooocus": Form(
        chunk=_A1111,
        prompt="prompt",
        negative="negative_prompt",
        pairs={"Steps": "steps", "Seed": "seed", "CFG scale": "guidance_scale", "Model": "base_model"},
        sides=("resolution",),
        lora="0",
        weight="1",
    ),
    "InvokeAI": Form(
        chunk="invokeai_metadata",
        prompt="positive_prompt",
        negative="negative_prompt",
        pairs={
            "Steps": "steps",
            "Seed": "seed",
            "CFG scale": "cfg_scale",
            "Distilled CFG Scale": "guidance",
            "Model": "model.name",
            "Sampler": "scheduler",
        },
        lora="model.name",
        weight="weight",
    ),
    "NovelAI": Form(
        chunk="Comment",
        prompt="prompt",
        negative="uc",
        pairs={"Steps": "steps", "Seed": "seed", "CFG scale": "scale", "Sampler": "sampler"},
    ),
}


def texts_of(picture: Image.Image) -> dict[str, str]:
    """Returns the texts in a picture file by the names of PNG's chunks, also those that are in EXIF.

    EXIF's comment is given as `parameters`, the text that programs write there. `picture` is one just opened.
    """
    found = dict(_exif_texts(picture))
    return found | {str(name): str(text) for name, text in getattr(picture, "text", {}).items()}


def told_in(texts: Mapping[str, str]) -> Told | None:
    """Returns what a generating program says in a picture's texts; None where it says no prompt.

    `texts` are those of `texts_of`. A text of AUTOMATIC1111's form is taken as it is, without looking for more.
    """
    for form in FORMS.values():
        told = _by_form(form, _parsed(texts.get(form.chunk, "")))
        if told is not None:
            return told
    plain = texts.get(_A1111, "")
    if plain.strip() and not _parsed(plain):
        return read_parameters(plain)
    return told_by_graph(_parsed(texts.get(_COMFYUI, "")))


def _exif_texts(picture: Image.Image) -> Iterator[tuple[str, str]]:
    try:
        exif = picture.getexif()
        comment = exif.get_ifd(IFD.Exif).get(Base.UserComment) or exif.get(Base.UserComment, b"")  # Fooocus: there
        told = [exif.get(tag, "") for tag in _TAGS]
    except BROKEN:
        return
    for text in told:
        name, colon, value = str(text).partition(":")
        if colon and name.isidentifier():
            yield name.lower(), value
    text = _comment(comment) if isinstance(comment, bytes) else str(comment)
    if text.strip():
        yield _A1111, text


def _comment(data: bytes) -> str:
    """Returns the text of EXIF's comment, whose first 8 bytes name its code; without such a name it is UTF-8."""
    body = data[8:]
    if data.startswith(_UNICODE):
        little = body[1::2].count(0) > body[::2].count(0)  # of Latin letters one byte of two is zero
        return body.decode("utf-16-le" if little else "utf-16-be", errors="replace").strip("\0")
    code = _CODES.get(data[:8])
    return (body if code else data).decode(code or "utf-8", errors="replace").strip("\0")


def _parsed(text: str) -> Mapping[str, Any]:
    """Returns a text's JSON object; an empty one where the text is something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _by_form(form: Form, told: Mapping[str, Any]) -> Told | None:
    prompt = _at(told, form.prompt)
    if not isinstance(prompt, str) or not any(_at(told, place) is not None for place in form.pairs.values()):
        return None
    values = {key: _at(told, place) for key, place in form.pairs.items()}
    sides = _SIDES.search(" ".join(str(_at(told, place)) for place in form.sides))
    size = {"Size": f"{sides[1]}x{sides[2]}"} if sides else {}
    pairs = {key: str(value) for key, value in values.items() if value is not None}
    negative = _at(told, form.negative)
    return Told(
        prompt.strip(), negative.strip() if isinstance(negative, str) else "", tuple(_loras(form, told)), pairs | size
    )


def _loras(form: Form, told: Mapping[str, Any]) -> Iterator[NamedLora]:
    lists = (_at(told, place) for place in (form.loras, form.weights))
    listed, weights = ([*found.split(",")] if isinstance(found, str) and found else found for found in lists)
    if not isinstance(listed, list):
        return
    for number, each in enumerate(listed):
        name = _at(each, form.lora) if form.lora else each
        weight = _at(each, form.weight) if form.weight else _at(weights, str(number))
        if isinstance(name, str) and name:
            yield NamedLora(name, as_weight(weight))


def _at(told: Any, place: str) -> Any:
    """Returns the value at a place, keys or numbers of entries with dots between them; None where there is none."""
    for key in place.split("."):
        if isinstance(told, dict):
            told = told.get(key)
        elif isinstance(told, list) and key.isdigit() and int(key) < len(told):
            told = told[int(key)]
        else:
            return None
    return told
