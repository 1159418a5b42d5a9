"""What other tools call our modules."""

from __future__ import annotations

from engines.lora.naming import Slot, flux_slot, prefixed, slot


def test_flux_attention_is_fused() -> None:
    """Black Forest Labs keep q, k and v of a stream in one layer, in that order."""
    found = [flux_slot(f"transformer_blocks.3.attn.{name}") for name in ("to_q", "to_k", "to_v")]

    assert found == [Slot("double_blocks.3.img_attn.qkv", index, (1, 1, 1)) for index in range(3)]


def test_flux_single_blocks_fuse_the_mlp_too() -> None:
    """A single block's first layer holds q, k, v and the four times wider MLP."""
    found = flux_slot("single_transformer_blocks.37.proj_mlp")

    assert found == Slot("single_blocks.37.linear1", 3, (1, 1, 1, 4))


def test_flux_text_stream_has_its_own_names() -> None:
    """Diffusers' context layers are the text stream's."""
    assert flux_slot("transformer_blocks.0.ff_context.net.0.proj") == Slot("double_blocks.0.txt_mlp.0")
    assert flux_slot("transformer_blocks.0.attn.to_add_out") == Slot("double_blocks.0.txt_attn.proj")


def test_a_module_without_a_place_is_told() -> None:
    """Nothing is guessed: what Black Forest Labs' layout lacks has no slot."""
    assert flux_slot("x_embedder") is None
    assert flux_slot("transformer_blocks.0.attn.to_z") is None


def test_qwen_keeps_its_names() -> None:
    """Other tools call Qwen-Image's modules as diffusers does."""
    assert slot("qwen-edit", "transformer_blocks.1.img_mlp.net.2") == Slot("transformer_blocks.1.img_mlp.net.2")


def test_prefixes_of_the_forms() -> None:
    """Kohya flattens the path, ComfyUI keeps its dots."""
    assert prefixed("kohya", "double_blocks.0.img_attn.qkv") == "lora_unet_double_blocks_0_img_attn_qkv"
    assert prefixed("comfyui", "double_blocks.0.img_attn.qkv") == "diffusion_model.double_blocks.0.img_attn.qkv"


def test_a_family_that_no_row_knows_keeps_its_names() -> None:
    """What other tools call a family's modules is its row's to say; where none says, they are as diffusers has them."""
    assert slot("unheard-of", "transformer_blocks.1.attn.to_q") == Slot("transformer_blocks.1.attn.to_q")
