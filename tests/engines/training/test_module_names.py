"""Tests other tools' names of our modules."""

from __future__ import annotations

import re

import pytest

from engines.catalogue.models import MODELS
from engines.catalogue.registry import load_class
from engines.families.flux.names import flux_slot
from engines.training.module_names import Slot, prefixed, slot


def test_flux_attention_is_fused() -> None:
    """In the layout of Black Forest Labs q, k and v of a stream are one layer, in that order."""
    found = [flux_slot(f"transformer_blocks.3.attn.{name}") for name in ("to_q", "to_k", "to_v")]

    assert found == [Slot("double_blocks.3.img_attn.qkv", index, (1, 1, 1)) for index in range(3)]


def test_flux_single_blocks_fuse_the_mlp_too() -> None:
    """A single block's first layer has q, k, v and the four times wider MLP."""
    found = flux_slot("single_transformer_blocks.37.proj_mlp")

    assert found == Slot("single_blocks.37.linear1", 3, (1, 1, 1, 4))


def test_flux_text_stream_has_its_own_names() -> None:
    """Diffusers' context layers are those of the text stream."""
    assert flux_slot("transformer_blocks.0.ff_context.net.0.proj") == Slot("double_blocks.0.txt_mlp.0")
    assert flux_slot("transformer_blocks.0.attn.to_add_out") == Slot("double_blocks.0.txt_attn.proj")


def test_a_module_without_a_place_is_told() -> None:
    """A module that the layout of Black Forest Labs lacks has no slot."""
    assert flux_slot("x_embedder") is None
    assert flux_slot("transformer_blocks.0.attn.to_z") is None


def test_qwen_keeps_its_names() -> None:
    """Other tools use diffusers' names for Qwen-Image's modules."""
    assert slot("qwen-edit", "transformer_blocks.1.img_mlp.net.2") == Slot("transformer_blocks.1.img_mlp.net.2")


def test_prefixes_of_the_forms() -> None:
    """Kohya flattens the path, ComfyUI keeps its dots."""
    assert prefixed("kohya", "double_blocks.0.img_attn.qkv") == "lora_unet_double_blocks_0_img_attn_qkv"
    assert prefixed("comfyui", "double_blocks.0.img_attn.qkv") == "diffusion_model.double_blocks.0.img_attn.qkv"


def test_a_family_that_no_row_knows_keeps_its_names() -> None:
    """A family's row names its translation; without one the names stay those of diffusers."""
    assert slot("unheard-of", "transformer_blocks.1.attn.to_q") == Slot("transformer_blocks.1.attn.to_q")


# Written out by hand from what each tool documents: Black Forest Labs' own module names, as ComfyUI holds FLUX
# (comfy/ldm/flux/layers.py) and FLUX.2 in it; kohya's rule lora_unet_ + path with underscores (networks/lora_flux.py,
# musubi-tuner's networks/lora_qwen_image.py and lora_flux_2.py); Qwen-Image as in diffusers (comfy/ldm/qwen_image).
_GOLDEN = {
    "flux": {
        "transformer_blocks.0.attn.to_q": "double_blocks.0.img_attn.qkv",
        "transformer_blocks.0.attn.to_k": "double_blocks.0.img_attn.qkv",
        "transformer_blocks.0.attn.to_v": "double_blocks.0.img_attn.qkv",
        "transformer_blocks.0.attn.to_out.0": "double_blocks.0.img_attn.proj",
        "transformer_blocks.0.attn.add_q_proj": "double_blocks.0.txt_attn.qkv",
        "transformer_blocks.0.attn.add_k_proj": "double_blocks.0.txt_attn.qkv",
        "transformer_blocks.0.attn.add_v_proj": "double_blocks.0.txt_attn.qkv",
        "transformer_blocks.0.attn.to_add_out": "double_blocks.0.txt_attn.proj",
        "transformer_blocks.0.ff.net.0.proj": "double_blocks.0.img_mlp.0",
        "transformer_blocks.0.ff.net.2": "double_blocks.0.img_mlp.2",
        "transformer_blocks.0.ff_context.net.0.proj": "double_blocks.0.txt_mlp.0",
        "transformer_blocks.0.ff_context.net.2": "double_blocks.0.txt_mlp.2",
        "transformer_blocks.0.norm1.linear": "double_blocks.0.img_mod.lin",
        "transformer_blocks.0.norm1_context.linear": "double_blocks.0.txt_mod.lin",
        "single_transformer_blocks.37.attn.to_q": "single_blocks.37.linear1",
        "single_transformer_blocks.37.attn.to_k": "single_blocks.37.linear1",
        "single_transformer_blocks.37.attn.to_v": "single_blocks.37.linear1",
        "single_transformer_blocks.37.proj_mlp": "single_blocks.37.linear1",
        "single_transformer_blocks.37.proj_out": "single_blocks.37.linear2",
        "single_transformer_blocks.37.norm.linear": "single_blocks.37.modulation.lin",
    },
    "flux2": {
        "transformer_blocks.4.attn.to_q": "double_blocks.4.img_attn.qkv",
        "transformer_blocks.4.attn.to_k": "double_blocks.4.img_attn.qkv",
        "transformer_blocks.4.attn.to_v": "double_blocks.4.img_attn.qkv",
        "transformer_blocks.4.attn.to_out.0": "double_blocks.4.img_attn.proj",
        "transformer_blocks.4.attn.add_q_proj": "double_blocks.4.txt_attn.qkv",
        "transformer_blocks.4.attn.add_k_proj": "double_blocks.4.txt_attn.qkv",
        "transformer_blocks.4.attn.add_v_proj": "double_blocks.4.txt_attn.qkv",
        "transformer_blocks.4.attn.to_add_out": "double_blocks.4.txt_attn.proj",
        "transformer_blocks.4.ff.linear_in": "double_blocks.4.img_mlp.0",
        "transformer_blocks.4.ff.linear_out": "double_blocks.4.img_mlp.2",
        "transformer_blocks.4.ff_context.linear_in": "double_blocks.4.txt_mlp.0",
        "transformer_blocks.4.ff_context.linear_out": "double_blocks.4.txt_mlp.2",
        "single_transformer_blocks.19.attn.to_qkv_mlp_proj": "single_blocks.19.linear1",
        "single_transformer_blocks.19.attn.to_out": "single_blocks.19.linear2",
    },
    "qwen-edit": {
        module: module
        for module in (
            "transformer_blocks.59.attn.to_q",
            "transformer_blocks.59.attn.to_k",
            "transformer_blocks.59.attn.to_v",
            "transformer_blocks.59.attn.to_out.0",
            "transformer_blocks.59.attn.add_q_proj",
            "transformer_blocks.59.attn.add_k_proj",
            "transformer_blocks.59.attn.add_v_proj",
            "transformer_blocks.59.attn.to_add_out",
            "transformer_blocks.59.img_mlp.net.0.proj",
            "transformer_blocks.59.img_mlp.net.2",
            "transformer_blocks.59.txt_mlp.net.0.proj",
            "transformer_blocks.59.txt_mlp.net.2",
            "transformer_blocks.59.img_mod.1",
            "transformer_blocks.59.txt_mod.1",
        )
    },
}


@pytest.mark.parametrize("family", ["flux", pytest.param("flux2", marks=pytest.mark.slow), "qwen-edit"])
def test_every_module_of_a_block_has_its_documented_name(family: str) -> None:
    """Each module of one block of each kind has the name that other tools document."""
    found = {ours: place.module for ours in _GOLDEN[family] if (place := slot(family, ours))}

    assert found == _GOLDEN[family]


@pytest.mark.slow
@pytest.mark.parametrize("family", _GOLDEN)
def test_the_golden_blocks_hold_all_that_is_trained(family: str) -> None:
    """Every module that a family's training targets is in the list above."""
    expected = {"flux": 17, "flux2": 14, "qwen-edit": 12}[family]
    spec = next(each for each in MODELS if each.family == family)
    targets = re.compile(load_class(spec.trainer).targets["all"].pattern)

    assert sum(bool(targets.fullmatch(module)) for module in _GOLDEN[family]) == expected


@pytest.mark.parametrize(
    ("form", "module", "name"),
    [
        ("comfyui", "double_blocks.0.txt_attn.proj", "diffusion_model.double_blocks.0.txt_attn.proj"),
        ("comfyui", "single_blocks.37.linear2", "diffusion_model.single_blocks.37.linear2"),
        ("comfyui", "transformer_blocks.59.attn.to_out.0", "diffusion_model.transformer_blocks.59.attn.to_out.0"),
        ("kohya", "double_blocks.0.txt_attn.proj", "lora_unet_double_blocks_0_txt_attn_proj"),
        ("kohya", "single_blocks.37.linear2", "lora_unet_single_blocks_37_linear2"),
        ("kohya", "double_blocks.0.img_mod.lin", "lora_unet_double_blocks_0_img_mod_lin"),
        ("kohya", "transformer_blocks.59.attn.to_out.0", "lora_unet_transformer_blocks_59_attn_to_out_0"),
        ("kohya", "transformer_blocks.59.img_mlp.net.0.proj", "lora_unet_transformer_blocks_59_img_mlp_net_0_proj"),
    ],
)
def test_a_modules_whole_name_in_a_form(form: str, module: str, name: str) -> None:
    """ComfyUI: diffusion_model. and the path; kohya and musubi-tuner: lora_unet_ and the path with underscores."""
    assert prefixed(form, module) == name
