"""Trains LoRAs of Qwen-Image-Edit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from engines.api.errors import BadInput
from engines.api.params import EditParams, TrainParams
from engines.api.protocols import Component, EditItem
from engines.drawing.latents import pack
from engines.drawing.sampling import Tick
from engines.families.qwen_edit import maths as qwen
from engines.training.data import Tensors, stack
from engines.training.family import Family, Parts, Preview, Transformer, narrowed
from engines.training.targets import ALL, ATTENTION, JOINT, Targets
from engines.weights import components, modulation

_WORDS = ("prompt_embeds", "prompt_mask")
_INSTRUCTION_TOKENS = 324  # of an instruction with its template, about
_TOKEN_SIDE = 28  # pixels a side of one token of the vision-language model: patches of 14, two by two


class QwenEditAdapter(Family):
    """Adapts the training loop to Qwen-Image-Edit, which learns from pairs of pictures with their instructions.

    The LoRA's layers are the attention and the MLP of all blocks, never modulation. Modulation depends on the timestep
    alone; as it is not trained, a table can replace it.
    """

    targets: ClassVar = {
        ALL: Targets(rf"transformer_blocks\.\d+\.(attn\.{JOINT}|(img|txt)_mlp\.net\.(0\.proj|2))", {"num_layers": 36}),
        ATTENTION: Targets(rf"transformer_blocks\.\d+\.attn\.{JOINT}", {"num_layers": 16}),
    }
    encoders = ("text_encoder", "vae")
    tokenizers = ("processor",)

    @cached_property
    def _processor(self) -> Any:
        return qwen.processor(self.folder)

    def encode_images(
        self,
        parts: Parts,
        image: Image.Image,
        references: Sequence[Image.Image],
        resolution: int,
        generator: torch.Generator,
    ) -> Tensors:
        """Encodes the result of an edit as `latents`, its references as `reference_0` and so on, (1, 16, h, w) each.

        All are scaled as in editing, so that no LoRA learns to shift or zoom. Raises: BadInput without a reference.
        """
        if not references:
            raise BadInput("An editor is trained on pairs.", "Give each item the picture that it was made from.")
        vae, fitted = parts["vae"], partial(self.fitted, parts, resolution=resolution)
        latents = {"latents": qwen.to_latents(vae, fitted(image), "sample", generator).float()}
        for index, reference in enumerate(references):
            latents[f"reference_{index}"] = qwen.to_latents(vae, fitted(reference)).float()
        return latents

    def fitted(self, parts: Parts, image: Image.Image, resolution: int) -> Image.Image:
        """Returns a picture scaled for the VAE as in editing, to at most `resolution`² pixels."""
        return self._sizes(resolution).reference(image)

    def encode_words(self, parts: Parts, text: str, references: Sequence[Image.Image]) -> Tensors:
        """Encodes an instruction with its references: `prompt_embeds` (1, L, width), `prompt_mask` (1, L)."""
        sizes = qwen.Sizes.of(self.spec)
        pictures = [sizes.vision(reference) for reference in references]
        cond = qwen.conditioning(
            parts["text_encoder"], self._processor, text, pictures, picture_label=sizes.picture_label
        )
        return dict(zip(_WORDS, cond, strict=True))

    def encode_preview(self, parts: Parts, preview: Preview) -> Tensors:
        """Encodes a preview: its instruction and pictures, and where true_cfg is above 1 its negative prompt.

        Returns tensors by name, those of the negative prompt with the prefix `negative_`. Raises: BadInput for a
        preview that is no edit.
        """
        item = narrowed(preview, EditItem)
        pictures, params = (item.source, *item.references), item.params
        sizes = qwen.Sizes.of(self.spec)
        encoded = dict(self.encode_words(parts, params.instruction, pictures))
        for index, picture in enumerate(pictures):
            encoded[f"reference_{index}"] = qwen.to_latents(parts["vae"], sizes.reference(picture)).float()
        if params.true_cfg > 1:
            negative = self.encode_words(parts, params.negative, pictures)
            encoded.update({f"negative_{name}": value for name, value in negative.items()})
        return encoded

    def class_preview(self, words: str, references: Sequence[Image.Image], resolution: int, seed: int) -> Preview:
        """Returns an edit of the same references with an instruction that names the class instead of the trigger."""
        return EditItem(references[0], self.class_params(words, resolution, seed), tuple(references[1:]))

    def class_params(self, words: str, resolution: int, seed: int) -> EditParams:
        """Returns the model's default parameters with `words` as the instruction, and `seed`; ignores `resolution`."""
        return self.spec.params(EditParams, instruction=words, seed=seed)

    def draw(self, parts: Parts, encoded: Tensors, preview: Preview, tick: Tick) -> Image.Image:
        """Generates a preview as the editor would make that edit, at the scaled source's size; ignores `few_steps`."""
        references = _references(encoded)
        negative = _words(encoded, "negative_") if "negative_prompt_embeds" in encoded else None
        latents = qwen.sample(
            parts["transformer"],
            _words(encoded),
            negative,
            _packed(references),
            [qwen.token_shape(picture) for picture in (references[0], *references)],
            [narrowed(preview, EditItem).params],
            self.schedule,
            tick,
        )
        return qwen.to_images(parts["vae"], latents)[0]

    def encoding_options(self) -> tuple[object, ...]:
        """Returns all options on which cached encodings depend: those of every family, and picture sizes and labels."""
        return (*super().encoding_options(), qwen.Sizes.of(self.spec))

    def components(self, names: Sequence[str], base: str = "") -> tuple[Component, ...]:
        """Returns the descriptions of the components with these names, for a stage.

        The transformer has a modulation table where the registry row asks for one: no LoRA that is trained here changes
        modulation. `base`: the transformer's precision; "" takes that of the row.
        """
        parts = dict(zip(names, super().components(names, base), strict=True))
        if modulation.wanted(self.spec) and "transformer" in parts:
            parts["transformer"] = modulation.component(self.spec_with_base(base), self.folder)
        return tuple(parts.values())

    def predict(
        self, transformer: Transformer, batch: Tensors, noise: Tensor, sigma: Tensor, guidance: float
    ) -> Tensor:
        """Adds noise and predicts the velocity, as every family does; returns packed latents (B, n, 64) float32.

        With a modulation table the noise levels are moved to the nearest ones of the table's grid.
        """
        return super().predict(transformer, batch, noise, modulation.on_grid(transformer, sigma), guidance)

    def velocity(
        self, transformer: Transformer, batch: Tensors, noisy: Tensor, sigma: Tensor, guidance: float
    ) -> Tensor:
        """Predicts the velocity (noise − picture) of noisy latents (B, 16, h, w), given the clean references.

        Returns packed latents (B, n, 64), n being the number of the picture's tokens. `guidance` is ignored.
        """
        references = _references(batch)
        shapes = [qwen.token_shape(picture) for picture in (noisy, *references)]
        return qwen.velocity(transformer, pack(noisy), _packed(references), _words(batch), sigma, shapes)

    def collate(self, rows: Sequence[Tensors]) -> dict[str, Tensor]:
        """Concatenates examples to one batch; shorter instructions are padded with zeros that the mask excludes."""
        length = max(row["prompt_embeds"].shape[1] for row in rows)
        padded = []
        for row in rows:
            missing = (0, length - row["prompt_embeds"].shape[1])
            words = {name: pad(row[name], missing if row[name].ndim == 2 else (0, 0, *missing)) for name in _WORDS}
            padded.append({**row, **words})
        return stack(padded)

    def tokens(self, params: TrainParams, references: int = 1) -> int:
        """Returns an estimate of the tokens of one example: packed latents of result and references, and text."""
        side = 2 * qwen.latent_factor(components.config(self.folder, "vae"))
        pictures = (1 + references) * self._sizes(params.resolution).reference_area // side**2
        return pictures + self.text_tokens(references)

    def text_tokens(self, references: int = 1) -> int:
        """Returns an estimate of the text tokens of an instruction with `references` reference pictures."""
        return _INSTRUCTION_TOKENS + references * (qwen.Sizes.of(self.spec).vision_area // _TOKEN_SIDE**2)

    def _sizes(self, resolution: int) -> qwen.Sizes:
        """Returns the model's picture sizes, with at most `resolution`² pixels for the VAE."""
        sizes = qwen.Sizes.of(self.spec)
        return dataclasses.replace(sizes, reference_area=min(sizes.reference_area, resolution**2))


def _references(batch: Tensors) -> list[Tensor]:
    """Returns the references' latents, first to last."""
    count = sum(name.startswith("reference_") for name in batch)
    return [batch[f"reference_{index}"] for index in range(count)]


def _packed(references: Sequence[Tensor]) -> Tensor:
    return torch.cat([pack(reference) for reference in references], dim=1)


def _words(batch: Tensors, prefix: str = "") -> qwen.Conditioning:
    return qwen.Conditioning(*(batch[prefix + name] for name in _WORDS))
