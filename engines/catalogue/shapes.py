"""Lists the configurations of the full-size models as their makers publish them, and their sizes in bytes.

So both are known before a download. Configurations: black-forest-labs/FLUX.1-dev and FLUX.2-klein-base-4B, and
Qwen/Qwen-Image-Edit on huggingface.co; values that are left out are the defaults of the classes. `launch.py bench
memory` computes the sizes from the configurations, and tests compare them with the sizes listed here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

Config: TypeAlias = Mapping[str, Any]  # a configuration as diffusers or transformers writes it, in JSON


class Part(NamedTuple):
    """Describes a component of a model: the library and the class that load it, and the contents of its config.json."""

    library: str
    class_name: str
    config: Config


Layout = Mapping[str, Part]  # by the part's name in model_index.json

_FLUX: Layout = {
    "transformer": Part(
        "diffusers", "FluxTransformer2DModel",
        {
            "attention_head_dim": 128, "guidance_embeds": True, "in_channels": 64, "joint_attention_dim": 4096,
            "num_attention_heads": 24, "num_layers": 19, "num_single_layers": 38, "patch_size": 1,
            "pooled_projection_dim": 768,
        },
    ),
    "text_encoder": Part(
        "transformers", "CLIPTextModel",
        {
            "model_type": "clip_text_model", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "max_position_embeddings": 77, "projection_dim": 768, "vocab_size": 49408,
        },
    ),
    "text_encoder_2": Part(
        "transformers", "T5EncoderModel",
        {
            "model_type": "t5", "d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_layers": 24, "num_heads": 64,
            "feed_forward_proj": "gated-gelu", "vocab_size": 32128, "is_encoder_decoder": False, "use_cache": False,
        },
    ),
    "vae": Part(
        "diffusers", "AutoencoderKL",
        {
            "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4, "latent_channels": 16, "layers_per_block": 2,
            "scaling_factor": 0.3611, "shift_factor": 0.1159, "sample_size": 1024, "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
    ),
}  # fmt: skip


def _qwen_edit(**transformer: Any) -> Layout:
    return {
        "transformer": Part(
            "diffusers", "QwenImageTransformer2DModel",
            {
                "attention_head_dim": 128, "axes_dims_rope": [16, 56, 56], "in_channels": 64, "out_channels": 16,
                "joint_attention_dim": 3584, "num_attention_heads": 24, "num_layers": 60, "patch_size": 2,
                **transformer,
            },
        ),
        "text_encoder": Part(
            "transformers", "Qwen2_5_VLForConditionalGeneration",
            {
                "model_type": "qwen2_5_vl", "tie_word_embeddings": False, "image_token_id": 151655,
                "video_token_id": 151656, "vision_start_token_id": 151652, "vision_end_token_id": 151653,
                "text_config": {
                    "model_type": "qwen2_5_vl_text", "hidden_size": 3584, "intermediate_size": 18944,
                    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
                    "vocab_size": 152064, "max_position_embeddings": 128000, "rms_norm_eps": 1e-6,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
                },
                "vision_config": {
                    "model_type": "qwen2_5_vl_vision", "depth": 32, "hidden_size": 1280, "intermediate_size": 3420,
                    "num_heads": 16, "out_hidden_size": 3584, "patch_size": 14, "spatial_merge_size": 2,
                    "temporal_patch_size": 2, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
                },
            },
        ),
        "vae": Part(
            "diffusers", "AutoencoderKLQwenImage",
            {"base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
             "temperal_downsample": [False, True, True]},
        ),
    }  # fmt: skip


_KLEIN_4B: Layout = {
    "transformer": Part(
        "diffusers", "Flux2Transformer2DModel",
        {
            "attention_head_dim": 128, "guidance_embeds": False, "in_channels": 128, "joint_attention_dim": 7680,
            "mlp_ratio": 3.0, "num_attention_heads": 24, "num_layers": 5, "num_single_layers": 20, "patch_size": 1,
        },
    ),
    "text_encoder": Part(
        "transformers", "Qwen3ForCausalLM",
        {
            "model_type": "qwen3", "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
    ),
    "vae": Part(
        "diffusers", "AutoencoderKLFlux2",
        {
            "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4, "latent_channels": 32, "layers_per_block": 2,
        },
    ),
}  # fmt: skip

LAYOUTS: Mapping[str, Layout] = {
    "FLUX.1-dev": _FLUX,
    "FLUX.1-Krea-dev": _FLUX,
    "Qwen-Image-Edit-2511": _qwen_edit(zero_cond_t=True),
    "Qwen-Image-Edit-2509": _qwen_edit(),
    "Qwen-Image-Edit": _qwen_edit(),
}

PUBLISHED: Mapping[str, Layout] = {**LAYOUTS, "FLUX.2-klein-base-4B": _KLEIN_4B, "FLUX.2-klein-4B": _KLEIN_4B}
"""The layouts of all full-size models; memory is planned for those in `LAYOUTS`."""
_FAMILIES: Mapping[str, Layout] = {"flux": _FLUX, "flux2": _KLEIN_4B, "qwen-edit": _qwen_edit()}
SMALL_PARTS: Mapping[str, tuple[str, ...]] = {  # family -> the parts of a model that have no weights
    "flux": ("scheduler", "tokenizer", "tokenizer_2"),
    "flux2": ("scheduler", "tokenizer"),
    "qwen-edit": ("scheduler", "tokenizer", "processor"),
}

# Bytes on the GPU, by the folder of a part: bfloat16 without an ending, then the quantised forms.
FLUX_BYTES: Mapping[str, int] = {
    "transformer": 23_802_816_640, "transformer.int8": 11_974_658_176, "transformer.fp8": 11_974_658_176,
    "transformer.nf4": 6_239_812_024,
    "text_encoder": 246_120_960,
    "text_encoder_2": 9_524_621_312, "text_encoder_2.int8": 4_896_075_776, "text_encoder_2.fp8": 4_896_075_776,
    "text_encoder_2.nf4": 2_652_519_584,
    "vae": 167_639_366,
}  # fmt: skip
QWEN_EDIT_BYTES: Mapping[str, int] = {
    "transformer": 40_860_802_176, "transformer.int8": 20_487_543_936, "transformer.fp8": 20_487_543_936,
    "transformer.nf4": 10_608_724_896,
    "text_encoder": 16_584_333_312, "text_encoder.int8": 10_061_826_048, "text_encoder.fp8": 10_061_826_048,
    "text_encoder.nf4": 6_900_165_392,
    "vae": 253_785_062,
}  # fmt: skip
KLEIN_4B_BYTES: Mapping[str, int] = {
    "transformer": 7_751_089_152, "transformer.int8": 4_072_492_032, "transformer.fp8": 4_072_492_032,
    "transformer.nf4": 2_288_852_112,
    "text_encoder": 8_044_936_192, "text_encoder.int8": 4_413_832_192, "text_encoder.fp8": 4_413_832_192,
    "text_encoder.nf4": 2_652_895_216,
    "vae": 168_092_230,
}  # fmt: skip


def layout_of(model: str, family: str) -> Layout:
    """Returns a model's layout; for a model whose configurations are not known, its family's, without them.

    Empty for a family whose models are not made of components.
    """
    classes = {name: part._replace(config={}) for name, part in _FAMILIES.get(family, {}).items()}
    return PUBLISHED.get(model, classes)


def write_layout(layout: Layout, folder: Path) -> Path:
    """Writes a model's folder without weights: model_index.json, and a config.json for each component.

    `layout`: component name -> Part. Returns the folder.
    """
    index = {name: [library, class_name] for name, (library, class_name, _) in layout.items()}
    for name, (library, class_name, config) in layout.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        of_class = {"_class_name": class_name} if library == "diffusers" else {"architectures": [class_name]}
        (folder / name / "config.json").write_text(json.dumps({**of_class, **config}, indent=2), encoding="utf-8")
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return folder
