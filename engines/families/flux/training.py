"""FLUX.1 for the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor

from engines.api.params import GenerateParams
from engines.drawing.latents import pack
from engines.drawing.sampling import Tick
from engines.families.flux import maths as flux
from engines.training.captioned import Captioned
from engines.training.data import Tensors
from engines.training.family import Preview, narrowed
from engines.training.targets import ALL, ATTENTION, JOINT, Targets
from engines.weights import components


class FluxAdapter(Captioned):
    """Captioned pictures; attention and MLP of both kinds of blocks, modulation left alone."""

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
    maths = flux
    encoders = ("text_encoder", "text_encoder_2", "vae")
    tokenizers = ("tokenizer", "tokenizer_2")

    @cached_property
    def _tokenizers(self) -> dict[str, Any]:
        return {name: components.tokenizer(self.folder, name) for name in ("tokenizer", "tokenizer_2")}

    def encode_words(self, parts: Mapping[str, Any], text: str, references: Sequence[Image.Image]) -> Tensors:
        """T5's tokens and CLIP's pooled vector."""
        cond = flux.encode_prompts(parts, self._tokenizers, [text], self.text_tokens())
        return {"prompt_embeds": cond.prompt_embeds, "pooled": cond.pooled}

    def reads_whole(self, text: str) -> bool:
        """T5's tokens decide: CLIP's 77 make one pooled vector, and FLUX was trained to have the rest from T5."""
        return len(self._tokenizers["tokenizer_2"](text, verbose=False).input_ids) <= self.text_tokens()

    def encode_preview(self, parts: Mapping[str, Any], preview: Preview) -> Tensors:
        """The prompt."""
        return self.encode_words(parts, narrowed(preview, GenerateParams).prompt, ())

    def draw(self, parts: Mapping[str, Any], encoded: Tensors, preview: Preview, tick: Tick) -> Image.Image:
        """As the generator draws it, guidance and all."""
        latents = flux.sample(
            parts["transformer"],
            flux.Conditioning(**encoded),
            [narrowed(preview, GenerateParams)],
            self.schedule,
            tick,
            factor=flux.latent_factor(parts["vae"].config),
        )
        return flux.to_images(parts["vae"], latents)[0]

    def velocity(self, transformer: Any, batch: Tensors, noisy: Tensor, sigma: Tensor, guidance: float) -> Tensor:
        """Of the whole sequence; `guidance` reaches only models that have an embedder for it."""
        cond = flux.Conditioning(batch["prompt_embeds"], batch["pooled"])
        return flux.velocity(transformer, pack(noisy), cond, sigma, guidance, *noisy.shape[-2:])
