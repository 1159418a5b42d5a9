"""Trains LoRAs of Qwen-Image-Edit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

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

_EMBEDS, _MASK = "prompt_embeds", "prompt_mask"
_INSTRUCTION_TOKENS = 324  # of an instruction with its template, about
_TOKEN_SIDE = 28  # pixels a side of one token of the vision-language model: patches of 14, two by two


class QwenEditAdapter(Family):
    """Adapts the training loop to Qwen-Image-Edit, which learns from edits: pairs of pictures with an instruction.

    A LoRA is trained on the attention and (unless attention alone is chosen) the MLP layers of all blocks, never on
    modulation layers. Since modulation layers stay frozen and depend on the timestep alone, a table of precomputed
    outputs can replace them.
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
        """Encodes a training pair: the result of an edit, and the reference pictures that it was made from.

        Returns `latents` of the result and `reference_0` and so on, (1, 16, h, w) each. `image`: the result, whose
        latents are drawn from the VAE's posterior with `generator`. All pictures are scaled as in editing, to about
        `resolution`² pixels at most, so that no LoRA learns to shift or zoom. `parts`: holds the VAE as `vae`. Raises:
        BadInput without a reference.
        """
        if not references:
            raise BadInput("An editor is trained on pairs.", "Give each item the picture that it was made from.")
        vae, fitted = parts["vae"], partial(self.fitted, parts, resolution=resolution)
        latents = {"latents": qwen.to_latents(vae, fitted(image), "sample", generator).float()}
        for index, reference in enumerate(references):
            latents[f"reference_{index}"] = qwen.to_latents(vae, fitted(reference)).float()
        return latents

    def fitted(self, parts: Parts, image: Image.Image, resolution: int) -> Image.Image:
        """Returns a picture scaled as in editing, to about `resolution`² pixels at most; ignores `parts`."""
        return self._sizes(resolution).reference(image)

    def encode_words(self, parts: Parts, text: str, references: Sequence[Image.Image]) -> Tensors:
        """Encodes an instruction together with its reference pictures.

        Returns `prompt_embeds` (1, L, width). `parts`: holds the text encoder as `text_encoder`.
        """
        sizes = qwen.Sizes.of(self.spec)
        pictures = [sizes.vision(reference) for reference in references]
        cond = qwen.conditioning(
            parts["text_encoder"], self._processor, text, pictures, picture_label=sizes.picture_label
        )
        return {_EMBEDS: cond.embeds}

    def encode_preview(self, parts: Parts, preview: Preview) -> Tensors:
        """Encodes a preview, which is an edit to make during training; returns tensors by name.

        These are the tensors that `encode_words` returns for the instruction, and the latents of the pictures, source
        first, as `reference_0` and so on. If true_cfg is above 1, the encoded negative prompt is added, under names
        with the prefix `negative_`. `parts`: the text encoder and the VAE by component name. Raises: BadInput for a
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
        """Returns an edit to make, whose result serves as a class picture (of any person) for prior preservation.

        `words`: an instruction that names the class instead of the trigger word. `references`: the pictures to edit,
        the source first. `resolution`: ignored.
        """
        return EditItem(references[0], self.class_params(words, resolution, seed), tuple(references[1:]))

    def class_params(self, words: str, resolution: int, seed: int) -> EditParams:
        """Returns the parameters of an edit that makes a class picture (of any person) for prior preservation.

        They are the model's defaults, with `words` as the instruction. `words`: must name the class instead of the
        trigger word; `resolution`: ignored.
        """
        return self.spec.params(EditParams, instruction=words, seed=seed)

    def draw(self, parts: Parts, encoded: Tensors, preview: Preview, tick: Tick) -> Image.Image:
        """Makes a preview's edit with the LoRA in training, as the editor would; ignores few-step and caching settings.

        `parts`: the transformer and the VAE by component name; `encoded`: what `encode_preview` returned; `tick`:
        called after each step. The picture has the size of its scaled source. Raises: BadInput for a preview that is no
        edit.
        """
        references = _references(encoded)
        negative = (
            qwen.Conditioning(encoded["negative_prompt_embeds"], None) if "negative_prompt_embeds" in encoded else None
        )
        latents = qwen.sample(
            parts["transformer"],
            qwen.Conditioning(encoded[_EMBEDS], None),
            negative,
            _packed(references),
            [qwen.token_shape(picture) for picture in (references[0], *references)],
            [narrowed(preview, EditItem).params],
            self.schedule,
            tick,
        )
        return qwen.to_images(parts["vae"], latents)[0]

    def encoding_options(self) -> tuple[object, ...]:
        """Returns all settings on which cached encodings depend, so that they can be part of the cache keys.

        These are the settings of the base class (such as the encoders' precision), and the `Sizes` to which pictures
        are scaled.
        """
        return (*super().encoding_options(), qwen.Sizes.of(self.spec))

    def components(self, names: Sequence[str], base: str = "") -> tuple[Component, ...]:
        """Returns a Component (key, size and loading function) for each of the component names `names`, in order.

        If the model's registry row asks for it, the transformer's modulation layers are replaced by a table of
        precomputed outputs; no LoRA trained here changes these layers. `base`: the transformer's precision (nf4, int8);
        "" takes the precision that the row states.
        """
        parts = dict(zip(names, super().components(names, base), strict=True))
        if modulation.wanted(self.spec) and "transformer" in parts:
            parts["transformer"] = modulation.component(self.spec_with_base(base), self.folder)
        return tuple(parts.values())

    def predict(
        self, transformer: Transformer, batch: Tensors, noise: Tensor, sigma: Tensor, guidance: float
    ) -> Tensor:
        """Adds noise to the batch's latents and predicts the velocity; returns packed latents (B, n, 64) float32.

        `batch`: the encoded examples, by name; `noise`: normal noise of the latents' shape; `sigma` (B,): noise levels.
        If a table of precomputed outputs replaces the modulation layers, each noise level is first moved to the nearest
        one that the table has. `guidance` is ignored.
        """
        return super().predict(transformer, batch, noise, modulation.on_grid(transformer, sigma), guidance)

    def velocity(
        self, transformer: Transformer, batch: Tensors, noisy: Tensor, sigma: Tensor, guidance: float
    ) -> Tensor:
        """Predicts the velocity (noise − picture) of noisy latents (B, 16, h, w), given the clean references.

        `batch`: the references' latents and the encoded instructions, by name; `sigma` (B,): noise levels. Returns
        packed latents (B, n, 64), n being the number of the picture's own tokens. `guidance` is ignored.
        """
        references = _references(batch)
        shapes = [qwen.token_shape(picture) for picture in (noisy, *references)]
        cond = qwen.Conditioning(batch[_EMBEDS], batch.get(_MASK))
        return qwen.velocity(transformer, pack(noisy), _packed(references), cond, sigma, shapes)

    def collate(self, rows: Sequence[Tensors]) -> dict[str, Tensor]:
        """Concatenates the tensors of examples to one batch, by name.

        Shorter instructions are padded with zeros, where the batch's `prompt_mask` (B, L) is False; a batch without
        padding has no mask.
        """
        cond = qwen.pad([qwen.Conditioning(row[_EMBEDS], None) for row in rows])
        words = {_EMBEDS: cond.embeds} if cond.mask is None else {_EMBEDS: cond.embeds, _MASK: cond.mask}
        others = [
            {name: row[name] for name in row if name not in (_EMBEDS, _MASK)} for row in rows
        ]  # older rows: masks
        return stack(others) | words

    def tokens(self, params: TrainParams, references: int = 1) -> int:
        """Returns an estimate of the number of tokens of one training example.

        These are text tokens, and the packed latents of the edit's result and of its references. `params`: gives the
        resolution; `references`: the number of reference pictures.
        """
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
