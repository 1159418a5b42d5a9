"""Writes assets/mini in diffusers' own folder layout, each file swapped in whole so no reader sees half of one."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from engines.mini import configs, words

VL_SIDE = 84
FLUX_INDEX: dict[str, Any] = {
    "_class_name": "FluxPipeline",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    "tokenizer_2": ["transformers", "PreTrainedTokenizerFast"],
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
QWEN_INDEX: dict[str, Any] = {
    "_class_name": "QwenImageEditPlusPipeline",
    "processor": ["transformers", "Qwen2VLProcessor"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
    "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    "transformer": ["diffusers", "QwenImageTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKLQwenImage"],
}


def write_whole(path: Path, data: str) -> None:
    """Write a text file by writing another and renaming it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(data, encoding="utf-8")
    part.replace(path)


def save_into(thing: Any, folder: Path) -> None:
    """Call a thing's `save_pretrained` beside the folder, then move each file in, the weights first.

    Where it was loaded from, which diffusers writes down, is left out: that is a path of one machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        thing.save_pretrained(scratch)
        for config in Path(scratch).glob("config.json"):
            kept = json.loads(config.read_text(encoding="utf-8"))
            kept.pop("_name_or_path", None)
            config.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        for file in sorted(Path(scratch).iterdir(), key=lambda f: f.suffix == ".json"):
            shutil.move(file, folder / file.name)


def save_model(model: Any, folder: Path) -> None:
    """Save a model's weights in bf16, leaving the model as it was."""
    kept = {name: p.detach().clone() for name, p in model.state_dict().items()}
    save_into(model.to(torch.bfloat16), folder)
    model.float().load_state_dict(kept)


def save_frame(out: Path) -> None:
    """Write what needs no training: indexes, tokenizers, schedulers, processors."""
    version = {"_diffusers_version": diffusers.__version__}
    write_whole(out / "flux" / "model_index.json", json.dumps(FLUX_INDEX | version, indent=2))
    write_whole(out / "qwen_edit" / "model_index.json", json.dumps(QWEN_INDEX | version, indent=2))
    save_into(words.clip_tokenizer(), out / "flux" / "tokenizer")
    save_into(words.t5_tokenizer(), out / "flux" / "tokenizer_2")
    save_into(configs.flux_scheduler(), out / "flux" / "scheduler")
    save_into(words.qwen_tokenizer(), out / "qwen_edit" / "tokenizer")
    save_into(words.qwen_tokenizer(), out / "qwen_edit" / "processor")
    save_into(image_processor(), out / "qwen_edit" / "processor")
    save_into(configs.qwen_scheduler(), out / "qwen_edit" / "scheduler")


def save_identity(encoder: nn.Module, threshold: float, folder: Path) -> None:
    """Save the identity encoder with how it wants its pictures, and from which cosine two show the same person."""
    save_model(encoder, folder)
    settings = {
        "image_mean": configs.IMAGE_MEAN,
        "image_std": configs.IMAGE_STD,
        "size": {"height": 64, "width": 64},
        "verification_threshold": threshold,
    }
    write_whole(folder / "preprocessor_config.json", json.dumps(settings, indent=2))


def image_processor() -> Qwen2VLImageProcessorPil:
    """Build the picture half of the processor: any square picture becomes 84×84, nine image tokens."""
    return Qwen2VLImageProcessorPil(
        min_pixels=VL_SIDE**2,
        max_pixels=VL_SIDE**2,
        image_mean=list(configs.IMAGE_MEAN),
        image_std=list(configs.IMAGE_STD),
    )


def set_latent_scale(vae: nn.Module, latents: torch.Tensor) -> None:
    """Put the measured mean and spread of raw latents (N, 16, h, w) into the autoencoder's configuration."""
    latents = latents.float()
    if isinstance(vae, diffusers.AutoencoderKLQwenImage):
        mean = [round(float(v), 5) for v in latents.mean(dim=(0, 2, 3))]
        std = [round(float(v), 5) for v in latents.std(dim=(0, 2, 3))]
        vae.register_to_config(latents_mean=mean, latents_std=std)
    else:
        shift, spread = float(latents.mean()), float(latents.std())
        vae.register_to_config(shift_factor=round(shift, 5), scaling_factor=round(1 / spread, 5))


def normalised(vae: nn.Module, latents: torch.Tensor) -> torch.Tensor:
    """Normalise raw latents (N, 16, h, w) as the pipelines do."""
    if isinstance(vae, diffusers.AutoencoderKLQwenImage):
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
        return (latents - mean) / std
    return (latents - vae.config.shift_factor) * vae.config.scaling_factor


def denormalised(vae: nn.Module, latents: torch.Tensor) -> torch.Tensor:
    """Undo `normalised`."""
    if isinstance(vae, diffusers.AutoencoderKLQwenImage):
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
        return latents * std + mean
    return latents / vae.config.scaling_factor + vae.config.shift_factor


def size_mb(out: Path) -> float:
    """Measure a folder, in MB (10⁶ bytes)."""
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
