"""FLUX.1 for the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from engines.api import GenerateParams, TrainParams
from engines.errors import BadInput
from engines.lora.data import Tensors, bucket, fit
from engines.lora.family import Family, Preview, narrowed
from engines.parts import components, flux
from engines.parts.latents import pack
from engines.parts.sampling import Tick


class FluxAdapter(Family):
    """Captioned pictures; attention and MLP of both kinds of blocks, modulation left alone."""

    targets = (
        r"transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
        r"|ff(_context)?\.net\.(0\.proj|2))"
        r"|single_transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v)|proj_mlp|proj_out)"
    )
    encoders = ("text_encoder", "text_encoder_2", "vae")
    blocks: ClassVar = {"num_layers": 36, "num_single_layers": 17}

    @cached_property
    def _tokenizers(self) -> dict[str, Any]:
        return {name: components.tokenizer(self.folder, name) for name in ("tokenizer", "tokenizer_2")}

    def encode_images(
        self,
        parts: Mapping[str, Any],
        image: Image.Image,
        references: Sequence[Image.Image],
        resolution: int,
        generator: torch.Generator,
    ) -> Tensors:
        """The picture alone, cropped to the nearest bucket. Raises: BadInput where there are references."""
        if references:
            raise BadInput(f"{self.spec.name} takes no reference pictures.", "Train an editor with these.")
        pixels = [self.fitted(parts, image, resolution)]
        return {"latents": flux.to_latents(parts["vae"], pixels, sample=True, generator=generator).float()}

    def fitted(self, parts: Mapping[str, Any], image: Image.Image, resolution: int) -> Image.Image:
        """Cropped to the nearest bucket."""
        return fit(image, bucket(image.size, resolution**2, 2 * flux.latent_factor(parts["vae"].config)))

    def encode_words(self, parts: Mapping[str, Any], text: str, references: Sequence[Image.Image]) -> Tensors:
        """T5's tokens and CLIP's pooled vector."""
        cond = flux.encode_prompts(parts, self._tokenizers, [text], self.text_tokens())
        return {"prompt_embeds": cond.prompt_embeds, "pooled": cond.pooled}

    def encode_preview(self, parts: Mapping[str, Any], preview: Preview) -> Tensors:
        """The prompt."""
        return self.encode_words(parts, narrowed(preview, GenerateParams).prompt, ())

    def class_preview(self, words: str, references: Sequence[Image.Image], resolution: int, seed: int) -> Preview:
        """The words, at the model's own settings."""
        return self.spec.params(GenerateParams, prompt=words, width=resolution, height=resolution, seed=seed)

    def draw(self, parts: Mapping[str, Any], encoded: Tensors, preview: Preview, tick: Tick) -> Image.Image:
        """As the generator draws it, guidance and all."""
        latents = flux.sample(
            parts["transformer"],
            flux.Conditioning(**encoded),
            [narrowed(preview, GenerateParams)],
            self.schedule,
            tick,
            factor=flux.latent_factor(parts["vae"].config),
        )
        return flux.to_images(parts["vae"], latents)[0]

    def velocity(self, transformer: Any, batch: Tensors, noisy: Tensor, sigma: Tensor, guidance: float) -> Tensor:
        """Of the whole sequence; `guidance` reaches only models that have an embedder for it."""
        cond = flux.Conditioning(batch["prompt_embeds"], batch["pooled"])
        return flux.velocity(transformer, pack(noisy), cond, sigma, guidance, *noisy.shape[-2:])

    def tokens(self, params: TrainParams) -> int:
        """Packed latents and text."""
        side = 2 * flux.latent_factor(components.config(self.folder, "vae"))
        return params.resolution**2 // side**2 + self.text_tokens()

    def text_tokens(self) -> int:
        """As many as T5 is asked for."""
        return int(self.spec.options["text_tokens"])
