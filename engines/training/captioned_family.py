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
    """Interface of a Python module that encodes pictures as the latents of one model family."""

    def latent_factor(self, vae_config: Mapping[str, Any]) -> int:
        """Returns the VAE's downsampling factor: the number of pixels per latent, in width and in height.

        `vae_config`: the VAE's config.json.
        """
        ...

    def to_latents(
        self,
        vae: Any,
        images: Sequence[Image.Image] | Tensor,
        sample: bool = True,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Encodes pictures of equal size as normalised latents, (B, C, h, w).

        `images`: the pictures, or a tensor of their pixels (B, 3, H, W) in −1…1; `sample`: whether the latents are
        drawn at random from the VAE's posterior, with `generator`; otherwise the posterior's mode is taken.
        """
        ...


class CaptionedFamily(Family):
    """Base class of the model families that train on pictures with captions, without reference pictures."""

    maths: ClassVar[LatentMaths]

    def encode_images(
        self,
        parts: Parts,
        image: Image.Image,
        references: Sequence[Image.Image],
        resolution: int,
        generator: torch.Generator,
    ) -> Tensors:
        """Encodes a picture as `latents`, (1, C, h, w) float32, after scaling and cropping it to its training size.

        `parts`: the loaded models, by component name; `resolution`: the picture is trained at about `resolution`²
        pixels; `generator`: draws from the VAE's posterior.
        Returns a dict with the one entry `latents`. Raises: BadInput if `references` is not empty, since these models
        take none.
        """
        if references:
            raise BadInput(f"{self.spec.name} takes no reference pictures.", "Train an editor with these.")
        pixels = [self.fitted(parts, image, resolution)]
        return {"latents": self.maths.to_latents(parts["vae"], pixels, sample=True, generator=generator).float()}

    def fitted(self, parts: Parts, image: Image.Image, resolution: int) -> Image.Image:
        """Returns a picture, scaled and cropped to the training size whose aspect ratio is nearest to its own.

        `parts`: the loaded models, by component name; `resolution`: the training size has about `resolution`² pixels.
        """
        return fit(image, bucket(image.size, resolution**2, 2 * self.maths.latent_factor(parts["vae"].config)))

    def class_preview(self, words: str, references: Sequence[Image.Image], resolution: int, seed: int) -> Preview:
        """Returns the parameters for generating a picture of the class (any person) for prior preservation.

        `words`: the prompt; `references`: not used; `resolution`: both sides of the picture, in pixels.
        """
        return self.class_params(words, resolution, seed)

    def class_params(self, words: str, resolution: int, seed: int) -> GenerateParams:
        """Returns the model's default generation parameters with the given prompt, size and seed.

        `words`: the prompt; `resolution`: both sides of the picture, in pixels.
        """
        return self.spec.params(GenerateParams, prompt=words, width=resolution, height=resolution, seed=seed)

    def encoding_options(self) -> tuple[object, ...]:
        """Returns all options, besides the files, on which encodings depend; their `repr` goes into cache keys.

        To the options of every family, such as the encoders' precision, it adds the number of tokens of a prompt.
        """
        return (*super().encoding_options(), self.text_tokens())

    def tokens(self, params: TrainParams, references: int = 1) -> int:
        """Returns about how many tokens the transformer gets for one example: picture (packed latents) and text.

        `references`: not used, since these models take no reference pictures.
        """
        side = 2 * self.maths.latent_factor(components.config(self.folder, "vae"))
        return int(params.resolution**2 // side**2 + self.text_tokens())

    def text_tokens(self, references: int = 1) -> int:
        """Returns the number of tokens to which prompts are padded or cut.

        `references`: not used, since these models take no reference pictures.
        """
        return int(self.spec.options["text_tokens"])
