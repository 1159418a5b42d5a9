"""Trains LoRAs of FLUX.1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor

from engines.api.params import GenerateParams
from engines.drawing.latents import pack
from engines.drawing.sampling import Tick
from engines.families.flux import maths as flux
from engines.training.captioned_family import CaptionedFamily, LatentMaths
from engines.training.data import Tensors
from engines.training.family import Parts, Preview, Transformer, narrowed
from engines.training.targets import ALL, ATTENTION, JOINT, Targets
from engines.weights import components


class FluxAdapter(CaptionedFamily):
    """Adapts the training loop to FLUX.1, which learns from captioned pictures.

    It encodes examples, predicts velocities and draws previews. A LoRA is trained on the attention and (unless
    attention alone is chosen) the MLP layers of double and single blocks, never on modulation layers.
    """

    targets: ClassVar = {
        ALL: Targets(
            rf"transformer_blocks\.\d+\.(attn\.{JOINT}|ff(_context)?\.net\.(0\.proj|2))"
            r"|single_transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v)|proj_mlp|proj_out)",
            {"num_layers": 36, "num_single_layers": 17},
        ),
        ATTENTION: Targets(
            rf"transformer_blocks\.\d+\.attn\.{JOINT}|single_transformer_blocks\.\d+\.attn\.(to_q|to_k|to_v)",
            {"num_layers": 16, "num_single_layers": 6},
        ),
    }
    maths: ClassVar[LatentMaths] = flux
    encoders = ("text_encoder", "text_encoder_2", "vae")
    tokenizers = ("tokenizer", "tokenizer_2")

    @cached_property
    def _tokenizers(self) -> dict[str, Any]:
        return {name: components.tokenizer(self.folder, name) for name in ("tokenizer", "tokenizer_2")}

    def encode_words(self, parts: Parts, text: str, references: Sequence[Image.Image]) -> Tensors:
        """Encodes a caption; returns `prompt_embeds` of T5 (1, text_tokens, width) and `pooled` of CLIP (1, width).

        `parts`: the text encoders by component name; `references`: ignored.
        """
        cond = flux.encode_prompts(parts, self._tokenizers, [text], self.text_tokens())
        return {"prompt_embeds": cond.prompt_embeds, "pooled": cond.pooled}

    def fits_encoder(self, text: str) -> bool:
        """Returns whether a caption fits T5's token limit, so that T5 reads it to its end.

        The shorter limit of CLIP is not checked: CLIP adds only one pooled vector, and FLUX was trained with texts
        longer than CLIP's limit, too.
        """
        return len(self._tokenizers["tokenizer_2"](text, verbose=False).input_ids) <= self.text_tokens()

    def encode_preview(self, parts: Parts, preview: Preview) -> Tensors:
        """Encodes the prompt of a preview; returns the same tensors as `encode_words`.

        A preview is a picture to generate during training. `parts`: the text encoders by component name. Raises:
        BadInput for a preview that is an edit.
        """
        return self.encode_words(parts, narrowed(preview, GenerateParams).prompt, ())

    def draw(self, parts: Parts, encoded: Tensors, preview: Preview, tick: Tick) -> Image.Image:
        """Generates a preview with the LoRA in training, as the engine would, but never with first-block caching.

        `parts`: the transformer and the VAE by component name; `encoded`: what `encode_preview` returned; `tick`:
        called after each step. Raises: BadInput for a preview that is an edit.
        """
        latents = flux.sample(
            parts["transformer"],
            flux.Conditioning(**encoded),
            [narrowed(preview, GenerateParams)],
            self.schedule,
            tick,
            factor=flux.latent_factor(parts["vae"].config),
        )
        return flux.to_images(parts["vae"], latents)[0]

    def velocity(
        self, transformer: Transformer, batch: Tensors, noisy: Tensor, sigma: Tensor, guidance: float
    ) -> Tensor:
        """Predicts the velocity (noise − picture) of noisy latents (B, 16, h, w); returns packed latents (B, n, 64).

        `batch`: the examples' encoded captions, by name; `sigma` (B,): noise levels. `guidance` is used only by models
        with an embedder for it.
        """
        cond = flux.Conditioning(batch["prompt_embeds"], batch["pooled"])
        return flux.velocity(transformer, pack(noisy), cond, sigma, guidance, *noisy.shape[-2:])
