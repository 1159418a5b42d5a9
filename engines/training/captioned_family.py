"""Implements what the training of all text-to-picture models has in common: an example is a picture and its caption."""

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
    """Interface of those functions of a family's `maths` module that turn pictures into latents."""

    def latent_factor(self, vae_config: Mapping[str, Any]) -> int:
        """Returns the side, in pixels, of the square that one latent represents."""
        ...

    def to_latents(
        self,
        vae: Any,
        images: Sequence[Image.Image] | Tensor,
        sample: bool = True,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Encodes pictures of one size as normalised latents (B, C, h, w).

        `sample`: draw from the VAE's posterior with `generator`; otherwise its mode is taken.
        """
        ...


class CaptionedFamily(Family):
    """Base class of the families that train on captioned pictures; each picture is cropped to its training size."""

    maths: ClassVar[LatentMaths]

    def encode_images(
        self,
        parts: Parts,
        image: Image.Image,
        references: Sequence[Image.Image],
        resolution: int,
        generator: torch.Generator,
    ) -> Tensors:
        """Encodes a picture as `latents` (1, C, h, w) float32, scaled and cropped to its training size.

        Raises: BadInput where there are references, which such a model does not take.
        """
        if references:
            raise BadInput(f"{self.spec.name} takes no reference pictures.", "Train an editor with these.")
        pixels = [self.fitted(parts, image, resolution)]
        return {"latents": self.maths.to_latents(parts["vae"], pixels, sample=True, generator=generator).float()}

    def fitted(self, parts: Parts, image: Image.Image, resolution: int) -> Image.Image:
        """Returns a picture scaled and cropped to the training size that fits its aspect at this resolution."""
        return fit(image, bucket(image.size, resolution**2, 2 * self.maths.latent_factor(parts["vae"].config)))

    def class_preview(self, words: str, references: Sequence[Image.Image], resolution: int, seed: int) -> Preview:
        """Returns the parameters for generating a picture of the class (any person, not the character)."""
        return self.class_params(words, resolution, seed)

    def class_params(self, words: str, resolution: int, seed: int) -> GenerateParams:
        """Returns the model's default parameters with `words` as the prompt and `resolution` pixels as both sides."""
        return self.spec.params(GenerateParams, prompt=words, width=resolution, height=resolution, seed=seed)

    def encoding_options(self) -> tuple[object, ...]:
        """Returns all options on which cached encodings depend: those of every family, and the prompt's token limit."""
        return (*super().encoding_options(), self.text_tokens())

    def tokens(self, params: TrainParams, references: int = 1) -> int:
        """Returns the number of tokens of one example: those of the packed latents and of the text."""
        side = 2 * self.maths.latent_factor(components.config(self.folder, "vae"))
        return int(params.resolution**2 // side**2 + self.text_tokens())

    def text_tokens(self, references: int = 1) -> int:
        """Returns the number of tokens to which the model's prompts are padded or cut."""
        return int(self.spec.options["text_tokens"])
