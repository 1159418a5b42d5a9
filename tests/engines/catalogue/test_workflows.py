"""Workflows for ComfyUI: each node gets all its inputs, of the right type, from nodes before it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engines.api.params import EditParams, GenerateParams
from engines.catalogue.models import MODELS
from engines.catalogue.workflows import OUTPUTS, WORKFLOWS, workflow

# Inputs that are linked, and the number of widgets, as ComfyUI's nodes declare them.
NODES = {
    "UNETLoader": ((), 2),
    "LoraLoaderModelOnly": (("model",), 2),
    "ModelSamplingAuraFlow": (("model",), 1),
    "CFGNorm": (("model",), 1),
    "CLIPLoader": ((), 3),
    "DualCLIPLoader": ((), 4),
    "VAELoader": ((), 1),
    "CLIPTextEncode": (("clip",), 1),
    "FluxGuidance": (("conditioning",), 1),
    "ConditioningZeroOut": (("conditioning",), 0),
    "TextEncodeQwenImageEditPlus": (("clip", "vae", "image1"), 1),
    "EmptySD3LatentImage": ((), 3),
    "EmptyFlux2LatentImage": ((), 3),
    "VAEEncode": (("pixels", "vae"), 0),
    "KSampler": (("model", "positive", "negative", "latent_image"), 7),
    "LoadImage": ((), 2),
    "FluxKontextImageScale": (("image",), 0),
    "VAEDecode": (("samples", "vae"), 0),
    "SaveImage": (("images",), 1),
}
TYPES = {
    "model": "MODEL", "clip": "CLIP", "vae": "VAE", "positive": "CONDITIONING", "negative": "CONDITIONING",
    "conditioning": "CONDITIONING", "latent_image": "LATENT", "samples": "LATENT", "image": "IMAGE", "image1": "IMAGE",
    "images": "IMAGE", "pixels": "IMAGE",
}  # fmt: skip
# Widgets in their order: the kind of a value, or the choices there are (of ComfyUI 0.8 and 0.22, those used here).
WIDGETS: dict[str, tuple[type | tuple[type, ...] | set[str], ...]] = {
    "UNETLoader": (str, {"default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"}),
    "LoraLoaderModelOnly": (str, (int, float)),
    "ModelSamplingAuraFlow": ((int, float),),
    "CFGNorm": ((int, float),),
    "CLIPLoader": (str, {"qwen_image", "flux2"}, {"default", "cpu"}),
    "DualCLIPLoader": (str, str, {"flux"}, {"default", "cpu"}),
    "VAELoader": (str,),
    "CLIPTextEncode": (str,),
    "FluxGuidance": ((int, float),),
    "TextEncodeQwenImageEditPlus": (str,),
    "EmptySD3LatentImage": (int, int, int),
    "EmptyFlux2LatentImage": (int, int, int),
    "KSampler": (
        int,
        {"fixed", "increment", "decrement", "randomize"},
        int,
        (int, float),
        {"euler"},
        {"simple"},
        float,
    ),
    "LoadImage": (str, {"image"}),
    "SaveImage": (str,),
}
GIVEN = {"name": "anna-v1", "said": 'ohwx, "quoted"', "strength": 0.8, "size": (768, 1024)}


def made(family: str) -> dict[str, Any]:
    """The workflow of a family, as a program reads it."""
    params = EditParams(seed=7, steps=28) if family == "qwen-edit" else GenerateParams(seed=7, steps=28)
    found: dict[str, Any] = json.loads(json.dumps(workflow(family, params, **GIVEN)))
    return found


@pytest.mark.parametrize("family", WORKFLOWS)
def test_every_link_joins_an_output_to_an_input_of_its_type(family: str) -> None:
    """Both ends of a link name it, its type is that of its input, and no input that a node needs is open."""
    found = made(family)
    nodes = {node["id"]: node for node in found["nodes"]}
    assert found["last_node_id"] == max(nodes)
    for number, source, slot, target, entry, kind in found["links"]:
        assert number in nodes[source]["outputs"][slot]["links"]
        assert nodes[source]["outputs"][slot]["type"] == kind == OUTPUTS[nodes[source]["type"]]
        assert nodes[target]["inputs"][entry]["link"] == number
        assert TYPES[nodes[target]["inputs"][entry]["name"]] == kind
        assert nodes[source]["order"] < nodes[target]["order"]
    for node in nodes.values():
        inputs, widgets = NODES[node["type"]]
        assert [each["name"] for each in node["inputs"]] == list(inputs)
        assert len(node["widgets_values"]) == widgets


@pytest.mark.parametrize("family", WORKFLOWS)
def test_every_widget_has_a_value_of_its_kind(family: str) -> None:
    """Numbers are numbers, and a choice is one that the node has."""
    for node in made(family)["nodes"]:
        for kind, value in zip(WIDGETS.get(node["type"], ()), node["widgets_values"], strict=True):
            assert value in kind if isinstance(kind, set) else isinstance(value, kind), (node["type"], value)


@pytest.mark.parametrize("family", WORKFLOWS)
def test_it_says_what_the_studio_drew_with(family: str) -> None:
    """LoRA, strength, words, seed and steps stand in their widgets, and no placeholder is left."""
    nodes = made(family)["nodes"]
    widgets = [value for node in nodes for value in node["widgets_values"]]
    assert not [value for value in widgets if isinstance(value, str) and value.startswith("{")]
    (lora,) = [node["widgets_values"] for node in nodes if node["type"] == "LoraLoaderModelOnly"]
    assert lora == ["anna-v1.safetensors", 0.8]
    assert GIVEN["said"] in widgets
    (sampler,) = [node["widgets_values"] for node in nodes if node["type"] == "KSampler"]
    assert sampler[:3] == [7, "fixed", 28]


def test_every_family_of_the_catalogue_has_one() -> None:
    """The families whose versions can be put into ComfyUI are those of the models."""
    assert set(WORKFLOWS) == {spec.family for spec in MODELS if spec.role in ("generator", "editor")}
