"""Trains LoRAs of FLUX.2 [klein]."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor

from engines.api.params import GenerateParams
from engines.drawing.latents import pack
from engines.drawing.sampling import Tick
from engines.families.flux2 import maths as flux2
from engines.training.captioned_family import CaptionedFamily, LatentMaths
from engines.training.data import Tensors
from engines.training.family import Parts, Preview, Transformer, narrowed
from engines.training.module_names import BFL_ATTENTION, Names, Slot, bfl_slot
from engines.training.targets import ALL, ATTENTION, JOINT, Targets
from engines.weights import components

_DOUBLE: Names = {
    **BFL_ATTENTION,
    "ff.linear_in": Slot("img_mlp.0"),
    "ff.linear_out": Slot("img_mlp.2"),
    "ff_context.linear_in": Slot("txt_mlp.0"),
    "ff_context.linear_out": Slot("txt_mlp.2"),
}
_SINGLE: Names = {"attn.to_qkv_mlp_proj": Slot("linear1"), "attn.to_out": Slot("linear2")}

_FUSED = r"single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)"  # attention and MLP in one layer


class Flux2Adapter(CaptionedFamily):
    """Adapts the training loop to FLUX.2 [klein], which learns from captioned pictures.

    A LoRA is trained on the attention and MLP layers of double and single blocks, never on modulation layers. If
    attention alone is chosen, only the MLP layers of double blocks are left out, since single blocks compute attention
    and MLP in the same layers. Latents are (B, 32, h, w), packed tokens (B, n, 128).

    With the timestep density `resolution_shift`, training shifts its noise levels as musubi-tuner's flux2_shift does,
    which is less than FLUX.2 shifts them at inference.
    """

    targets: ClassVar = {
        ALL: Targets(
            rf"transformer_blocks\.\d+\.(attn\.{JOINT}|ff(_context)?\.linear_(in|out))|{_FUSED}",
            {"num_layers": 38, "num_single_layers": 15},
        ),
        ATTENTION: Targets(
            rf"transformer_blocks\.\d+\.attn\.{JOINT}|{_FUSED}", {"num_layers": 16, "num_single_layers": 15}
        ),
    }
    maths: ClassVar[LatentMaths] = flux2
    encoders = ("text_encoder", "vae")
    tokenizers = ("tokenizer",)

    @cached_property
    def _tokenizer(self) -> Any:
        return components.tokenizer(self.folder, "tokenizer")

    def encode_words(self, parts: Parts, text: str, references: Sequence[Image.Image]) -> Tensors:
        """Encodes a caption; returns the hidden states of three Qwen3 layers as `prompt_embeds`.

        Their shape is (1, text_tokens, 3 × width). `parts`: holds the text encoder as `text_encoder`; `references`:
        ignored.
        """
        return {"prompt_embeds": self._read(parts, text)}

    def fits_encoder(self, text: str) -> bool:
        """Returns whether a caption and its chat template fit the token limit, so that nothing is truncated."""
        return flux2.count_tokens(self._tokenizer, text) <= self.text_tokens()

    def encode_preview(self, parts: Parts, preview: Preview) -> Tensors:
        """Encodes a preview's prompt as `prompt_embeds` and, for guidance, its negative prompt as `no_words`.

        A preview is a picture to generate during training. `parts`: holds the text encoder as `text_encoder`. Raises:
        BadInput for a preview that is an edit.
        """
        item = narrowed(preview, GenerateParams)
        return {"prompt_embeds": self._read(parts, item.prompt), "no_words": self._read(parts, item.negative)}

    def draw(self, parts: Parts, encoded: Tensors, preview: Preview, tick: Tick) -> Image.Image:
        """Generates a preview with the LoRA in training, as the engine would, but never with first-block caching.

        `parts`: the transformer and the VAE by component name; `encoded`: what `encode_preview` returned; `tick`:
        called after each step. Raises: BadInput for a preview that is an edit.
        """
        latents = flux2.sample(
            parts["transformer"],
            encoded["prompt_embeds"],
            encoded["no_words"],
            [narrowed(preview, GenerateParams)],
            self.schedule,
            tick,
            factor=flux2.latent_factor(parts["vae"].config),
        )
        return flux2.to_images(parts["vae"], latents)[0]

    def velocity(
        self, transformer: Transformer, batch: Tensors, noisy: Tensor, sigma: Tensor, guidance: float
    ) -> Tensor:
        """Predicts the velocity (noise − picture) of noisy latents (B, 32, h, w); returns packed latents (B, n, 128).

        `batch`: holds the encoded captions as `prompt_embeds`; `sigma` (B,): noise levels. `guidance` is ignored, since
        klein has no embedder for it.
        """
        return flux2.velocity(transformer, pack(noisy), batch["prompt_embeds"], sigma, *noisy.shape[-2:])

    def _read(self, parts: Parts, text: str) -> Tensor:
        return flux2.encode_prompts(parts["text_encoder"], self._tokenizer, [text], self.text_tokens())


def flux2_slot(module: str) -> Slot | None:
    """Returns which module of Black Forest Labs' layout has the weights of a diffusers FLUX.2 module; None if none has.

    `module`: a path such as "transformer_blocks.0.attn.to_q". Black Forest Labs' layout fuses some modules, such as q,
    k and v into `qkv`; the result then also says which part of the fused module belongs to `module`.
    """
    return bfl_slot(module, _DOUBLE, _SINGLE)
