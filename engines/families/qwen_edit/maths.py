"""Holds the functions that compute with the components of Qwen-Image-Edit, for editing and for training.

Conventions, as in diffusers' QwenImageEditPlusPipeline: x_σ = (1 − σ)·x₀ + σ·noise. The transformer predicts noise − x₀
for the tokens of the target, the picture to generate; the tokens of the clean references follow those of the target.
`timestep` is σ itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from engines.api.errors import BadInput
from engines.api.params import EditParams
from engines.api.protocols import ModelSpec
from engines.drawing.latents import from_pixels, pack, resized, to_pixels, unpack
from engines.drawing.sampling import Tick, euler, noise, sigmas
from engines.drawing.shortcuts import branch
from engines.families.qwen_edit.processor import IMAGE_PAD, QwenEditProcessor
from engines.weights import modulation

__all__ = [
    "Conditioning", "Sizes", "conditioning", "demand_words", "guided", "latent_factor", "pack", "pad", "processor",
    "reference_size", "sample", "to_images", "to_latents", "token_shape", "unpack", "velocity", "vision_inputs",
]  # fmt: skip

Shape = tuple[int, int, int]  # (1, rows, columns) of packed tokens

DROPPED_TOKENS = 64  # the system prompt and the user header, in Qwen's tokenizer
TEMPLATE = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new "
    "image that meets the user's requirements while maintaining consistency with the original input where "
    "appropriate.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"

Transformer = Any  # diffusers' QwenImageTransformer2DModel, a placeholder without types to mypy
Vae = Any  # diffusers' AutoencoderKLQwenImage, likewise


class Conditioning(NamedTuple):
    """Holds B instructions, each encoded together with its pictures.

    `embeds` (B, L, width): the text encoder's hidden states; `mask` (B, L): True for tokens, False for padding, None
    where no instruction is padded. A mask of True alone would ask the GPU for its values at every step.
    """

    embeds: Tensor  # (B, L, width)
    mask: Tensor | None  # (B, L) bool

    def to(self, *args: Any, **kwargs: Any) -> Conditioning:
        """Returns a copy with `Tensor.to` applied to the embeds; the mask stays boolean, on the embeds' device."""
        embeds = self.embeds.to(*args, **kwargs)
        return Conditioning(embeds, None if self.mask is None else self.mask.to(embeds.device))


@dataclass(frozen=True)
class Sizes:
    """Holds the sizes to which pictures are scaled for the VAE and for the vision-language model (`vision_…`).

    `reference_area`, `vision_area`: the number of pixels of a scaled picture. `multiple`, `vision_multiple`: sides
    become multiples of this number of pixels. `picture_label`: the text before each picture in the prompt, with {} for
    its number.
    """

    reference_area: int = 1024 * 1024
    vision_area: int = 384 * 384
    multiple: int = 32
    vision_multiple: int = 32
    picture_label: str = "Picture {}: "

    @classmethod
    def of(cls, spec: ModelSpec) -> Sizes:
        """Reads the sizes from the options of a model's registry row.

        Sizes that the row does not state are those of Qwen-Image-Edit-2509 and -2511.
        """
        names = cls.__dataclass_fields__
        return cls(**{name: value for name, value in spec.options.items() if name in names})

    def reference(self, image: Image.Image) -> Image.Image:
        """Returns a picture scaled for the VAE; the result of an edit has the size of its scaled source."""
        return resized(image, *reference_size(*image.size, self.reference_area, self.multiple))

    def vision(self, image: Image.Image) -> Image.Image:
        """Returns a picture scaled for the vision-language model."""
        return resized(image, *reference_size(*image.size, self.vision_area, self.vision_multiple))


def reference_size(width: int, height: int, area: int, multiple: int) -> tuple[int, int]:
    """Returns the size (width, height) that has about `area` pixels and the aspect ratio of `width` × `height`.

    Both sides are multiples of `multiple`. Source: `calculate_dimensions` in diffusers'
    pipeline_qwenimage_edit_plus.py.
    """
    ratio = width / height
    wide = math.sqrt(area * ratio)
    w, h = (max(multiple, round(side / multiple) * multiple) for side in (wide, wide / ratio))
    return w, h


def latent_factor(vae_config: Mapping[str, Any]) -> int:
    """Returns the side, in pixels, of the square that one latent of this VAE represents."""
    return int(2 ** len(vae_config["temperal_downsample"]))


def token_shape(latents: Tensor) -> Shape:
    """Returns the grid of tokens (frames, rows, columns), which is (1, h/2, w/2) for latents (B, 16, h, w)."""
    return (1, latents.shape[-2] // 2, latents.shape[-1] // 2)


# ── words and pictures to conditioning ──────────────────────────────────────────────────────────


def processor(folder: Path) -> Any:
    """Loads the processor (tokenizer and picture settings) from a model's folder; needs no torchvision."""
    return QwenEditProcessor.from_pretrained(folder / "processor")


def vision_inputs(model: Any, processor: Any, texts: Sequence[str], images: Sequence[Image.Image]) -> dict[str, Tensor]:
    """Returns the keyword arguments of Qwen2.5-VL's forward or generate for prompts and their pictures.

    `texts`: the prompts, with an image placeholder for each picture; `images`: the pictures of all prompts, in the
    order of these placeholders. The tensors are on the model's device. They include `mm_token_type_ids`: without it,
    transformers 5 gives image tokens no 3-D positions, and does not warn.
    """
    inputs = dict(processor(text=list(texts), images=list(images) or None, padding=True, return_tensors="pt"))
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == model.config.image_token_id).to(torch.int32)
    return {name: value.to(model.device) for name, value in inputs.items()}


def demand_words(text: str) -> None:
    """Raises BadInput for an instruction or a negative prompt with the model's own mark for a picture in it."""
    if IMAGE_PAD in text:
        raise BadInput(f"{IMAGE_PAD} stands for a picture to this model.", "Take it out of the words.")


@torch.no_grad()
def conditioning(
    text_encoder: Any,
    processor: Any,
    instruction: str,
    images: Sequence[Image.Image],
    *,
    picture_label: str = Sizes.picture_label,
) -> Conditioning:
    """Encodes one instruction together with its pictures; returns a Conditioning of one row.

    The tokens of the system prompt are left out. `images`: scaled by `Sizes.vision`; `picture_label`: the text before
    each picture, with {} for its number. Raises: BadInput for an instruction with the model's mark for a picture in it.
    """
    demand_words(instruction)
    pictures = "".join(picture_label.format(index + 1) + PICTURE for index in range(len(images)))
    inputs = vision_inputs(text_encoder, processor, [TEMPLATE.format(pictures + instruction)], images)
    hidden = text_encoder(**inputs, output_hidden_states=True).hidden_states[-1]
    kept = hidden[inputs["attention_mask"].bool()][DROPPED_TOKENS:]
    return Conditioning(kept[None], None)


def pad(rows: Sequence[Conditioning]) -> Conditioning:
    """Concatenates encoded instructions, a row each, to a batch; its mask excludes the zeros that pad shorter ones."""
    lengths = torch.tensor([row.embeds.shape[1] for row in rows])
    longest = int(lengths.max())
    embeds = [torch.nn.functional.pad(row.embeds, (0, 0, 0, longest - row.embeds.shape[1])) for row in rows]
    mask = torch.arange(longest) < lengths[:, None]
    return Conditioning(torch.cat(embeds), None if mask.all() else mask.to(embeds[0].device))


# ── pictures to latents and back ────────────────────────────────────────────────────────────────


@torch.no_grad()
def to_latents(
    vae: Vae,
    images: Sequence[Image.Image] | Image.Image | Tensor,
    mode: Literal["mode", "sample"] = "mode",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Encodes pictures of one size, or pixels (B, 3, H, W) in −1…1, as normalised latents (B, 16, h, w).

    `mode`: "mode" takes the mode of the VAE's posterior (for references); "sample" draws from it with `generator` (for
    training targets).
    """
    pixels = (
        images if isinstance(images, Tensor) else to_pixels([images] if isinstance(images, Image.Image) else images)
    )
    spread = vae.encode(pixels[:, :, None].to(vae.device, vae.dtype)).latent_dist
    mean, std = _statistics(vae)
    latents: Tensor = spread.sample(generator) if mode == "sample" else spread.mode()
    return ((latents - mean) / std)[:, :, 0]


@torch.no_grad()
def to_images(vae: Vae, latents: Tensor) -> list[Image.Image]:
    """Decodes normalised latents (B, 16, h, w) to pictures."""
    mean, std = _statistics(vae)
    raw = latents[:, :, None].to(vae.device, vae.dtype) * std + mean
    return from_pixels(vae.decode(raw, return_dict=False)[0][:, :, 0])


def _statistics(vae: Vae) -> tuple[Tensor, Tensor]:
    """Returns the latents' mean and standard deviation, one a channel, shaped for (B, C, frames, h, w)."""
    numbers = torch.tensor([vae.config.latents_mean, vae.config.latents_std], device=vae.device, dtype=vae.dtype)
    mean, std = numbers.view(2, 1, -1, 1, 1, 1)
    return mean, std


# ── denoising ───────────────────────────────────────────────────────────────────────────────────


def velocity(
    transformer: Transformer,
    packed_target: Tensor,
    packed_refs: Tensor | None,
    cond: Conditioning,
    sigma: Tensor | float,
    shapes: Sequence[Shape],
) -> Tensor:
    """Predicts the velocity (noise − x₀) of the target's packed latents (B, n, 64); returns (B, n, 64).

    The target is the picture to generate. `packed_refs`: the packed latents (B, m, 64) of all references, one after
    another; None for none. `cond`: the encoded instructions. `sigma`: the noise level 0…1, one number or (B,).
    `shapes`: the token grid of the target, then that of each reference; every row of the batch has these grids.
    """
    batch, length, _ = packed_target.shape
    tokens = packed_target if packed_refs is None else torch.cat([packed_target, packed_refs], dim=1)
    timestep = torch.as_tensor(sigma, device=tokens.device, dtype=tokens.dtype).expand(batch)
    predicted: Tensor = transformer(
        hidden_states=tokens,
        timestep=timestep,
        guidance=None,
        encoder_hidden_states=cond.embeds.to(tokens.device, tokens.dtype),
        encoder_hidden_states_mask=None if cond.mask is None else cond.mask.to(tokens.device),
        img_shapes=[list(shapes)] * batch,
        return_dict=False,
    )[0]
    return predicted[:, :length]


def guided(positive: Tensor, negative: Tensor, scale: float) -> Tensor:
    """Returns the classifier-free guided prediction, each token scaled to the norm of the positive prediction.

    `positive`, `negative`: the predictions (B, n, c) for the instruction and for the negative prompt; `scale`: the
    guidance scale.
    """
    combined = negative + scale * (positive - negative)
    length: Tensor = positive.norm(dim=-1, keepdim=True) / combined.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return combined * length


@torch.no_grad()
def sample(
    transformer: Transformer,
    cond: Conditioning,
    negative: Conditioning | None,
    packed_refs: Tensor | None,
    shapes: Sequence[Shape],
    params: Sequence[EditParams],
    scheduler_config: Mapping[str, Any],
    on_step: Tick,
) -> Tensor:
    """Denoises edits of equal shapes, steps and true_cfg in one batch; returns latents (B, 16, h, w) float32.

    The latents are normalised. `cond`, `negative`: the encoded instructions and negative prompts; `negative` None turns
    guidance off. `packed_refs`: the packed latents (B, m, 64) of all references, one after another; None for none.
    `shapes`: the token grid of the result, then that of each reference. `params`: the parameters of the B edits.
    `scheduler_config`: the content of scheduler_config.json. `on_step`: called after each step. Each picture's noise
    depends on its own seed alone.
    """
    device, dtype = transformer.device, transformer.dtype
    channels, (_, rows, columns) = transformer.config.in_channels // 4, shapes[0]
    refs = None if packed_refs is None else packed_refs.to(device, dtype)
    cond = cond.to(device, dtype)
    contrast = None if negative is None else negative.to(device, dtype)

    def predict(latents: Tensor, sigma: float) -> Tensor:
        tokens = latents.to(dtype)
        with branch(transformer, "cond"):
            positive = velocity(transformer, tokens, refs, cond, sigma, shapes)
        if contrast is None:
            return positive
        with branch(transformer, "uncond"):
            unwanted = velocity(transformer, tokens, refs, contrast, sigma, shapes)
        return guided(positive, unwanted, params[0].true_cfg)

    start = pack(noise([item.seed for item in params], (channels, 2 * rows, 2 * columns))).to(device)
    levels = sigmas(scheduler_config, params[0].steps, start.shape[1])
    modulation.cover(transformer, [(len(params), level) for level in levels[:-1].tolist()])
    return unpack(euler(predict, start, levels, on_step), 2 * rows, 2 * columns)
