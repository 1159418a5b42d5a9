"""What generators share in the training loop: a picture and the words that it is drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image

from engines.api.crops import bucket
from engines.api.errors import BadInput
from engines.api.params import GenerateParams, TrainParams
from engines.training.data import Tensors, fit
from engines.training.family import Family, Preview
from engines.weights import components


class Captioned(Family):
    """Captioned pictures, cropped to buckets; `maths` is the part that knows the family's latents."""

    maths: ClassVar[Any]

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
        return {"latents": self.maths.to_latents(parts["vae"], pixels, sample=True, generator=generator).float()}

    def fitted(self, parts: Mapping[str, Any], image: Image.Image, resolution: int) -> Image.Image:
        """Cropped to the nearest bucket."""
        return fit(image, bucket(image.size, resolution**2, 2 * self.maths.latent_factor(parts["vae"].config)))

    def class_preview(self, words: str, references: Sequence[Image.Image], resolution: int, seed: int) -> Preview:
        """The words alone."""
        return self.class_params(words, resolution, seed)

    def class_params(self, words: str, resolution: int, seed: int) -> GenerateParams:
        """The model's own settings."""
        return self.spec.params(GenerateParams, prompt=words, width=resolution, height=resolution, seed=seed)

    def reading(self) -> tuple[object, ...]:
        """As others, and after how many words a caption is cut off."""
        return (*super().reading(), self.text_tokens())

    def tokens(self, params: TrainParams, references: int = 1) -> int:
        """Packed latents and text."""
        side = 2 * self.maths.latent_factor(components.config(self.folder, "vae"))
        return params.resolution**2 // side**2 + self.text_tokens()

    def text_tokens(self, references: int = 1) -> int:
        """What the row says."""
        return int(self.spec.options["text_tokens"])
