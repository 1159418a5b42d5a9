"""Generates pictures from text with FLUX.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor

from engines.api.params import GenerateParams
from engines.drawing.generator import TextToPicture
from engines.drawing.sampling import Tick
from engines.families.flux import maths as flux
from engines.weights import components


class Flux(TextToPicture):
    """Generates pictures from text with FLUX.1; CLIP and T5 encode the prompts.

    FLUX.1 is guidance-distilled: guidance is an input of the transformer, and no negative prompt is encoded.
    """

    maths: ClassVar[Any] = flux
    encoders = ("text_encoder", "text_encoder_2")
    encode_bytes_per_token = 600 << 10  # T5-XXL's activations
    denoise_bytes_per_pixel = 1_500  # 1.5 GiB at 1024²
    decode_bytes_per_pixel = 4_400  # 4.3 GiB at 1024²

    def read(self, parts: Mapping[str, Any], prompts: Sequence[str]) -> Sequence[flux.Conditioning]:
        """Encodes prompts with T5 and CLIP; returns a list with one Conditioning for each prompt, in CPU memory.

        A Conditioning holds T5's vectors of the tokens and CLIP's pooled vector. `parts`: the text encoders by
        component name.
        """
        rows = flux.encode_prompts(parts, self._tokenizers, prompts, self.text_tokens).to("cpu")
        return [rows.rows([index]) for index in range(len(prompts))]

    def sample(
        self, transformer: Any, words: Mapping[str, flux.Conditioning], items: Sequence[GenerateParams], tick: Tick
    ) -> Tensor:
        """Denoises the pictures of one batch and returns their normalised latents (B, 16, h, w).

        `words`: prompt -> the encoded prompt that `read` returned; `items`: the pictures' parameters; `tick`: called
        after each step.
        """
        cond = flux.stack([words[item.prompt] for item in items])
        return flux.sample(transformer, cond, items, self.schedule, tick, factor=self.factor)

    @cached_property
    def _tokenizers(self) -> Mapping[str, Any]:
        return {name: components.tokenizer(self.folder, name) for name in ("tokenizer", "tokenizer_2")}
