"""Captions pictures with the editor's own vision-language text encoder, so that no other model is downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from engines.api.params import CaptionParams
from engines.api.protocols import Lease, ModelSpec, OnStep, Plan, Stage
from engines.api.seeing import Caption
from engines.api.triggers import composed, spans
from engines.drawing.batches import chunks
from engines.drawing.leaner import leaner, streamed
from engines.families.qwen_edit import maths as qwen
from engines.weights import components
from engines.wording.reading import read_tags
from engines.wording.registry import vocabulary

TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "<|vision_start|><|image_pad|><|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
)
_END = "<|im_end|>"
_BYTES_PER_TOKEN = 4 << 20  # a vision token's activations through the 7B model, bfloat16
_PIXELS_PER_TOKEN = 28 * 28


class QwenCaptioner:
    """Captions pictures with an editor's own Qwen2.5-VL text encoder, by greedy decoding, so always in the same way.

    `spec`: the model's row in the registry. Its field `wording` chooses the sentence that asks for a caption. Its
    options may have `caption_template` (the chat around that sentence), `batch` (the number of pictures captioned at
    once) and the sizes to which pictures are scaled (the fields of the class `Sizes`).
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder
        self._batch = int(spec.options.get("batch", 1))
        self._sizes = qwen.Sizes.of(spec)
        template = str(spec.options.get("caption_template", TEMPLATE))
        self._prompt = template.format(vocabulary(spec.wording).caption_request)

    def plan(self, count: int, params: CaptionParams) -> Plan:
        """Returns the plan for captioning `count` pictures: one stage, with the text encoder.

        `params`: its token limit counts towards the stage's working memory. Raises: ModelMissing where the model's
        files are not on this machine.
        """
        tokens = self._sizes.vision_area // _PIXELS_PER_TOKEN + params.max_tokens
        working = tokens * min(self._batch, max(count, 1)) * _BYTES_PER_TOKEN
        encoder = components.component(self.spec, self._folder, "text_encoder")
        return Plan(f"{self.spec.label}: {count} captions", (leaner(Stage("caption", (encoder,), working), streamed),))

    def caption(
        self, images: Sequence[Image], params: CaptionParams, lease: Lease, on_step: OnStep
    ) -> Iterator[Caption]:
        """Yields a caption for each picture, in order; each begins with the trigger word of `params`.

        `lease`: gives access to the text encoder. `on_step`: called with the number of pictures done, their total, and
        a message to the user.
        """
        shown = [self._sizes.vision(image) for image in images]
        done = 0
        for chunk in chunks(shown, lambda image: image.size, self._batch):
            on_step(done, len(shown), f"looking at picture {done + 1} of {len(shown)}")
            with lease.stage("caption") as parts:
                texts = self._describe(parts["text_encoder"], chunk, params.max_tokens)
            done += len(chunk)
            on_step(done, len(shown), "")
            yield from (_caption(params.trigger, words) for words in texts)

    @torch.no_grad()
    def _describe(self, model: Any, images: Sequence[Image], max_tokens: int) -> list[str]:
        """Generates a description of each of several pictures of one size; returns one line of text for each."""
        inputs = qwen.vision_inputs(model, self._processor, [self._prompt] * len(images), images)
        tokenizer = self._processor.tokenizer
        said = model.generate(
            **inputs,
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=tokenizer.convert_tokens_to_ids(_END),
            pad_token_id=tokenizer.pad_token_id,
        )
        new = said[:, inputs["input_ids"].shape[1] :]
        return [" ".join(text.split()) for text in tokenizer.batch_decode(new, skip_special_tokens=True)]

    @cached_property
    def _processor(self) -> Any:
        return qwen.processor(self._folder)


def _caption(trigger: str, words: str) -> Caption:
    """Returns a Caption: the trigger, then the words without an article: "A person, sad" becomes "ohwx person, sad".

    Words that do not begin with a person follow the trigger and a comma. Words that begin with the trigger stay.
    """
    words = words.strip().rstrip(".")
    if any(start == 0 for start, _ in spans(composed(words), trigger)):
        return Caption(words, read_tags(words))
    subject = re.match(r"(?:an? |the )?(person\b.*)", words, re.IGNORECASE)
    between, rest = (" ", subject.group(1)) if subject else (", ", words)
    return Caption(between.join(filter(None, (trigger, rest))), read_tags(words))
