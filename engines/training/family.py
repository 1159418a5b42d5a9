"""Defines the interface through which the training loop uses a model family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from engines.api.errors import BadInput
from engines.api.params import GenerateParams, Params, TrainParams
from engines.api.protocols import Component, DiskUse, EditItem, ModelSpec
from engines.drawing.latents import pack, to_pixels
from engines.drawing.sampling import Tick, demand_steps, dynamic_shift
from engines.pictures import to_rgb
from engines.training.data import Tensors, stack, weights_hash
from engines.training.optimizers import OPTIMIZERS
from engines.training.targets import Targets
from engines.weights import components

Transformer = Any  # a diffusers model, whose classes are placeholders without types to mypy
Parts = Mapping[str, Any]  # a stage's models by component name, of diffusers or transformers
Preview = GenerateParams | EditItem
P = TypeVar("P", GenerateParams, EditItem)

# Measured with `bench memory`'s step_bytes at the real sizes in bfloat16, per token and channel: the bytes that one
# block holds while it is recomputed and its gradients are computed (FLUX 80, Qwen 97; a tenth is added for what an
# allocator loses), and those of each block's input, which stays until then.
_BLOCK_BYTES = 108
_INPUT_BYTES = 2


class Family(ABC):
    """Base class of the model families (such as FLUX) that can be trained: what the training loop needs of each.

    A model's registry row names the subclass in its field `trainer`. Shapes in its methods: latents (B, C, h, w),
    packed latents (B, n, 4C), noise levels σ (B,). C depends on the VAE; n counts tokens of 2 × 2 latents.
    """

    targets: ClassVar[Mapping[str, Targets]]  # by the names that TrainParams.targets may have
    encoders: ClassVar[tuple[str, ...]]
    tokenizers: ClassVar[tuple[str, ...]]  # the encoders' tokenizers and processors

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder

    # ── encoding ────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def encode_images(
        self,
        parts: Parts,
        image: Image.Image,
        references: Sequence[Image.Image],
        resolution: int,
        generator: torch.Generator,
    ) -> Tensors:
        """Encodes a training picture and its reference pictures; returns tensors by name.

        The entry `latents` (1, C, h, w) is the picture, drawn from the VAE's posterior with `generator`; an editor adds
        an entry for each reference picture. `parts`: the loaded models, by component name; `resolution`: the picture is
        trained at about `resolution`² pixels.
        """

    @abstractmethod
    def fitted(self, parts: Parts, image: Image.Image, resolution: int) -> Image.Image:
        """Returns a picture, scaled and cropped to the size at which `encode_images` encodes it.

        A mask is fitted by the same method. `parts`: the loaded models, by component name; `resolution`: the size has
        about `resolution`² pixels.
        """

    @abstractmethod
    def encode_words(self, parts: Parts, text: str, references: Sequence[Image.Image]) -> Tensors:
        """Encodes a caption, or for an editor an instruction with its reference pictures.

        `parts`: the loaded models, by component name. Returns the tensors by name (such as the prompt's embeddings)
        that the transformer takes as conditioning.
        """

    @abstractmethod
    def encode_preview(self, parts: Parts, preview: Preview) -> Tensors:
        """Encodes the prompt and the input pictures of a preview, so that the encoders can then be unloaded.

        Returns the tensors that `draw` needs, by name. `parts`: the loaded models, by component name.
        """

    def encode_mask(self, parts: Parts, mask: Image.Image, resolution: int, latents: Tensor) -> Tensor:
        """Returns for each latent of a picture how much of its area is white in the mask, (1, 1, h, w) in 0…1.

        The mask is first scaled and cropped as the picture was. `parts`: the loaded models, by component name;
        `resolution`: the picture is trained at about `resolution`² pixels; `latents`: the picture's latents.
        """
        fitted = self.fitted(parts, to_rgb(mask), resolution)
        covered = to_pixels([fitted])[:, :1] * 0.5 + 0.5
        height, width = latents.shape[-2:]
        return adaptive_avg_pool2d(covered, (height, width))

    def fits_encoder(self, text: str) -> bool:
        """Returns whether a caption is short enough that the text encoder does not truncate it.

        True unless a family overrides this.
        """
        del text
        return True

    def encoding_options(self) -> tuple[object, ...]:
        """Returns all options, besides the files, on which encodings depend; their `repr` goes into cache keys."""
        held = [components.form_of(self.spec, self.folder, name) for name in self.encoders]
        return (*held, components.weight_dtype(self.spec), self.spec.options.get("full_width", ()))

    def weights_hash(self, names: Sequence[str]) -> str:
        """Returns a hash of the weight files of the model's components with these names, such as "transformer"."""
        return weights_hash(self.folder, [components.held_in(self.spec, self.folder, name).name for name in names])

    # ── previews and class pictures ─────────────────────────────────────────────────────────────

    @abstractmethod
    def class_params(self, words: str, resolution: int, seed: int) -> Params:
        """Returns the parameters for generating a picture of the class (any person) for prior preservation.

        `words`: a caption with the class word (such as "person") instead of the character's trigger; `resolution`: the
        picture's width and height in pixels, ignored by editors. The parameters are part of the picture's cache key.
        """

    @abstractmethod
    def class_preview(self, words: str, references: Sequence[Image.Image], resolution: int, seed: int) -> Preview:
        """Returns the request for generating a picture of the class (any person) for prior preservation.

        `words`: a caption with the class word (such as "person") instead of the character's trigger; `references`: for
        an editor, the input pictures of the item from which the caption comes; `resolution`: the picture's width and
        height in pixels, ignored by editors.
        """

    @abstractmethod
    def draw(self, parts: Parts, encoded: Tensors, preview: Preview, tick: Tick) -> Image.Image:
        """Generates a preview picture with the transformer and the LoRA in training, and returns it.

        `parts`: the loaded models, by component name; `encoded`: what `encode_preview` returned; `tick`: called after
        each denoising step.
        """

    @cached_property
    def schedule(self) -> Mapping[str, Any]:
        """Returns the scheduler's configuration from the model's folder."""
        return components.scheduler(self.folder)

    def check_preview(self, preview: Preview) -> None:
        """Raises BadInput if a preview has too few denoising steps for the model's noise schedule."""
        drawn = preview.params if isinstance(preview, EditItem) else preview
        demand_steps(self.schedule, drawn.steps)

    # ── the loss ────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def velocity(
        self, transformer: Transformer, batch: Tensors, noisy: Tensor, sigma: Tensor, guidance: float
    ) -> Tensor:
        """Predicts the velocity (noise − picture) for noisy latents; returns packed latents (B, n, 4C).

        `batch`: the examples' encoded tensors, by name; `noisy`: (B, C, h, w); `sigma`: the noise levels (B,);
        `guidance`: the guidance scale, for models that take it as input. n counts the picture's own tokens, not those
        of references.
        """

    def collate(self, rows: Sequence[Tensors]) -> dict[str, Tensor]:
        """Concatenates the tensors (1, …) of several examples, and returns the batches (B, …) by name."""
        return stack(rows)

    def shift(self, latents: Tensor) -> float:
        """Returns the scheduler's shift of noise levels for latents of this size, as the logarithm μ of the factor."""
        return dynamic_shift(self.schedule, latents.shape[-2] * latents.shape[-1] // 4)

    def target(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Returns the velocity that the model is trained to predict: noise − latents.

        It is the derivative by σ of the noisy latents (1 − σ)·x₀ + σ·ε.
        """
        return noise - latents

    def predict(
        self, transformer: Transformer, batch: Tensors, noise: Tensor, sigma: Tensor, guidance: float
    ) -> Tensor:
        """Adds noise to the latents of a batch and predicts the velocity; returns packed latents (B, n, 4C) float32.

        `batch`: the examples' encoded tensors, by name; `noise`: (B, C, h, w); `sigma`: the noise levels (B,);
        `guidance`: the guidance scale, for models that take it as input.
        """
        level = sigma.view(-1, 1, 1, 1)
        noisy = (1 - level) * batch["latents"] + level * noise
        return self.velocity(transformer, batch, noisy, sigma, guidance).float()

    def losses(self, transformer: Transformer, batch: Tensors, noise: Tensor, sigma: Tensor, guidance: float) -> Tensor:
        """Returns each example's mean squared error of the predicted velocity, (B,), over the picture's own tokens.

        The parameters are those of `predict`. If the batch has a `mask` (B, 1, h, w), it weights the errors; its
        weights are scaled to a mean of 1 in each example, so that a small mask does not make the loss small.
        """
        latents = batch["latents"]
        target = pack(self.target(latents, noise))
        errors = (self.predict(transformer, batch, noise, sigma, guidance) - target).square()
        if "mask" in batch:
            mask = pack(batch["mask"].expand_as(latents))
            errors = errors * (mask / mask.mean(dim=(1, 2), keepdim=True))
        return errors.mean(dim=(1, 2))

    # ── what is trained, and its size ───────────────────────────────────────────────────────────

    @abstractmethod
    def tokens(self, params: TrainParams, references: int = 1) -> int:
        """Returns an estimate of how many tokens the transformer gets for one example: picture, references and text.

        `references`: the number of reference pictures; models that take none ignore it.
        """

    @abstractmethod
    def text_tokens(self, references: int = 1) -> int:
        """Returns an estimate of how many of an example's tokens come from the text encoder.

        `references`: the number of reference pictures, which an editor's text encoder reads too; other models ignore
        it.
        """

    def targeted(self, params: TrainParams) -> Targets:
        """Returns the layers that get a LoRA: those that the choice `params.targets` (such as "attention") names.

        Raises: BadInput for a choice that the family does not have.
        """
        if params.targets not in self.targets:
            raise BadInput(
                f"There are no targets named {params.targets}.", f"Choose one of: {', '.join(self.targets)}."
            )
        return self.targets[params.targets]

    def components(self, names: Sequence[str], base: str = "") -> tuple[Component, ...]:
        """Returns descriptions of the components with these names (such as "vae").

        Each has a key (equal for equal weights), the bytes on the GPU, and the function that loads the component.
        `base`: the precision of the transformer, such as nf4; "" for that of the installed model.
        """
        rows = {"transformer": self.spec_with_base(base)}
        return tuple(components.component(rows.get(name, self.spec), self.folder, name) for name in names)

    def spec_with_base(self, base: str) -> ModelSpec:
        """Returns the model's registry row with its transformer in the precision `base`, such as nf4.

        With "" for `base` the row is returned unchanged.
        """
        if base in ("", components.form_of(self.spec, self.folder, "transformer")):
            return self.spec
        return components.holding(self.spec, "transformer", base)

    def disk(self, params: TrainParams) -> DiskUse:
        """Estimates the bytes on disk of one checkpoint, and of one training picture after encoding.

        A checkpoint is the float32 LoRA and the optimiser's state; an encoded picture is its latents and text
        embeddings.
        """
        config = components.config(self.folder, "transformer")
        words = self.text_tokens()
        latents = (self.tokens(params) - words) * config["in_channels"] * 4
        weights = self._adapter_weights(params, config)
        return DiskUse(
            checkpoint=weights * self._kept_bytes(params),
            item=latents + 2 * words * config["joint_attention_dim"] * components.weight_dtype(self.spec).itemsize,
        )

    def working_bytes(self, params: TrainParams, references: int = 1) -> int:
        """Estimates the bytes of GPU memory that a training needs in addition to the frozen weights.

        They hold the LoRA, its gradients, its average, the optimiser's state and the activations. `references`: the
        largest number of reference pictures of an example; models that take none ignore it. The GPU manager uses this
        estimate until it has measured the real value.
        """
        config = components.config(self.folder, "transformer")
        hidden: int = config["num_attention_heads"] * config["attention_head_dim"]
        depth: int = sum(config[key] for key in self.targeted(params).widths)
        adapter = self._adapter_weights(params, config) * (4 + self._kept_bytes(params))
        wider = components.weight_dtype(self.spec).itemsize // 2  # than bfloat16
        channels = params.batch_size * self.tokens(params, references) * hidden * wider
        recomputed = 1 if params.gradient_checkpointing else depth
        return adapter + channels * (recomputed * _BLOCK_BYTES + depth * _INPUT_BYTES)

    def _adapter_weights(self, params: TrainParams, config: Mapping[str, Any]) -> int:
        """Returns the number of weights of the LoRA."""
        hidden: int = config["num_attention_heads"] * config["attention_head_dim"]
        widths: int = sum(config[key] * width for key, width in self.targeted(params).widths.items())
        return params.rank * hidden * widths

    def _kept_bytes(self, params: TrainParams) -> int:
        """Returns a checkpoint's bytes for each trained weight: the weight, its average and its optimiser state."""
        average = 4 if params.ema_decay else 0
        return 4 + average + OPTIMIZERS[params.optimizer].state_bytes


def narrowed(preview: Preview, kind: type[P]) -> P:
    """Returns a preview unchanged if it is an instance of `kind`; this tells the type checker its class.

    Raises: BadInput if it is an instance of another class.
    """
    if isinstance(preview, kind):
        return preview
    raise BadInput(
        f"A preview of this training must be {kind.__name__}, not {type(preview).__name__}.",
        "Ask for another preview.",
    )
