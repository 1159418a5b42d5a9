"""Edits pictures by instructions with Qwen-Image-Edit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from engines.api.errors import BadInput, ModelMissing
from engines.api.params import EditParams, LoraUse
from engines.api.protocols import Component, EditItem, Lease, ModelSpec, OnStep, Plan, Stage
from engines.drawing import lora_files as adapters
from engines.drawing import shortcuts
from engines.drawing.batches import Progress, chunks
from engines.drawing.leaner import leaner, streamed, tiled
from engines.drawing.lora_files import AdapterFiles, attached, stack_bytes, touches_modulation
from engines.drawing.memo import Memo
from engines.drawing.sampling import ENOUGH_STEPS, demand_steps, sigmas
from engines.families.qwen_edit import maths as qwen
from engines.pictures import pixel_hash
from engines.weights import components, modulation

Encoders = Callable[[], Mapping[str, Any]]  # enters the encoders' stage when first called

_ENCODE_BYTES_PER_PIXEL = 3_200  # the VAE's encoder, 3.1 GiB at 1024², bfloat16
_DENOISE_BYTES_PER_PIXEL = 1_000  # target and references counted: 2 GiB for two of 1024², bfloat16
_ENCODING_CACHE_BYTES = 512 << 20  # of latents, and as much of words: about a hundred prompts with a picture
_DECODE_BYTES_PER_PIXEL = 5_800  # 5.7 GiB at 1024², bfloat16, untiled


@dataclass(frozen=True)
class _Prepared:
    """Holds an encoded edit in RAM: all that denoising it needs."""

    params: EditParams
    cond: qwen.Conditioning
    negative: qwen.Conditioning | None
    references: Tensor  # (1, tokens, 64), all pictures side by side
    shapes: tuple[qwen.Shape, ...]  # the target's, then each picture's

    @property
    def batch_key(self) -> tuple[tuple[qwen.Shape, ...], EditParams]:
        """Returns the settings that edits must have in common to share a batch: all but the words and the seed."""
        return self.shapes, self.params.replace(instruction="", negative="", seed=0)


class QwenEdit:
    """Edits pictures with a Qwen-Image-Edit model in diffusers layout.

    It encodes all edits, then denoises and decodes batch by batch. Before encoding, a source picture is scaled; the
    result has that scaled size, so that nothing in it is shifted or zoomed.
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder
        self._batch = int(spec.options.get("batch", 1))
        self._adapters = AdapterFiles()
        self._sizes = qwen.Sizes.of(spec)

    def plan(self, items: Sequence[EditItem]) -> Plan:
        """Checks the edits; returns the stages encode (text encoder, VAE), denoise (transformer, LoRAs), decode (VAE).

        To save memory, the model's registry row may ask for a transformer whose modulation layers are replaced by a
        table of precomputed outputs. LoRAs that change modulation layers are folded into that table. Raises:
        ModelMissing for missing model files, NotFound for a missing LoRA file, BadInput for impossible parameters.
        """
        for item in items:
            self._check(item.params)
        together = min(self._batch, max(len(items), 1))
        scale, side = components.weight_dtype(self.spec).itemsize / 2, isqrt(self._sizes.reference_area)
        area = int(self._sizes.reference_area * scale)
        pictures = max((2 + len(item.references) for item in items), default=2)
        stacks = {self._stack(item.params) for item in items}
        loras = max(map(stack_bytes, stacks), default=0)
        vae, transformer = self._component("vae"), self._component("transformer")
        if modulation.wanted(self.spec):
            transformer = modulation.component(self.spec, self._folder)
        return Plan(
            f"{self.spec.label}: {len(items)} edit{'s' * (len(items) != 1)}",
            (
                leaner(
                    Stage("encode", (self._component("text_encoder"), vae), area * _ENCODE_BYTES_PER_PIXEL),
                    tiled(side, side, _ENCODE_BYTES_PER_PIXEL * scale),
                    streamed,
                ),
                leaner(
                    Stage(
                        "denoise",
                        (transformer,),
                        area * together * pictures * _DENOISE_BYTES_PER_PIXEL + loras,
                    ),
                    streamed,
                ),
                leaner(
                    Stage("decode", (vae,), area * together * _DECODE_BYTES_PER_PIXEL),
                    tiled(side, side, _DECODE_BYTES_PER_PIXEL * scale, together),
                ),
            ),
        )

    def scaled(self, item: EditItem) -> EditItem:
        """Returns the edit with its source scaled for the VAE, and beside it scaled for the vision-language model."""
        if item.seen is not None:  # scaled before; once more, its shape could be rounded to another size
            return item
        return replace(item, source=self._sizes.reference(item.source), seen=self._sizes.vision(item.source))

    def edit(self, items: Sequence[EditItem], lease: Lease, on_step: OnStep) -> Iterator[Image]:
        """Edits the pictures in order; yields the results of each batch as soon as it is decoded.

        Consecutive edits share a batch if their pictures have the same sizes and their parameters differ only in texts
        and seed. `lease`: gives access to the components of a stage. `on_step`: called with the number of denoising
        steps done, their total and a message to the user. Raises: BadInput for impossible parameters, NotFound for a
        missing LoRA file, LoraMismatch for one that does not fit, ModelMissing for missing model files, Cancelled.
        """
        if not items:
            return
        for item in items:
            self._check(item.params)

        # 1. Encode all edits.
        progress = Progress(on_step, sum(item.params.steps for item in items), len(items))
        with ExitStack() as stage:
            prepared = self._encode(cache(lambda: stage.enter_context(lease.stage("encode"))), items, progress)

        # 2. Batch neighbours that differ in words and seed alone, and list the (batch size, σ) of every forward pass.
        batches = list(chunks(prepared, lambda each: each.batch_key, self._batch))
        #    A stack's LoRAs on modulation layers have a table of their own, which is computed once for all its batches.
        passes: defaultdict[tuple[LoraUse, ...], set[modulation.Call]] = defaultdict(set)
        for chunk in batches:
            params, (_, rows, columns) = chunk[0].params, chunk[0].shapes[0]
            levels = sigmas(self._schedule_of(params), params.steps, rows * columns)
            passes[self._folded(params)].update((len(chunk), level) for level in levels[:-1].tolist())

        # 3. Denoise and decode batch by batch.
        for chunk in batches:
            params = chunk[0].params
            negatives = [item.negative for item in chunk if item.negative is not None]
            stack = self._stack(params)
            with (
                lease.stage("denoise") as parts,
                attached(parts["transformer"], stack, self.spec.family, self._adapters),
                shortcuts.taken(parts["transformer"], self.spec.options, params.first_block_cache),
            ):
                modulation.cover(parts["transformer"], passes[self._folded(params)])
                latents = qwen.sample(
                    parts["transformer"],
                    qwen.pad([item.cond for item in chunk]),
                    qwen.pad(negatives) if negatives else None,
                    torch.cat([item.references for item in chunk]),
                    chunk[0].shapes,
                    [item.params for item in chunk],
                    self._schedule_of(params),
                    progress.chunk(len(chunk)),
                )
            with lease.stage("decode") as parts:
                pictures = qwen.to_images(parts["vae"], latents)
            yield from pictures

    def check_loras(self, uses: Sequence[LoraUse]) -> list[str]:
        """Checks that LoRA files fit the model; returns a message for each file with tensors that will not be used.

        Raises: NotFound for a missing LoRA file, LoraMismatch for one that does not fit, BadInput for an impossible
        strength, ModelMissing where the transformer's configuration is not on this machine.
        """
        return adapters.check(self._skeleton, uses, self.spec.family, self._adapters)

    @cached_property
    def _skeleton(self) -> Any:
        """Returns the transformer without its weights."""
        return components.bare(self._folder, "transformer", self._folder / "transformer")

    def _encode(self, parts: Encoders, items: Sequence[EditItem], progress: Progress) -> list[_Prepared]:
        """Encodes all edits; each distinct picture, and each distinct pair of text and pictures, is encoded once.

        `parts`: returns the encoders; its first call enters their stage.
        """
        encoder = self._encoder
        prepared = []
        for index, item in enumerate(items):
            progress.say(f"reading edit {index + 1} of {len(items)}")
            own = self.scaled(item)
            latents = [encoder.latents(parts, own.source)]
            latents += [encoder.latents(parts, self._sizes.reference(picture)) for picture in item.references]
            pictures = [own.seen or own.source, *map(self._sizes.vision, item.references)]
            shapes = [qwen.token_shape(latent) for latent in latents]
            guide = item.params.true_cfg > 1
            prepared.append(
                _Prepared(
                    params=item.params,
                    cond=encoder.words(parts, item.params.instruction, pictures),
                    negative=encoder.words(parts, item.params.negative, pictures) if guide else None,
                    references=torch.cat([qwen.pack(latent) for latent in latents], dim=1),
                    shapes=(shapes[0], *shapes),
                )
            )
        return prepared

    def _stack(self, params: EditParams) -> tuple[LoraUse, ...]:
        """Returns an edit's LoRAs; with `few_steps` the few-step adapter comes first.

        Raises: BadInput, ModelMissing.
        """
        if not params.few_steps:
            return params.loras
        if not self.spec.few_steps:
            raise BadInput(f"{self.spec.name} has no few-step adapter.", "Leave few steps off.")
        file = self._folder / self.spec.few_steps.file
        if not file.is_file():
            raise ModelMissing(f"The few-step adapter of {self.spec.name} is not here.", f"Put it at {file}.")
        return (LoraUse(file=str(file)), *params.loras)

    def _folded(self, params: EditParams) -> tuple[LoraUse, ...]:
        """Returns those of an edit's LoRAs that change modulation layers."""
        return tuple(use for use in self._stack(params) if touches_modulation(use))

    def _schedule_of(self, params: EditParams) -> dict[str, Any]:
        """Returns the configuration of the noise schedule; with `few_steps`, as the few-step adapter needs it."""
        few = self.spec.few_steps if params.few_steps else None
        return {**self._schedule, **few.scheduler} if few else self._schedule

    def _check(self, params: EditParams) -> None:
        if not params.instruction.strip():
            raise BadInput("An edit has no instruction.", "Say what should change.")
        for words in (params.instruction, params.negative):
            qwen.demand_words(words)
        if params.steps < ENOUGH_STEPS:
            demand_steps(self._schedule_of(params), params.steps)

    def _component(self, name: str) -> Component:
        return components.component(self.spec, self._folder, name)

    @cached_property
    def _encoder(self) -> _Encoder:
        limit = int(self.spec.options.get("encoding_cache_bytes", _ENCODING_CACHE_BYTES))
        return _Encoder(qwen.processor(self._folder), self._sizes, limit)

    @cached_property
    def _schedule(self) -> dict[str, Any]:
        return components.scheduler(self._folder)


class _Encoder:
    """Encodes pictures and instructions, and caches the results in RAM, up to `limit_bytes` of each kind.

    A job whose encodings are all cached never loads the encoders.
    """

    def __init__(self, processor: Any, sizes: qwen.Sizes, limit_bytes: int) -> None:
        self._processor = processor
        self._sizes = sizes
        self._latents: Memo[Tensor] = Memo(limit_bytes, lambda latents: latents.nbytes)
        self._words: Memo[qwen.Conditioning] = Memo(limit_bytes, lambda cond: cond.embeds.nbytes)

    def latents(self, parts: Encoders, picture: Image) -> Tensor:
        """Returns the normalised latents (1, 16, h, w) of a scaled picture, from the cache if possible."""
        return self._latents.get(
            pixel_hash(picture),
            lambda: qwen.to_latents(parts()["vae"], [picture], "mode").cpu(),
        )

    def words(self, parts: Encoders, text: str, pictures: Sequence[Image]) -> qwen.Conditioning:
        """Returns an instruction encoded together with its scaled pictures, from the cache if possible."""
        return self._words.get(
            (text, *(pixel_hash(picture) for picture in pictures)),
            lambda: qwen.conditioning(
                parts()["text_encoder"],
                self._processor,
                text,
                list(pictures),
                picture_label=self._sizes.picture_label,
            ).to("cpu"),
        )
