"""Generates pictures from text with FLUX.2 [klein]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from engines.api.params import GenerateParams
from engines.drawing.generator import TextToPicture
from engines.drawing.sampling import Tick
from engines.families.flux2 import maths as flux2
from engines.weights import components


class Flux2(TextToPicture):
    """Generates pictures from text with FLUX.2 [klein]; Qwen3 encodes the prompts.

    With guidance above 1 the negative prompt is encoded, too. The class attributes that end in `_per_token` and
    `_per_pixel` estimate a stage's working memory in bytes. They were not measured: the tensors of one forward pass in
    bfloat16 were counted on meta tensors, and a margin was added.
    """

    maths: ClassVar[Any] = flux2
    encoders = ("text_encoder",)
    encode_bytes_per_token = 400 << 10  # counted: 248 KiB, most of it the hidden states of all layers
    denoise_bytes_per_pixel = 1_200  # counted: 585
    decode_bytes_per_pixel = 4_400  # FLUX.1's decoder

    def prompts(self, item: GenerateParams) -> tuple[str, ...]:
        """Returns a picture's prompt and, with guidance above 1, its negative prompt, which may be ""."""
        return (item.prompt, item.negative) if item.guidance > 1 else (item.prompt,)

    def read(self, parts: Mapping[str, Any], prompts: Sequence[str]) -> Sequence[Tensor]:
        """Encodes prompts as the hidden states of three Qwen3 layers; returns a tensor for each prompt, in CPU memory.

        Each tensor is (1, text_tokens, 3 × width). `parts`: holds the text encoder as `text_encoder`.
        """
        rows = flux2.encode_prompts(parts["text_encoder"], self._tokenizer, prompts, self.text_tokens).cpu()
        return [rows[[index]] for index in range(len(prompts))]  # copies: a view would keep all of the others

    def sample(
        self, transformer: Any, words: Mapping[str, Tensor], items: Sequence[GenerateParams], tick: Tick
    ) -> Tensor:
        """Denoises the pictures of one batch and returns their normalised latents (B, 32, h, w).

        `words`: prompt -> the encoded prompt that `read` returned. `items`: the pictures' parameters, which share one
        negative prompt. `tick`: called after each step.
        """
        wanted, unwanted = torch.cat([words[item.prompt] for item in items]), words.get(items[0].negative)
        return flux2.sample(transformer, wanted, unwanted, items, self.schedule, tick, factor=self.factor)

    @cached_property
    def _tokenizer(self) -> Any:
        return components.tokenizer(self.folder, "tokenizer")
