"""Implements what the training of all generators has in common: one picture and its caption make an example."""

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
    """Interface of a family's `maths` module, as far as it turns pictures into latents."""

    def latent_factor(self, vae_config: Mapping[str, Any]) -> int:
        """Returns the number of pixels a side that one latent represents."""
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
        """Encodes the picture as latents, scaled and cropped to its training size. Raises: BadInput for references."""
        if references:
            raise BadInput(f"{self.spec.name} takes no reference pictures.", "Train an editor with these.")
        pixels = [self.fitted(parts, image, resolution)]
        return {"latents": self.maths.to_latents(parts["vae"], pixels, sample=True, generator=generator).float()}

    def fitted(self, parts: Parts, image: Image.Image, resolution: int) -> Image.Image:
        """Scales and crops a picture to the training size that fits its aspect at this resolution."""
        return fit(image, bucket(image.size, resolution**2, 2 * self.maths.latent_factor(parts["vae"].config)))

    def class_preview(self, words: str, references: Sequence[Image.Image], resolution: int, seed: int) -> Preview:
        """Returns the parameters of a picture of the class (any person, not the character); references are not used."""
        return self.class_params(words, resolution, seed)

    def class_params(self, words: str, resolution: int, seed: int) -> GenerateParams:
        """Returns the model's default parameters with this prompt, a square of this resolution, and this seed."""
        return self.spec.params(GenerateParams, prompt=words, width=resolution, height=resolution, seed=seed)

    def encoding_options(self) -> tuple[object, ...]:
        """Returns all on which cached encodings depend: every family's options, and the length of captions."""
        return (*super().encoding_options(), self.text_tokens())

    def tokens(self, params: TrainParams, references: int = 1) -> int:
        """Returns the number of tokens of one example: packed latents and text tokens."""
        side = 2 * self.maths.latent_factor(components.config(self.folder, "vae"))
        return int(params.resolution**2 // side**2 + self.text_tokens())

    def text_tokens(self, references: int = 1) -> int:
        """Returns the number of tokens to which the model's prompts are padded or cut."""
        return int(self.spec.options["text_tokens"])
