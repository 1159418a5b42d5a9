"""Builds workflows for ComfyUI that draw one picture with a LoRA, in the format in which ComfyUI saves workflows.

Source of the nodes, their inputs and widgets: Comfy-Org/ComfyUI, nodes.py and comfy_extras (nodes_flux.py,
nodes_qwen.py, nodes_model_advanced.py). The names of the weights' files are those that Comfy-Org publishes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engines.api.params import EditParams, GenerateParams, Json

_COLUMN, _ROW = 330, 230  # distances of nodes on ComfyUI's canvas, in pixels


@dataclass(frozen=True, kw_only=True)
class Node:
    """Describes one node of a workflow: its class in ComfyUI, where its inputs come from, and its widgets' values.

    `inputs`: name of an input -> name of the node whose output it takes. A widget's value in braces is filled in
    by `workflow`.
    """

    kind: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    widgets: tuple[object, ...] = ()


OUTPUTS: Mapping[str, str] = {
    "UNETLoader": "MODEL",
    "LoraLoaderModelOnly": "MODEL",
    "ModelSamplingAuraFlow": "MODEL",
    "CFGNorm": "MODEL",
    "CLIPLoader": "CLIP",
    "DualCLIPLoader": "CLIP",
    "VAELoader": "VAE",
    "CLIPTextEncode": "CONDITIONING",
    "FluxGuidance": "CONDITIONING",
    "ConditioningZeroOut": "CONDITIONING",
    "TextEncodeQwenImageEditPlus": "CONDITIONING",
    "EmptySD3LatentImage": "LATENT",
    "EmptyFlux2LatentImage": "LATENT",
    "VAEEncode": "LATENT",
    "KSampler": "LATENT",
    "LoadImage": "IMAGE",
    "FluxKontextImageScale": "IMAGE",
    "VAEDecode": "IMAGE",
}
"""The type of each node's first output; a node without one, such as SaveImage, is not listed."""

_LORA = Node(kind="LoraLoaderModelOnly", inputs={"model": "model"}, widgets=("{lora}", "{strength}"))
_SEED = ("{seed}", "fixed", "{steps}")
_DRAWN = {"positive": "positive", "negative": "negative", "latent_image": "latents"}
_END: Mapping[str, Node] = {
    "decoded": Node(kind="VAEDecode", inputs={"samples": "sampler", "vae": "vae"}),
    "saved": Node(kind="SaveImage", inputs={"images": "decoded"}, widgets=("{name}",)),
}
_SIZE = ("{width}", "{height}", 1)

WORKFLOWS: Mapping[str, Mapping[str, Node]] = {
    "flux": {
        "model": Node(kind="UNETLoader", widgets=("flux1-dev.safetensors", "default")),
        "lora": _LORA,
        "clip": Node(
            kind="DualCLIPLoader", widgets=("clip_l.safetensors", "t5xxl_fp16.safetensors", "flux", "default")
        ),
        "vae": Node(kind="VAELoader", widgets=("ae.safetensors",)),
        "words": Node(kind="CLIPTextEncode", inputs={"clip": "clip"}, widgets=("{prompt}",)),
        "positive": Node(kind="FluxGuidance", inputs={"conditioning": "words"}, widgets=("{guidance}",)),
        "negative": Node(kind="ConditioningZeroOut", inputs={"conditioning": "words"}),
        "latents": Node(kind="EmptySD3LatentImage", widgets=_SIZE),
        "sampler": Node(
            kind="KSampler", inputs={"model": "lora", **_DRAWN}, widgets=(*_SEED, 1.0, "euler", "simple", 1.0)
        ),
        **_END,
    },
    "flux2": {
        "model": Node(kind="UNETLoader", widgets=("flux-2-klein-base-4b.safetensors", "default")),
        "lora": _LORA,
        "clip": Node(kind="CLIPLoader", widgets=("qwen_3_4b.safetensors", "flux2", "default")),
        "vae": Node(kind="VAELoader", widgets=("flux2-vae.safetensors",)),
        "positive": Node(kind="CLIPTextEncode", inputs={"clip": "clip"}, widgets=("{prompt}",)),
        "negative": Node(kind="CLIPTextEncode", inputs={"clip": "clip"}, widgets=("",)),
        "latents": Node(kind="EmptyFlux2LatentImage", widgets=_SIZE),
        "sampler": Node(
            kind="KSampler", inputs={"model": "lora", **_DRAWN}, widgets=(*_SEED, "{guidance}", "euler", "simple", 1.0)
        ),
        **_END,
    },
    "qwen-edit": {
        "model": Node(kind="UNETLoader", widgets=("qwen_image_edit_2511_bf16.safetensors", "default")),
        "lora": _LORA,
        "shifted": Node(kind="ModelSamplingAuraFlow", inputs={"model": "lora"}, widgets=(3.1,)),
        "normed": Node(kind="CFGNorm", inputs={"model": "shifted"}, widgets=(1.0,)),
        "clip": Node(kind="CLIPLoader", widgets=("qwen_2.5_vl_7b_fp8_scaled.safetensors", "qwen_image", "default")),
        "vae": Node(kind="VAELoader", widgets=("qwen_image_vae.safetensors",)),
        "picture": Node(kind="LoadImage", widgets=("{picture}", "image")),
        "scaled": Node(kind="FluxKontextImageScale", inputs={"image": "picture"}),
        "positive": Node(
            kind="TextEncodeQwenImageEditPlus",
            inputs={"clip": "clip", "vae": "vae", "image1": "scaled"},
            widgets=("{prompt}",),
        ),
        "negative": Node(
            kind="TextEncodeQwenImageEditPlus", inputs={"clip": "clip", "vae": "vae", "image1": "scaled"}, widgets=("",)
        ),
        "latents": Node(kind="VAEEncode", inputs={"pixels": "scaled", "vae": "vae"}),
        "sampler": Node(
            kind="KSampler",
            inputs={"model": "normed", **_DRAWN},
            widgets=(*_SEED, "{guidance}", "euler", "simple", 1.0),
        ),
        **_END,
    },
}
"""For each model family the nodes of its workflow by name, each after the nodes that its inputs come from."""


def workflow(
    family: str, params: GenerateParams | EditParams, *, name: str, said: str, strength: float, size: tuple[int, int]
) -> Json:
    """Returns a workflow for ComfyUI that draws one picture with a LoRA, as a JSON object.

    `family` is a key of WORKFLOWS; `params` are the settings of the picture. `name` is the name of the LoRA's file
    without its ending, and with that the picture's file begins. `said` is the prompt, `strength` that of the LoRA,
    `size` the picture's (width, height). An editor's workflow changes the file picture.png in ComfyUI's input folder.
    """
    values: Mapping[object, object] = {
        "{lora}": f"{name}.safetensors", "{name}": name, "{picture}": "picture.png", "{strength}": strength,
        "{prompt}": said, "{width}": size[0], "{height}": size[1], "{seed}": params.seed, "{steps}": params.steps,
        "{guidance}": params.guidance if isinstance(params, GenerateParams) else params.true_cfg,
    }  # fmt: skip
    rows = WORKFLOWS[family]
    numbers = {each: at for at, each in enumerate(rows, 1)}
    links: list[list[Any]] = []
    nodes: list[Json] = []
    leaving: dict[str, list[int]] = {each: [] for each in rows}
    for at, (label, node) in enumerate(rows.items()):
        inputs = []
        for slot, (entry, source) in enumerate(node.inputs.items()):
            number, kind = len(links) + 1, OUTPUTS[rows[source].kind]
            links.append([number, numbers[source], 0, numbers[label], slot, kind])
            leaving[source].append(number)
            inputs.append({"name": entry, "type": kind, "link": number})
        given = OUTPUTS.get(node.kind)
        outputs = [{"name": given, "type": given, "links": leaving[label], "slot_index": 0}] if given else []
        nodes.append(
            {
                "id": numbers[label],
                "type": node.kind,
                "pos": [_COLUMN * (at // 3), _ROW * (at % 3)],
                "size": [300, 120],
                "flags": {},
                "order": at,
                "mode": 0,
                "inputs": inputs,
                "outputs": outputs,
                "properties": {"Node name for S&R": node.kind},
                "widgets_values": [values.get(each, each) for each in node.widgets],
            }
        )
    last = {"last_node_id": len(nodes), "last_link_id": len(links)}
    return {**last, "nodes": nodes, "links": links, "groups": [], "config": {}, "extra": {}, "version": 0.4}
