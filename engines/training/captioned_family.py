"""Implements what all generators share in training: one picture and its caption make an example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from PIL import Image
from torch import Tensor

from engines.api.crops import bucket
from engines.api.errors import BadInput
from engines.api.params import GenerateParams, TrainParams
from engines.training.data import Tensors, fit
from engines.training.family import Family, Parts, Preview
from engines.weights import components


class LatentMaths(Protocol):
    """Types the functions of a family's `maths` module that turn pictures into latents."""

    def latent_factor(self, vae_config: Mapping[str, Any]) -> int:
        """Returns how many pixels a side one latent stands for."""
        ...

    def to_latents(
        self,
        vae: Any,
        images: Sequence[Image.Image] | Tensor,
        sample: bool = True,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Encodes pictures of one size as normalised latents (B, C, h, w)."""
        ...


class CaptionedFamily(Family):
    """Learns from captioned pictures, each cropped to its bucket."""

    maths: ClassVar[LatentMaths]

    def encode_images(
        self,
        parts: Parts,
        image: Image.Image,
        references: Sequence[Image.Image],
        resolution: int,
        generator: torch.Generator,
    ) -> Tensors:
        """Encodes the picture, cropped to the nearest bucket. Raises: BadInput where there are references."""
        if references:
            raise BadInput(f"{self.spec.name} takes no reference pictures.", "Train an editor with these.")
        pixels = [self.fitted(parts, image, resolution)]
        return {"latents": self.maths.to_latents(parts["vae"], pixels, sample=True, generator=generator).float()}

    def fitted(self, parts: Parts, image: Image.Image, resolution: int) -> Image.Image:
        """Returns the picture scaled and cropped to the nearest bucket."""
        return fit(image, bucket(image.size, resolution**2, 2 * self.maths.latent_factor(parts["vae"].config)))

    def class_preview(self, words: str, references: Sequence[Image.Image], resolution: int, seed: int) -> Preview:
        """Returns the parameters of a picture of the class; there are no references to draw it from."""
        return self.class_params(words, resolution, seed)

    def class_params(self, words: str, resolution: int, seed: int) -> GenerateParams:
        """Returns the model's default parameters with this prompt, size and seed."""
        return self.spec.params(GenerateParams, prompt=words, width=resolution, height=resolution, seed=seed)

    def encoding_options(self) -> tuple[object, ...]:
        """Returns the options of every family and the number of tokens after which a caption is cut off."""
        return (*super().encoding_options(), self.text_tokens())

    def tokens(self, params: TrainParams, references: int = 1) -> int:
        """Returns the number of packed latents and text tokens."""
        side = 2 * self.maths.latent_factor(components.config(self.folder, "vae"))
        return int(params.resolution**2 // side**2 + self.text_tokens())

    def text_tokens(self, references: int = 1) -> int:
        """Returns the number of tokens that the registry row sets for a prompt."""
        return int(self.spec.options["text_tokens"])
