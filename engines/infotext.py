"""Writes and reads the text that programs exchange in a generated picture: the prompt, then a line of `Key: value`.

Source of the layout: AUTOMATIC1111/stable-diffusion-webui, modules/infotext_utils.py and processing.py; Civitai and
Forge read the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from engines.api.params import EditParams, GenerateParams, Params
from engines.catalogue.registry import guides_truly

_IN_OTHER_KEYS: Final = (  # parameters that have keys of other names
    "prompt", "instruction", "negative", "steps", "guidance", "true_cfg", "seed", "width", "height", "loras",
    "strength",
)  # fmt: skip
_PAIR: Final = re.compile(r'\s*([\w ./-]+):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_QUOTED: Final = re.compile(r'".*"', re.DOTALL)
_MUST_BE_QUOTED: Final = re.compile(r'[,:\n]|^["\s]|\s$')
_NOT_IN_NAMES: Final = re.compile(r'[:<>,"\n]')  # of LoRAs: they end a name in its tag or in the list of hashes
_TAG: Final = re.compile(r"\s*<lora:([^:>]+)(?::(-?\d*\.?\d+))?[^>]*>")
_NEGATIVE: Final = "Negative prompt:"
MADE_BY: Final = "FLENwheel"  # value of the key Version in our own texts


@dataclass(frozen=True)
class NamedLora:
    """Holds what a PNG's metadata says about one LoRA: its public name, but no path of its file.

    `name`: as in the tag <lora:name:weight>; `weight`: the strength at which it is applied; `hash`: Civitai's AutoV3
    hash of the file, "" if unknown.
    """

    name: str
    weight: float
    hash: str = ""


@dataclass(frozen=True)
class Told:
    """Holds what a PNG's `parameters` chunk says about the picture.

    `prompt` has no LoRA tags any more; `loras` are the LoRAs of those tags; `pairs` are the `Key: value` pairs of the
    last line, as texts.
    """

    prompt: str
    negative: str
    loras: tuple[NamedLora, ...]
    pairs: Mapping[str, str]

    def words(self) -> Mapping[str, str]:
        """Returns the prompt and the negative prompt by their field names in GenerateParams: `prompt`, `negative`."""
        return {"prompt": self.prompt, "negative": self.negative}


def read_parameters(text: str) -> Told:
    """Parses the text of a PNG's `parameters` chunk, as AUTOMATIC1111, Forge and this program write it, into a Told.

    The last line is read as `Key: value` pairs only if it has at least three; otherwise it belongs to the prompts. LoRA
    tags are removed from the prompt and returned as `loras`, with the hashes of the pair `Lora hashes`.
    """
    lines = text.strip().split("\n")
    found = {key.strip(): _value(value) for key, value in _PAIR.findall(lines[-1])}
    pairs = found if len(found) >= 3 else {}
    if pairs:
        lines.pop()
    split = next((at for at, line in enumerate(lines) if line.strip().startswith(_NEGATIVE)), len(lines))
    words, negative = "\n".join(lines[:split]), "\n".join(lines[split:]).strip().removeprefix(_NEGATIVE)
    named = (each.partition(":") for each in pairs.get("Lora hashes", "").split(","))
    hashes = {name.strip(): hash.strip() for name, _, hash in named}
    loras = tuple(NamedLora(name, float(weight or 1), hashes.get(name, "")) for name, weight in _TAG.findall(words))
    return Told(_TAG.sub("", words).strip(), negative.strip(), loras, pairs)


def _value(text: str) -> str:
    """Returns the value of a pair as text; a quoted value is JSON, as all writers of the chunk make it."""
    text = text.strip()
    if not _QUOTED.fullmatch(text):
        return text
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return text[1:-1]


def parameters_text(provenance: Mapping[str, Any], params: Params, size: tuple[int, int]) -> str:
    """Returns the text for a PNG's `parameters` chunk: prompt, negative prompt, and a line of `Key: value` pairs.

    `provenance`: the picture's record, of which `model` (a name) and `loras` are used. `params`: the parameters of a
    generation or an edit; for other parameters, such as those of a training, the text is only `params.to_text()`.
    `size`: the picture's (width, height) in pixels.
    """
    if not isinstance(params, GenerateParams | EditParams):
        return params.to_text()
    stored = (NamedLora(**each) for each in provenance.get("loras", ()))
    loras = [replace(lora, name=_NOT_IN_NAMES.sub("_", lora.name)) for lora in stored]
    tags = "".join(f" <lora:{lora.name}:{Decimal(repr(lora.weight)).normalize():f}>" for lora in loras)
    negative = params.negative.strip()
    lines = [f"{params.headline()}{tags}", *([f"Negative prompt: {negative}"] if negative else [])]
    pairs = []
    for key, value in _pairs(provenance.get("model", ""), params, size, loras):
        text = str(value)
        quoted = json.dumps(text, ensure_ascii=False) if _MUST_BE_QUOTED.search(text) else text
        pairs.append(f"{key}: {quoted}")
    return "\n".join((*lines, ", ".join(pairs)))


def _pairs(
    model: str, params: GenerateParams | EditParams, size: tuple[int, int], loras: Sequence[NamedLora]
) -> Iterator[tuple[str, object]]:
    yield "Steps", params.steps
    yield "Sampler", "Euler"
    if isinstance(params, EditParams):
        yield "CFG scale", params.true_cfg
    elif guides_truly(model):
        yield "CFG scale", params.guidance
    else:
        yield "CFG scale", 1
        yield "Distilled CFG Scale", params.guidance
    yield "Seed", params.seed
    yield "Size", f"{size[0]}x{size[1]}"
    if model:
        yield "Model", model
    for knob, value in params.to_json().items():
        if knob not in _IN_OTHER_KEYS and value:
            yield knob.replace("_", " ").capitalize(), value
    hashes = [f"{lora.name}: {lora.hash}" for lora in loras if lora.hash]
    if hashes:
        yield "Lora hashes", ", ".join(hashes)
    yield "Version", MADE_BY
