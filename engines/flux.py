"""FLUX.1 draws pictures from words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from PIL.Image import Image

from engines.api import Component, GenerateParams, Lease, ModelSpec, OnStep, Plan, Stage
from engines.errors import BadInput
from engines.parts import components, flux, shortcuts
from engines.parts.adapters import AdapterFiles, attached, stack_bytes
from engines.parts.batches import Progress, chunks
from engines.parts.leaner import leaner, streamed, tiled
from engines.parts.memo import Memo

Words = dict[str, flux.Conditioning]  # by prompt

_ENCODERS = ("text_encoder", "text_encoder_2")
_ENCODE_BYTES_PER_TOKEN = 600 << 10  # T5-XXL's activations in bfloat16
_ENCODING_CACHE_BYTES = 256 << 20  # of words: sixty prompts of 512 tokens
_DENOISE_BYTES_PER_PIXEL = 1_500  # 1.5 GiB at 1024², bfloat16
_DECODE_BYTES_PER_PIXEL = 4_400  # 4.3 GiB at 1024², bfloat16, untiled


class Flux:
    """A FLUX.1 model in diffusers layout as a generator: encode all, then denoise and decode batch by batch."""

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder
        self._batch = int(spec.options.get("batch", 1))
        self._adapters = AdapterFiles()
        self._words: Memo[flux.Conditioning] = Memo(
            int(spec.options.get("encoding_cache_bytes", _ENCODING_CACHE_BYTES)), lambda row: row.prompt_embeds.nbytes
        )

    def plan(self, items: Sequence[GenerateParams]) -> Plan:
        """Encode (text encoders) → denoise (transformer with LoRAs) → decode (VAE). Raises: ModelMissing, NotFound."""
        together = min(self._batch, max(len(items), 1))
        width, height = max(((item.width, item.height) for item in items), key=prod, default=(0, 0))
        pixels = width * height * together
        scale = components.weight_dtype(self.spec).itemsize / 2
        loras = max((stack_bytes(item.loras) for item in items), default=0)
        text = self._text_tokens * together * _ENCODE_BYTES_PER_TOKEN
        return Plan(
            f"{self.spec.label}: {len(items)} picture{'s' * (len(items) != 1)}",
            (
                leaner(
                    Stage("encode", tuple(self._component(name) for name in _ENCODERS), int(text * scale)),
                    streamed,
                ),
                leaner(
                    Stage(
                        "denoise",
                        (self._component("transformer"),),
                        int(pixels * _DENOISE_BYTES_PER_PIXEL * scale) + loras,
                    ),
                    streamed,
                ),
                leaner(
                    Stage("decode", (self._component("vae"),), int(pixels * _DECODE_BYTES_PER_PIXEL * scale)),
                    tiled(width, height, _DECODE_BYTES_PER_PIXEL * scale, together),
                ),
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
        words = self._encode(lease, items, progress)
        for chunk in chunks(items, _alike, self._batch):
            with (
                lease.stage("denoise") as parts,
                attached(parts["transformer"], chunk[0].loras, self.spec.family, self._adapters),
                shortcuts.taken(parts["transformer"], self.spec.options, chunk[0].first_block_cache),
            ):
                latents = flux.sample(
                    parts["transformer"],
                    flux.stack([words[item.prompt] for item in chunk]),
                    chunk,
                    self._schedule,
                    progress.chunk(len(chunk)),
                    factor=self._factor,
                )
            with lease.stage("decode") as parts:
                pictures = flux.to_images(parts["vae"], latents)
            yield from pictures

    def _encode(self, lease: Lease, items: Sequence[GenerateParams], progress: Progress) -> Words:
        """Each prompt once, on the host; the encoders are not even asked for where all are remembered."""
        prompts = list(dict.fromkeys(item.prompt for item in items))
        new = [prompt for prompt in prompts if prompt not in self._words]
        words = {prompt: self._words[prompt] for prompt in prompts if prompt in self._words}
        with lease.stage("encode") if new else nullcontext({}) as parts:
            for group in chunks(new, lambda _: None, self._batch):
                progress.say(f"reading prompt {len(words) + 1} of {len(prompts)}")
                rows = flux.encode_prompts(parts, self._tokenizers, group, self._text_tokens).to("cpu")
                words.update((prompt, rows.rows([index])) for index, prompt in enumerate(group))
        for prompt in new:
            self._words[prompt] = words[prompt]
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
    def _tokenizers(self) -> dict[str, Any]:
        return {name: components.tokenizer(self._folder, name) for name in ("tokenizer", "tokenizer_2")}

    @cached_property
    def _schedule(self) -> dict[str, Any]:
        return components.scheduler(self._folder)

    @cached_property
    def _factor(self) -> int:
        return flux.latent_factor(components.config(self._folder, "vae"))


def _alike(item: GenerateParams) -> tuple[Any, ...]:
    return (item.width, item.height, item.steps, item.first_block_cache, item.loras)
