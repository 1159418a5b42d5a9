"""Qwen-Image-Edit for the training loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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
from engines.training.family import Family, Preview, narrowed
from engines.training.targets import ALL, ATTENTION, JOINT, Targets
from engines.weights import components, modulation

_WORDS = ("prompt_embeds", "prompt_mask")
_INSTRUCTION_TOKENS = 324  # as the vision-language model hands them on, about
_SEEN_SIDE = 28  # pixels a side that one of that model's tokens stands for: patches of 14, two by two


class QwenEditAdapter(Family):
    """A picture, what it was made from, and the instruction; all of the blocks but the modulation.

    Modulation depends on the timestep alone; left untouched, it can be replaced by a table.
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
        parts: Mapping[str, Any],
        image: Image.Image,
        references: Sequence[Image.Image],
        resolution: int,
        generator: torch.Generator,
    ) -> Tensors:
        """The result, and each reference in its order. Raises: BadInput where there is no reference.

        Both are sized by the same rule as in editing, so that nothing learns to shift or zoom.
        """
        if not references:
            raise BadInput("An editor is trained on pairs.", "Give each item the picture that it was made from.")
        vae, fitted = parts["vae"], partial(self.fitted, parts, resolution=resolution)
        latents = {"latents": qwen.to_latents(vae, fitted(image), "sample", generator).float()}
        for index, reference in enumerate(references):
            latents[f"reference_{index}"] = qwen.to_latents(vae, fitted(reference)).float()
        return latents

    def fitted(self, parts: Mapping[str, Any], image: Image.Image, resolution: int) -> Image.Image:
        """Scaled as in editing."""
        return self._sizes(resolution).reference(image)

    def encode_words(self, parts: Mapping[str, Any], text: str, references: Sequence[Image.Image]) -> Tensors:
        """The instruction as read together with the pictures it speaks of."""
        sizes = qwen.Sizes.of(self.spec)
        pictures = [sizes.vision(reference) for reference in references]
        cond = qwen.conditioning(
            parts["text_encoder"], self._processor, text, pictures, picture_label=sizes.picture_label
        )
        return dict(zip(_WORDS, cond, strict=True))

    def encode_preview(self, parts: Mapping[str, Any], preview: Preview) -> Tensors:
        """Instruction, negative and references. Raises: BadInput."""
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
        """The same edit, asked of the class."""
        return EditItem(references[0], self.class_params(words, resolution, seed), tuple(references[1:]))

    def class_params(self, words: str, resolution: int, seed: int) -> EditParams:
        """The model's own settings; the source says how large the picture is."""
        return self.spec.params(EditParams, instruction=words, seed=seed)

    def draw(self, parts: Mapping[str, Any], encoded: Tensors, preview: Preview, tick: Tick) -> Image.Image:
        """As the editor edits it: the result takes the source's size."""
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

    def reading(self) -> tuple[object, ...]:
        """As others, and at which sizes and by which names pictures are shown: 2509 sees them unlike its elder."""
        return (*super().reading(), qwen.Sizes.of(self.spec))

    def components(self, names: Sequence[str], base: str = "") -> tuple[Component, ...]:
        """The transformer with a table for its modulation, where the row has one: no LoRA of ours touches it."""
        parts = dict(zip(names, super().components(names, base), strict=True))
        if modulation.wanted(self.spec) and "transformer" in parts:
            parts["transformer"] = modulation.component(self.trained(base), self.folder)
        return tuple(parts.values())

    def predict(self, transformer: Any, batch: Tensors, noise: Tensor, sigma: Tensor, guidance: float) -> Tensor:
        """With a modulation table, at the nearest noise levels of its grid."""
        return super().predict(transformer, batch, noise, modulation.on_grid(transformer, sigma), guidance)

    def velocity(self, transformer: Any, batch: Tensors, noisy: Tensor, sigma: Tensor, guidance: float) -> Tensor:
        """Of the result's tokens; the clean references' follow them and are cropped from the prediction."""
        references = _references(batch)
        shapes = [qwen.token_shape(picture) for picture in (noisy, *references)]
        return qwen.velocity(transformer, pack(noisy), _packed(references), _words(batch), sigma, shapes)

    def collate(self, rows: Sequence[Tensors]) -> dict[str, Tensor]:
        """As others, but instructions differ in length: the shorter are padded, and masked."""
        length = max(row["prompt_embeds"].shape[1] for row in rows)
        return stack([{name: _padded(name, value, length) for name, value in row.items()} for row in rows])

    def tokens(self, params: TrainParams, references: int = 1) -> int:
        """Packed latents of a result and its references, and the words."""
        side = 2 * qwen.latent_factor(components.config(self.folder, "vae"))
        pictures = (1 + references) * self._sizes(params.resolution).reference_area // side**2
        return pictures + self.text_tokens(references)

    def text_tokens(self, references: int = 1) -> int:
        """Instruction and pictures as read together."""
        return _INSTRUCTION_TOKENS + references * (qwen.Sizes.of(self.spec).vision_area // _SEEN_SIDE**2)

    def _sizes(self, resolution: int) -> qwen.Sizes:
        sizes = qwen.Sizes.of(self.spec)
        return dataclasses.replace(sizes, reference_area=min(sizes.reference_area, resolution**2))


def _references(batch: Tensors) -> list[Tensor]:
    """The references' latents, first to last."""
    count = sum(name.startswith("reference_") for name in batch)
    return [batch[f"reference_{index}"] for index in range(count)]


def _packed(references: Sequence[Tensor]) -> Tensor:
    return torch.cat([pack(reference) for reference in references], dim=1)


def _words(batch: Tensors, prefix: str = "") -> qwen.Conditioning:
    return qwen.Conditioning(*(batch[prefix + name] for name in _WORDS))


def _padded(name: str, value: Tensor, length: int) -> Tensor:
    """Words to a common length; what is no word stays as it is."""
    if name not in _WORDS:
        return value
    missing = (0, length - value.shape[1])
    return pad(value, missing if value.ndim == 2 else (0, 0, *missing))
