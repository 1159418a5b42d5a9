"""Loads the embedded toy models that are trained already from the folder that a build writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import diffusers
import safetensors.torch
import torch
import transformers

from engines.mini import train_vae
from engines.mini.configs import Model
from engines.mini.train_flux import Flux

N = TypeVar("N", bound=torch.nn.Module)


@dataclass(frozen=True)
class Trained:
    """Gives access to the trained models in the folder `out`, such as assets/mini."""

    out: Path

    def vae(self, kind: str) -> Model:
        """Loads a trained autoencoder, "flux" or "qwen", from the output folder."""
        if kind == "flux":
            return diffusers.AutoencoderKL.from_pretrained(self.out / "flux" / "vae").eval()
        vae = diffusers.AutoencoderKLQwenImage.from_pretrained(self.out / "qwen_edit" / "vae").eval()
        return train_vae.for_still_pictures(vae)

    def text_encoder(self) -> Model:
        """Loads the trained captioner, which is also the editor's text encoder, from the output folder."""
        folder = self.out / "qwen_edit" / "text_encoder"
        model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        return model.eval()

    def editor(self) -> Model:
        """Loads the editor's trained transformer from the output folder."""
        return diffusers.QwenImageTransformer2DModel.from_pretrained(self.out / "qwen_edit" / "transformer").eval()

    def trained_flux(self) -> Flux:
        """Loads the generator's trained transformer, CLIP and T5 from the output folder."""
        folder = self.out / "flux"
        return Flux(
            diffusers.FluxTransformer2DModel.from_pretrained(folder / "transformer").eval(),
            transformers.CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval(),
            transformers.T5EncoderModel.from_pretrained(folder / "text_encoder_2", dtype=torch.float32).eval(),
        )

    def oracle(self, net: N, name: str) -> N:
        """Loads the weights of the net `name`, "reader" or "judge", from the output folder into `net`; returns it."""
        net.load_state_dict(safetensors.torch.load_file(self.out / "oracle" / f"{name}.safetensors"))
        return net.eval()
