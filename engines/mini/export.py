"""Writes the trained toy models in diffusers' folder layout; each file is replaced as a whole."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import diffusers
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from engines.mini import configs, text_tokenizers
from engines.mini.configs import Model

VL_SIDE = 84
LORA_LICENCE = """SPDX-License-Identifier: Apache-2.0

The LoRAs in this folder were trained by `python -m engines.mini.build` on drawings that it makes itself. Their licence
is that of the program: see LICENSE in its root folder.
"""
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


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields the path of a new file to write; at the end it is renamed to `path`, which so never is half a file.

    The new file's name is random, so that two commands can write at once. If writing fails, the new file is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, data: str) -> None:
    """Writes a text file completely or not at all."""
    with whole(path) as part:
        part.write_text(data, encoding="utf-8")


def save_tensors(data: object, path: Path) -> None:
    """Writes tensors, for `torch.load`, completely or not at all; `data`: a tensor, or containers of tensors."""
    with whole(path) as part:
        torch.save(data, part)


def save_into(thing: Any, folder: Path) -> None:
    """Saves a model, tokenizer or scheduler (`thing`) into a folder; each file is replaced as a whole, weights first.

    The entry `_name_or_path` of config.json (the path that the object was loaded from) is left out.
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
    """Saves a model's weights in bf16 into a folder; the model in memory stays in float32."""
    kept = {name: p.detach().clone() for name, p in model.state_dict().items()}
    save_into(model.to(torch.bfloat16), folder)
    model.float().load_state_dict(kept)


def save_frame(out: Path) -> None:
    """Writes the toy models' files that need no training: indexes, tokenizers, schedulers, image processor, licence.

    `out`: the folder that has or gets the model folders `flux` and `qwen_edit`.
    """
    version = {"_diffusers_version": diffusers.__version__}
    write_whole(out / "flux" / "model_index.json", json.dumps(FLUX_INDEX | version, indent=2))
    write_whole(out / "qwen_edit" / "model_index.json", json.dumps(QWEN_INDEX | version, indent=2))
    save_into(text_tokenizers.clip_tokenizer(), out / "flux" / "tokenizer")
    save_into(text_tokenizers.t5_tokenizer(), out / "flux" / "tokenizer_2")
    save_into(configs.flux_scheduler(), out / "flux" / "scheduler")
    save_into(text_tokenizers.qwen_tokenizer(), out / "qwen_edit" / "tokenizer")
    save_into(text_tokenizers.qwen_tokenizer(), out / "qwen_edit" / "processor")
    save_into(image_processor(), out / "qwen_edit" / "processor")
    save_into(configs.qwen_scheduler(), out / "qwen_edit" / "scheduler")
    write_whole(out / "qwen_edit" / "loras" / "LICENSE", LORA_LICENCE)


def save_identity(encoder: Model, threshold: float, folder: Path) -> None:
    """Saves the identity encoder's weights and its picture settings into a folder.

    `threshold`: the cosine similarity above which two pictures show one person; it is saved in the settings.
    """
    save_model(encoder, folder)
    settings = {
        "image_mean": configs.IMAGE_MEAN,
        "image_std": configs.IMAGE_STD,
        "size": {"height": 64, "width": 64},
        "verification_threshold": threshold,
    }
    write_whole(folder / "preprocessor_config.json", json.dumps(settings, indent=2))


def image_processor() -> Qwen2VLImageProcessorPil:
    """Returns the picture processor of Qwen2.5-VL: any square picture becomes 84×84 pixels, nine image tokens."""
    return Qwen2VLImageProcessorPil(
        min_pixels=VL_SIDE**2,
        max_pixels=VL_SIDE**2,
        image_mean=list(configs.IMAGE_MEAN),
        image_std=list(configs.IMAGE_STD),
    )


def set_latent_scale(vae: Model, latents: torch.Tensor) -> None:
    """Computes mean and standard deviation of raw latents (N, 16, h, w); sets them in the autoencoder's configuration.

    Qwen's autoencoder gets one pair for each channel. FLUX's gets a single pair, as `shift_factor` (the mean) and
    `scaling_factor` (1 / the standard deviation).
    """
    latents = latents.float()
    if configs.is_causal(vae):
        mean = [round(float(v), 5) for v in latents.mean(dim=(0, 2, 3))]
        std = [round(float(v), 5) for v in latents.std(dim=(0, 2, 3))]
        vae.register_to_config(latents_mean=mean, latents_std=std)
    else:
        shift, spread = float(latents.mean()), float(latents.std())
        vae.register_to_config(shift_factor=round(shift, 5), scaling_factor=round(1 / spread, 5))


def normalised(vae: Model, latents: torch.Tensor) -> torch.Tensor:
    """Returns raw latents (N, 16, h, w) shifted and scaled as the autoencoder's configuration says."""
    if configs.is_causal(vae):
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
        return (latents - mean) / std
    shift, factor = float(vae.config.shift_factor), float(vae.config.scaling_factor)
    return (latents - shift) * factor


def denormalised(vae: Model, latents: torch.Tensor) -> torch.Tensor:
    """Returns the raw latents that belong to normalised ones; the inverse of `normalised`."""
    if configs.is_causal(vae):
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
        return latents * std + mean
    shift, factor = float(vae.config.shift_factor), float(vae.config.scaling_factor)
    return latents / factor + shift


def size_mb(out: Path) -> float:
    """Returns the total size of the files in a folder and its subfolders, in MB (10⁶ bytes)."""
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
