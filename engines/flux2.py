"""FLUX.2 [klein] draws pictures from words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from engines.api import Component, GenerateParams, Lease, ModelSpec, OnStep, Plan, Stage
from engines.errors import BadInput
from engines.parts import components, flux2
from engines.parts.adapters import attached, stack_bytes
from engines.parts.batches import Progress, chunks

# Computed, not measured: the live bytes of one forward in bfloat16 counted on meta tensors, and room for weights at
# full width while they are used and for what the allocator loses.
_ENCODE_BYTES_PER_TOKEN = 400 << 10  # counted: 248 KiB, most of it the hidden states of all layers
_DENOISE_BYTES_PER_PIXEL = 1_200  # counted: 585
_DECODE_BYTES_PER_PIXEL = 4_400  # FLUX.1's decoder


class Flux2:
    """A FLUX.2 [klein] model in diffusers layout as a generator: encode all, then denoise and decode batch by batch."""

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder
        self._batch = int(spec.options.get("batch", 1))

    def plan(self, items: Sequence[GenerateParams]) -> Plan:
        """Encode (text encoder) → denoise (transformer with LoRAs) → decode (VAE). Raises: ModelMissing, NotFound."""
        together = min(self._batch, max(len(items), 1))
        pixels = max((item.width * item.height for item in items), default=0) * together
        scale = components.weight_dtype(self.spec).itemsize / 2
        loras = max((stack_bytes(item.loras) for item in items), default=0)
        text = self._text_tokens * together * _ENCODE_BYTES_PER_TOKEN
        return Plan(
            f"{self.spec.label}: {len(items)} picture{'s' * (len(items) != 1)}",
            (
                Stage("encode", (self._component("text_encoder"),), int(text * scale)),
                Stage(
                    "denoise",
                    (self._component("transformer"),),
                    int(pixels * _DENOISE_BYTES_PER_PIXEL * scale) + loras,
                ),
                Stage("decode", (self._component("vae"),), int(pixels * _DECODE_BYTES_PER_PIXEL * scale)),
            ),
        )

    def generate(self, items: Sequence[GenerateParams], lease: Lease, on_step: OnStep) -> Iterator[Image]:
        """Pictures in the order asked; neighbours of equal size, steps and LoRAs share a forward pass.

        Raises: BadInput, NotFound, LoraMismatch, Cancelled.
        """
        if not items:
            return
        for item in items:
            self._check(item)
        progress = Progress(on_step, sum(item.steps for item in items), len(items))
        with lease.stage("encode") as parts:
            words = self._encode(parts["text_encoder"], items, progress)
        for chunk in chunks(items, _alike, self._batch):
            with lease.stage("denoise") as parts, attached(parts["transformer"], chunk[0].loras, self.spec.family):
                latents = flux2.sample(
                    parts["transformer"],
                    torch.cat([words[item.prompt] for item in chunk]),
                    words.get(flux2.NO_WORDS),
                    chunk,
                    self._schedule,
                    progress.chunk(len(chunk)),
                    factor=self._factor,
                )
            with lease.stage("decode") as parts:
                pictures = flux2.to_images(parts["vae"], latents)
            yield from pictures

    def _encode(self, text_encoder: Any, items: Sequence[GenerateParams], progress: Progress) -> Mapping[str, Tensor]:
        """Each prompt once, and the empty one where guidance needs it; kept on the host until the transformer asks."""
        words: dict[str, Tensor] = {}
        unwanted = [flux2.NO_WORDS] if any(item.guidance > 1 for item in items) else []
        prompts = list(dict.fromkeys([*(item.prompt for item in items), *unwanted]))
        for group in chunks(prompts, lambda _: None, self._batch):
            progress.say(f"reading prompt {len(words) + 1} of {len(prompts)}")
            rows = flux2.encode_prompts(text_encoder, self._tokenizer, group, self._text_tokens).cpu()
            words.update(zip(group, rows.split(1), strict=True))
        return words

    def _check(self, item: GenerateParams) -> None:
        unit = 2 * self._factor
        if min(item.width, item.height) < unit:
            raise BadInput(f"{item.width}×{item.height} is too small.", f"{self.spec.name} needs {unit} pixels a side.")
        if item.steps < 1:
            raise BadInput(f"{item.steps} steps draw nothing.", "Ask for at least 1 step.")

    def _component(self, name: str) -> Component:
        return components.component(self.spec, self._folder, name)

    @property
    def _text_tokens(self) -> int:
        return int(self.spec.options.get("text_tokens", 512))

    @cached_property
    def _tokenizer(self) -> Any:
        return components.tokenizer(self._folder, "tokenizer")

    @cached_property
    def _schedule(self) -> Mapping[str, Any]:
        return components.scheduler(self._folder)

    @cached_property
    def _factor(self) -> int:
        return flux2.latent_factor(components.config(self._folder, "vae"))


def _alike(item: GenerateParams) -> tuple[Any, ...]:
    return (item.width, item.height, item.steps, item.guidance > 1, item.loras)
