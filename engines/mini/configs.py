"""Builds the embedded toy models, untrained: the classes of FLUX.1 and Qwen-Image-Edit-2511 at a small size."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    ConvNextConfig,
    ConvNextModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

Model: TypeAlias = Any  # a model or scheduler of diffusers, whose classes are placeholders without types to mypy

HEADS, HEAD_DIM = 6, 32
WIDTH = HEADS * HEAD_DIM
CLIP_WIDTH = 128
IDENTITY_WIDTH = 192
ROPE_AXES = (8, 12, 12)
IMAGE_MEAN = IMAGE_STD = (0.5, 0.5, 0.5)


def _vocab_size(tokenizer: PreTrainedTokenizerFast) -> int:
    """Returns the number of a tokenizer's tokens, rounded up to a multiple of 64."""
    return (len(tokenizer) + 63) // 64 * 64


def is_causal(vae: Model) -> bool:
    """Returns whether an autoencoder is Qwen-Image's causal 3-D one, not FLUX's."""
    return isinstance(vae, AutoencoderKLQwenImage)


def flux_transformer() -> Model:
    """Builds a small FLUX.1-dev transformer with random weights, and with a guidance embedder."""
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=3,
        num_single_layers=6,
        attention_head_dim=HEAD_DIM,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=ROPE_AXES,
    )


def qwen_transformer() -> Model:
    """Builds a small Qwen-Image-Edit-2511 transformer with random weights.

    As in the real model, references are modulated as clean pictures, at timestep 0 (`zero_cond_t`).
    """
    return QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=64,
        out_channels=16,
        num_layers=5,
        attention_head_dim=HEAD_DIM,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        axes_dims_rope=ROPE_AXES,
        zero_cond_t=True,
    )


def clip_text(tokenizer: PreTrainedTokenizerFast) -> CLIPTextModel:
    """Builds a small CLIP with random weights, FLUX's first text encoder; its output is one pooled vector.

    `tokenizer`: sets the vocabulary's size, the special tokens and the longest text.
    """
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=_vocab_size(tokenizer),
            hidden_size=CLIP_WIDTH,
            intermediate_size=2 * CLIP_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=CLIP_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def t5_encoder(tokenizer: PreTrainedTokenizerFast) -> T5EncoderModel:
    """Builds a small T5 with random weights, FLUX's second text encoder; its output is a vector for each token.

    `tokenizer`: sets the vocabulary's size and the special tokens.
    """
    return T5EncoderModel(
        T5Config(
            vocab_size=_vocab_size(tokenizer),
            d_model=WIDTH,
            d_kv=HEAD_DIM,
            d_ff=2 * WIDTH,
            num_layers=2,
            num_heads=HEADS,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=False,  # type: ignore[call-arg]  # transformers takes it as one of its **kwargs
        )
    )


def qwen_vl(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    """Builds a small Qwen2.5-VL with random weights, which is the editor's text encoder and the captioner.

    `tokenizer`: sets the vocabulary's size and the special tokens.
    """
    ids: dict[str, int] = tokenizer.get_vocab()
    text = {
        "vocab_size": _vocab_size(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0},
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": 4,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_heads": HEADS,
        "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [0, 1, 2, 3],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model


def identity_encoder() -> ConvNextModel:
    """Builds `mini-identity`, a small ConvNeXt with random weights.

    Once it is trained, its pooled output (B, 192) identifies a person.
    """
    return ConvNextModel(
        ConvNextConfig(
            image_size=64,
            patch_size=2,
            hidden_sizes=[32, 64, 128, IDENTITY_WIDTH],
            depths=[1, 1, 2, 1],
            layer_scale_init_value=1.0,
        )
    )


def flux_scheduler() -> Model:
    """Returns a flow-matching Euler scheduler with the settings of FLUX.1-dev."""
    return FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


def qwen_scheduler() -> Model:
    """Returns a flow-matching Euler scheduler with the settings of Qwen-Image-Edit-2511."""
    return FlowMatchEulerDiscreteScheduler(
        shift=1.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=0.9,
        base_image_seq_len=256,
        max_image_seq_len=8192,
        shift_terminal=0.02,
        time_shift_type="exponential",
    )


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Packs latents (B, 16, h, w) into tokens (B, h/2 · w/2, 64)."""
    b, c, h, w = latents.shape
    return latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)


def unpack(tokens: torch.Tensor, side: int = 16) -> torch.Tensor:
    """Unpacks the tokens (B, side²/4, 64) of square latents into (B, 16, side, side), the inverse of `pack`."""
    b, _, c = tokens.shape
    half = side // 2
    return tokens.view(b, half, half, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c // 4, side, side)
