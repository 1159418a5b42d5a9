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
    """Base class of what the training loop needs of a model family: encoding, predicting velocities, previews, sizes.

    A registry row's `trainer` names the subclass. Latents are (B, C, h, w), packed tokens (B, n, 4C), σ is (B,). C
    depends on the family's VAE.
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
        """Encodes a picture as `latents` (1, C, h, w), sampled from the VAE's posterior, and its reference pictures.

        `resolution`: the picture is trained at about `resolution`² pixels. Returns tensors by name.
        """

    @abstractmethod
    def fitted(self, parts: Parts, image: Image.Image, resolution: int) -> Image.Image:
        """Returns a picture scaled and cropped as it is before encoding; masks are fitted in the same way."""

    @abstractmethod
    def encode_words(self, parts: Parts, text: str, references: Sequence[Image.Image]) -> Tensors:
        """Encodes a caption or an instruction, with its references; returns the transformer's conditioning by name."""

    @abstractmethod
    def encode_preview(self, parts: Parts, preview: Preview) -> Tensors:
        """Encodes all that `draw` needs for a preview; returns tensors by name. The encoders can then be unloaded."""

    def encode_mask(self, parts: Parts, mask: Image.Image, resolution: int, latents: Tensor) -> Tensor:
        """Returns the share of each latent's area that the mask's white covers, (1, 1, h, w) in 0…1.

        `resolution`: that of the picture; `latents`: those of the picture, for their h and w.
        """
        fitted = self.fitted(parts, to_rgb(mask), resolution)
        covered = to_pixels([fitted])[:, :1] * 0.5 + 0.5
        height, width = latents.shape[-2:]
        return adaptive_avg_pool2d(covered, (height, width))

    def fits_encoder(self, text: str) -> bool:
        """Returns whether the text encoder reads a caption to its end; True unless a family overrides this."""
        del text
        return True

    def encoding_options(self) -> tuple[object, ...]:
        """Returns all options that change the encoding of the same files; their `repr` becomes part of cache keys."""
        held = [components.form_of(self.spec, self.folder, name) for name in self.encoders]
        return (*held, components.weight_dtype(self.spec), self.spec.options.get("full_width", ()))

    def weights_hash(self, names: Sequence[str]) -> str:
        """Returns a hash of the weight files of the components called `names`."""
        return weights_hash(self.folder, [components.held_in(self.spec, self.folder, name).name for name in names])

    # ── previews and class pictures ─────────────────────────────────────────────────────────────

    @abstractmethod
    def class_params(self, words: str, resolution: int, seed: int) -> Params:
        """Returns the parameters for generating a picture of the class; they are part of its cache key.

        `words`: a caption that names the class instead of the character.
        """

    @abstractmethod
    def class_preview(self, words: str, references: Sequence[Image.Image], resolution: int, seed: int) -> Preview:
        """Returns the preview that generates a picture of the class (any person) for prior preservation.

        `words`: a caption that names the class instead of the character; `references`: those of the captioned item.
        """

    @abstractmethod
    def draw(self, parts: Parts, encoded: Tensors, preview: Preview, tick: Tick) -> Image.Image:
        """Generates a preview with the transformer and the LoRA in training, and returns the picture.

        `encoded`: what `encode_preview` returned; `tick`: called after each step.
        """

    @cached_property
    def schedule(self) -> Mapping[str, Any]:
        """Returns the scheduler's configuration from the model's folder."""
        return components.scheduler(self.folder)

    def check_preview(self, preview: Preview) -> None:
        """Checks that a preview has enough steps for the model's noise schedule. Raises: BadInput."""
        drawn = preview.params if isinstance(preview, EditItem) else preview
        demand_steps(self.schedule, drawn.steps)

    # ── the loss ────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def velocity(
        self, transformer: Transformer, batch: Tensors, noisy: Tensor, sigma: Tensor, guidance: float
    ) -> Tensor:
        """Predicts the velocity (noise − picture) of the noisy latents; returns packed latents (B, n, 4C).

        `batch`: the examples' tensors by name; n is the number of the picture's tokens, without those of references;
        `guidance`: the value for models that are told one.
        """

    def collate(self, rows: Sequence[Tensors]) -> dict[str, Tensor]:
        """Concatenates the tensors of examples of equal shapes to those of one batch, by name."""
        return stack(rows)

    def shift(self, latents: Tensor) -> float:
        """Returns the μ by which the model's scheduler shifts noise levels for latents of this size."""
        return dynamic_shift(self.schedule, latents.shape[-2] * latents.shape[-1] // 4)

    def target(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Returns the velocity that is to be predicted: ε − x₀, the derivative by σ of x_σ = (1 − σ)·x₀ + σ·ε."""
        return noise - latents

    def predict(
        self, transformer: Transformer, batch: Tensors, noise: Tensor, sigma: Tensor, guidance: float
    ) -> Tensor:
        """Adds noise to the batch's latents and predicts the velocity; returns packed latents (B, n, 4C) float32.

        The noisy latents are x_σ = (1 − σ)·x₀ + σ·ε, where `sigma` (B,) has the levels and `noise` (B, C, h, w) is ε.
        """
        level = sigma.view(-1, 1, 1, 1)
        noisy = (1 - level) * batch["latents"] + level * noise
        return self.velocity(transformer, batch, noisy, sigma, guidance).float()

    def losses(self, transformer: Transformer, batch: Tensors, noise: Tensor, sigma: Tensor, guidance: float) -> Tensor:
        """Returns the mean squared error of each example's predicted velocity, (B,), over the picture's tokens alone.

        A batch's `mask` (B, 1, h, w) weights the errors. Each example's weights are divided by their mean, so that a
        small mask makes no small loss.
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
        """Returns an estimate of the number of tokens of one example, picture and text, with `references` pictures."""

    @abstractmethod
    def text_tokens(self, references: int = 1) -> int:
        """Returns an estimate of the number of text tokens of one example, with `references` pictures."""

    def targeted(self, params: TrainParams) -> Targets:
        """Returns the layers that get a LoRA, by `params.targets`.

        Raises: BadInput for a choice that the family lacks.
        """
        if params.targets not in self.targets:
            raise BadInput(
                f"There are no targets named {params.targets}.", f"Choose one of: {', '.join(self.targets)}."
            )
        return self.targets[params.targets]

    def components(self, names: Sequence[str], base: str = "") -> tuple[Component, ...]:
        """Returns the descriptions of the components with these names, for a stage.

        `base`: the precision of the transformer (nf4, int8); "" takes that of the model's registry row.
        """
        rows = {"transformer": self.spec_with_base(base)}
        return tuple(components.component(rows.get(name, self.spec), self.folder, name) for name in names)

    def spec_with_base(self, base: str) -> ModelSpec:
        """Returns the registry row with its transformer in the precision `base`; unchanged where `base` is ""."""
        if base in ("", components.form_of(self.spec, self.folder, "transformer")):
            return self.spec
        return components.holding(self.spec, "transformer", base)

    def disk(self, params: TrainParams) -> DiskUse:
        """Estimates the bytes of a checkpoint (float32 LoRA, optimiser) and of an encoded item (latents, text)."""
        config = components.config(self.folder, "transformer")
        words = self.text_tokens()
        latents = (self.tokens(params) - words) * config["in_channels"] * 4
        weights = self._adapter_weights(params, config)
        return DiskUse(
            checkpoint=weights * self._kept_bytes(params),
            item=latents + 2 * words * config["joint_attention_dim"] * components.weight_dtype(self.spec).itemsize,
        )

    def working_bytes(self, params: TrainParams, references: int = 1) -> int:
        """Estimates the bytes that a training takes beside the frozen weights.

        These are the LoRA, its gradients, its average, the optimiser's state and the activations. `references`: the
        most reference pictures of any example; families without references ignore it. The GPU manager replaces this
        estimate by what it measures.
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
    """Returns a preview typed as the class `kind`, after checking that it is of that class. Raises: BadInput."""
    if isinstance(preview, kind):
        return preview
    raise BadInput(
        f"A preview of this training must be {kind.__name__}, not {type(preview).__name__}.",
        "Ask for another preview.",
    )
