"""What a family of models must tell the training loop; all else is the loop's own."""

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

Preview = GenerateParams | EditItem
P = TypeVar("P", GenerateParams, EditItem)

# Counted with `bench memory`'s step_bytes at the real sizes in bfloat16, per token and channel: what one block holds
# while it is computed again and walked backward (FLUX 80, Qwen 97; a tenth is added for what an allocator loses), and
# what stays of each until then, its input.
_BLOCK_BYTES = 108
_INPUT_BYTES = 2


class Family(ABC):
    """One family's way from pictures and words to a velocity; named by a registry row's `trainer`.

    Latents are (B, C, h, w), packed tokens (B, n, 4C), σ is (B,); C is 16, and 32 for FLUX.2.
    """

    targets: ClassVar[Mapping[str, Targets]]  # by the names that TrainParams.targets may have
    encoders: ClassVar[tuple[str, ...]]
    tokenizers: ClassVar[tuple[str, ...]]  # and processors: what the encoders are fed by

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder

    @abstractmethod
    def encode_images(
        self,
        parts: Mapping[str, Any],
        image: Image.Image,
        references: Sequence[Image.Image],
        resolution: int,
        generator: torch.Generator,
    ) -> Tensors:
        """A picture as `latents` (1, C, h, w), sampled from the VAE's posterior, and its references'."""

    @abstractmethod
    def fitted(self, parts: Mapping[str, Any], image: Image.Image, resolution: int) -> Image.Image:
        """A picture as it is encoded: scaled and cropped. Its mask takes the same way."""

    @abstractmethod
    def encode_words(self, parts: Mapping[str, Any], text: str, references: Sequence[Image.Image]) -> Tensors:
        """A caption or an instruction as the transformer's conditioning, one row."""

    @abstractmethod
    def encode_preview(self, parts: Mapping[str, Any], preview: Preview) -> Tensors:
        """All that `draw` needs once the encoders have left."""

    @abstractmethod
    def class_params(self, words: str, resolution: int, seed: int) -> Params:
        """The knobs with which a picture of the class is drawn: part of what it is."""

    @abstractmethod
    def class_preview(self, words: str, references: Sequence[Image.Image], resolution: int, seed: int) -> Preview:
        """What draws a picture of the class, for prior preservation."""

    @abstractmethod
    def draw(self, parts: Mapping[str, Any], encoded: Tensors, preview: Preview, tick: Tick) -> Image.Image:
        """A preview with the transformer as it is."""

    @abstractmethod
    def velocity(self, transformer: Any, batch: Tensors, noisy: Tensor, sigma: Tensor, guidance: float) -> Tensor:
        """What the transformer predicts for the noisy latents, without the references: packed (B, n, 4C)."""

    @abstractmethod
    def tokens(self, params: TrainParams, references: int = 1) -> int:
        """How long the sequence of one example is, about: what the memory estimate is made of."""

    @abstractmethod
    def text_tokens(self, references: int = 1) -> int:
        """How many of them are words, about."""

    @cached_property
    def schedule(self) -> Mapping[str, Any]:
        """The scheduler's configuration."""
        return components.scheduler(self.folder)

    def reads_whole(self, text: str) -> bool:
        """Whether a caption is encoded to its end, as its tokens tell; families that cut nothing off read all."""
        del text
        return True

    def targeted(self, params: TrainParams) -> Targets:
        """The layers that a training's LoRA lies on. Raises: BadInput for a choice that the family has not."""
        if params.targets not in self.targets:
            raise BadInput(
                f"There are no targets named {params.targets}.", f"Choose one of: {', '.join(self.targets)}."
            )
        return self.targets[params.targets]

    def check_preview(self, preview: Preview) -> None:
        """Refuse what could only fail at the first preview. Raises: BadInput."""
        drawn = preview.params if isinstance(preview, EditItem) else preview
        demand_steps(self.schedule, drawn.steps)

    def components(self, names: Sequence[str], base: str = "") -> tuple[Component, ...]:
        """Parts of the model as a plan leases them, the transformer in the format `base` where one is named."""
        rows = {"transformer": self.trained(base)}
        return tuple(components.component(rows.get(name, self.spec), self.folder, name) for name in names)

    def trained(self, base: str) -> ModelSpec:
        """The row with its transformer held in the format `base`, or as it is where none is named."""
        if base in ("", components.form_of(self.spec, self.folder, "transformer")):
            return self.spec
        return components.holding(self.spec, "transformer", base)

    def reading(self) -> tuple[object, ...]:
        """What of the row changes an encoding though the files are the same; each part says itself by its `repr`."""
        held = [components.form_of(self.spec, self.folder, name) for name in self.encoders]
        return (*held, components.weight_dtype(self.spec), self.spec.options.get("full_width", ()))

    def weights_hash(self, names: Sequence[str]) -> str:
        """What tells these parts' weights from others, wherever they are held."""
        return weights_hash(self.folder, [components.held_in(self.spec, self.folder, name).name for name in names])

    def collate(self, rows: Sequence[Tensors]) -> dict[str, Tensor]:
        """Examples of equal shapes to one batch."""
        return stack(rows)

    def target(self, latents: Tensor, noise: Tensor) -> Tensor:
        """The velocity to learn: dx_σ/dσ of x_σ = (1 − σ)·x₀ + σ·ε."""
        return noise - latents

    def encode_mask(self, parts: Mapping[str, Any], mask: Image.Image, resolution: int, latents: Tensor) -> Tensor:
        """How much of each latent a mask covers, (1, 1, h, w) in 0…1."""
        fitted = self.fitted(parts, to_rgb(mask), resolution)
        covered = to_pixels([fitted])[:, :1] * 0.5 + 0.5
        return adaptive_avg_pool2d(covered, tuple(latents.shape[-2:]))

    def predict(self, transformer: Any, batch: Tensors, noise: Tensor, sigma: Tensor, guidance: float) -> Tensor:
        """The velocity at x_σ = (1 − σ)·x₀ + σ·ε, packed, in float32."""
        level = sigma.view(-1, 1, 1, 1)
        noisy = (1 - level) * batch["latents"] + level * noise
        return self.velocity(transformer, batch, noisy, sigma, guidance).float()

    def losses(self, transformer: Any, batch: Tensors, noise: Tensor, sigma: Tensor, guidance: float) -> Tensor:
        """Each example's mean squared error of the velocity (B,), over the target's tokens alone.

        A batch's `mask` (B, 1, h, w) says how much each place counts; its mean is taken picture by picture, so that a
        small mask makes no small loss.
        """
        latents = batch["latents"]
        target = pack(self.target(latents, noise))
        errors = (self.predict(transformer, batch, noise, sigma, guidance) - target).square()
        if "mask" in batch:
            mask = pack(batch["mask"].expand_as(latents))
            errors = errors * (mask / mask.mean(dim=(1, 2), keepdim=True))
        return errors.mean(dim=(1, 2))

    def shift(self, latents: Tensor) -> float:
        """The μ by which the model's own scheduler shifts noise levels at this size."""
        return dynamic_shift(self.schedule, latents.shape[-2] * latents.shape[-1] // 4)

    def disk(self, params: TrainParams) -> DiskUse:
        """A checkpoint is the adapter in float32 and its optimiser's state; an item its latents, and words twice."""
        config = components.config(self.folder, "transformer")
        words = self.text_tokens()
        latents = (self.tokens(params) - words) * config["in_channels"] * 4
        weights = self._adapter_weights(params, config)
        return DiskUse(
            checkpoint=weights * self._kept_bytes(params),
            item=latents + 2 * words * config["joint_attention_dim"] * components.weight_dtype(self.spec).itemsize,
        )

    def _adapter_weights(self, params: TrainParams, config: Mapping[str, Any]) -> int:
        hidden: int = config["num_attention_heads"] * config["attention_head_dim"]
        widths: int = sum(config[key] * width for key, width in self.targeted(params).widths.items())
        return params.rank * hidden * widths

    def working_bytes(self, params: TrainParams, references: int = 1) -> int:
        """What a training takes beside the weights: adapter with gradient and average, its optimiser, activations.

        `references`: how many pictures an example is made from, at most; families without references have none.
        The GPU manager replaces it by what it measured.
        """
        config = components.config(self.folder, "transformer")
        hidden: int = config["num_attention_heads"] * config["attention_head_dim"]
        depth: int = sum(config[key] for key in self.targeted(params).widths)
        adapter = self._adapter_weights(params, config) * (4 + self._kept_bytes(params))
        wider = components.weight_dtype(self.spec).itemsize // 2  # than bfloat16
        channels = params.batch_size * self.tokens(params, references) * hidden * wider
        whole = 1 if params.gradient_checkpointing else depth
        return adapter + channels * (whole * _BLOCK_BYTES + depth * _INPUT_BYTES)

    def _kept_bytes(self, params: TrainParams) -> int:
        """What is kept of one trained weight, in float32: itself, its average, its optimiser's state."""
        average = 4 if params.ema_decay else 0
        return 4 + average + OPTIMIZERS[params.optimizer].state_bytes


def narrowed(preview: Preview, kind: type[P]) -> P:
    """A preview of the kind that a family draws. Raises: BadInput."""
    if isinstance(preview, kind):
        return preview
    raise BadInput(
        f"A preview of this training must be {kind.__name__}, not {type(preview).__name__}.",
        "Ask for another preview.",
    )
