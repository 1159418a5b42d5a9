"""Builds a tiny FLUX.2 [klein] with random weights, of the classes of the real one, and requests for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engines.api.params import GenerateParams, LoraUse
from engines.api.protocols import ModelSpec
from engines.catalogue.models import MODELS

PROMPTS = ("ohwx person in the forest", "a person in a red shirt, front view, smiling", "a person, front view")
TOKENS = 40
SPEC = ModelSpec(
    name="tiny-flux2",
    label="tiny-flux2",
    role="generator",
    family="flux2",
    engine="engines.families.flux2.engine:Flux2",
    source="assets:none",
    licence="Apache-2.0",
    toy=True,
    dtype="float32",
    size=(64, 64),
    options={"text_tokens": TOKENS, "batch": 4},
)
ROW = next(spec for spec in MODELS if spec.family == "flux2")
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)


def _tokenizer() -> Any:
    """Returns a tokenizer of the words of the prompts and of the chat template."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Split(Regex(r"<[|/]?[a-z_]+[|]?>|\w+|\s|[^\w\s]"), "isolated")
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    found = {piece for text in (*PROMPTS, "user\nassistant") for piece, _ in split.pre_tokenize_str(text)}
    vocabulary = {word: index for index, word in enumerate([*specials, "<unk>", *sorted(found)])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = split
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=specials[0], unk_token="<unk>", additional_special_tokens=specials,
        chat_template=_CHAT,
    )  # fmt: skip


def _lively(module: Any) -> None:
    """Makes weights so large that every input changes the output; the initial ones hardly do."""
    import torch

    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight.normal_(0, 1.5 / weight.shape[1] ** 0.5)


def build(folder: Path) -> Path:
    """Builds a FLUX.2 [klein] of a few thousand weights in diffusers layout; 64 × 64 pictures are 8 × 8 tokens."""
    import torch
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    tokenizer = _tokenizer()
    parts = {
        "text_encoder": Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=28,
                num_attention_heads=2, num_key_value_heads=1, head_dim=8, tie_word_embeddings=True,
                max_position_embeddings=64, pad_token_id=0, bos_token_id=0, eos_token_id=2,
            )
        ),
        "vae": AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 16, 16), norm_num_groups=4, layers_per_block=1, latent_channels=8, sample_size=64,
        ),
        "transformer": Flux2Transformer2DModel(
            in_channels=32, num_layers=2, num_single_layers=2, attention_head_dim=32, num_attention_heads=2,
            joint_attention_dim=48, axes_dims_rope=(8, 8, 8, 8), guidance_embeds=False, timestep_guidance_channels=32,
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        "tokenizer": tokenizer,
    }  # fmt: skip
    parts["vae"].bn.running_mean.normal_(0, 0.5)
    parts["vae"].bn.running_var.uniform_(0.5, 2.0)
    for name in ("text_encoder", "transformer"):
        _lively(parts[name])
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    index = {
        "_class_name": "Flux2KleinPipeline",
        "is_distilled": False,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "Flux2Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLFlux2"],
    }
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def asked(count: int = 3, **changes: Any) -> list[GenerateParams]:
    """Returns `count` prompts with seeds of their own; `changes` are parameters of all."""
    first = GenerateParams(steps=3, guidance=4.0, width=64, height=64).replace(**changes)
    return [first.replace(prompt=PROMPTS[index % 3], seed=10 + index) for index in range(count)]


def use(file: Path, weight: float = 1.0) -> tuple[LoraUse, ...]:
    """Returns a stack of one LoRA file."""
    return (LoraUse(file=str(file), weight=weight),)
