"""Reads prompt and settings from the graph that ComfyUI writes into its pictures.

The graph is JSON: by a node's id its `class_type` and its `inputs`, each a value or a link [id of a node, its output].
Source: Comfy-Org/ComfyUI nodes.py, comfy_extras/nodes_custom_sampler.py, nodes_flux.py and nodes_qwen.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, Final

from engines.infotext import NamedLora, Told

_FIGURES: Final[Mapping[str, tuple[str, ...]]] = {  # key of AUTOMATIC1111's text -> names of inputs with its value
    "Steps": ("steps",),
    "Seed": ("noise_seed", "seed"),
    "CFG scale": ("cfg",),
    "Distilled CFG Scale": ("guidance",),
    "Sampler": ("sampler_name",),
    "Model": ("unet_name", "ckpt_name"),
}
_WORDED: Final = ("positive", "conditioning")  # inputs of a sampler, or of its guider, with what the prompt says
_WORDS: Final = ("text", "prompt", "t5xxl", "clip_l", "text_g", "value", "string")  # inputs with words
_SIDES: Final = ("width", "height")
_NOTHING: Final = "ConditioningZeroOut"  # what comes in goes out without its meaning
_LORA_WEIGHTS: Final = ("strength_model", "strength", "lora_wt")

Inputs = Mapping[str, Any]


def told_by_graph(graph: Mapping[str, Any]) -> Told | None:
    """Returns what a graph says of its picture, under the keys of AUTOMATIC1111's text; None without a prompt.

    Of several samplers the one nearest to the end of the graph counts, and so does the nearest of several values.
    """
    nodes = {id: each for id, each in graph.items() if isinstance(each, dict) and isinstance(each.get("inputs"), dict)}
    linked = {link for node in nodes.values() for link in _links(node["inputs"])}
    found = list(_upstream(nodes, [each for each in nodes if each not in linked]))
    samplers = [node["inputs"] for node in found if "model" in node["inputs"] and _entry(node["inputs"])]
    if not samplers:
        return None
    prompt = _words(nodes, samplers[0][_entry(samplers[0])], "positive")
    if not prompt:
        return None
    pairs: dict[str, str] = {}
    for key, names in _FIGURES.items():
        values = (node["inputs"].get(name) for node in found for name in names)
        pairs |= next(({key: str(each)} for each in values if isinstance(each, str | int | float)), {})
    sizes = (node["inputs"] for node in found if "batch_size" in node["inputs"])  # of empty latents
    size = next((each for each in sizes if all(isinstance(each.get(side), int) for side in _SIDES)), None)
    if size:
        pairs["Size"] = f"{size['width']}x{size['height']}"
    stacked = [node["inputs"] for node in found if isinstance(node["inputs"].get("lora_name"), str)]
    weights = (next((each[name] for name in _LORA_WEIGHTS if name in each), None) for each in stacked)
    loras = tuple(
        NamedLora(each["lora_name"], as_weight(weight)) for each, weight in zip(stacked, weights, strict=True)
    )
    return Told(prompt, _words(nodes, samplers[0].get("negative"), "negative"), loras, pairs)


def _entry(inputs: Inputs) -> str:
    return next((name for name in _WORDED if _source(inputs.get(name))), "")


def _source(value: object) -> str:
    """Returns the id of the node that a link leads to; "" for a value that is no link."""
    return value[0] if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) else ""


def _links(inputs: Inputs) -> list[str]:
    return [source for value in inputs.values() if (source := _source(value))]


def _upstream(nodes: Mapping[str, Any], ends: list[str]) -> Iterator[Mapping[str, Any]]:
    """Yields each node that leads to the ends of a graph, the nearest first."""
    seen, waiting = set(ends), deque(ends)
    while waiting:
        node = nodes.get(waiting.popleft())
        if node is None:
            continue
        yield node
        new = [each for each in _links(node["inputs"]) if each not in seen]
        seen.update(new)
        waiting.extend(new)


def _words(nodes: Mapping[str, Any], link: object, side: str) -> str:
    """Returns the words that come to a node over a link; `side` is positive or negative, for nodes that pass on both.

    They are those of the nearest node that has some. Conditioning without meaning gives none.
    """
    seen: set[str] = set()
    waiting = deque([link])
    while waiting:
        source = _source(waiting.popleft())
        node = nodes.get(source)
        if node is None or source in seen or node.get("class_type") == _NOTHING:
            continue
        seen.add(source)
        inputs = node["inputs"]
        given = [inputs[name] for name in _WORDS if name in inputs]
        said = next((each.strip() for each in given if isinstance(each, str) and each.strip()), "")
        if said:
            return said
        if any(isinstance(each, str) for each in given):
            continue  # words were asked for, and are empty
        waiting.extend([inputs[side]] if side in inputs else [*given, *inputs.values()])
    return ""


def as_weight(value: object) -> float:
    """Returns a LoRA's weight as a finite number; 1 where it is missing or is none."""
    try:
        weight = float(str(value))
    except ValueError:
        return 1.0
    return weight if isfinite(weight) else 1.0
