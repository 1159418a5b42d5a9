"""Edits pictures by instructions with FLUX.2 [klein], by the same weights that generate pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from engines.api.errors import BadInput
from engines.api.params import EditParams, LoraUse
from engines.api.protocols import Component, EditItem, Lease, ModelSpec, OnStep, Plan, Stage
from engines.drawing import shortcuts
from engines.drawing.batches import Progress, chunks
from engines.drawing.latents import resized
from engines.drawing.leaner import leaner, streamed, tiled
from engines.drawing.lora_files import AdapterFiles, attached, stack_bytes
from engines.drawing.memo import Memo
from engines.drawing.sampling import demand_steps
from engines.families.flux2 import maths as flux2
from engines.families.flux2.engine import Flux2
from engines.pictures import pixel_hash
from engines.weights import components

_ENCODE_BYTES_PER_PIXEL = 3_200  # the VAE's encoder, estimated: five tensors of its widest layers, and a margin
_ENCODING_CACHE_BYTES = 256 << 20  # of latents, and as much of words

Encoders = Callable[[], Mapping[str, Any]]  # enters the encoders' stage when first called


@dataclass(frozen=True)
class _Prepared:
    """Holds an encoded edit in RAM: all that denoising it needs; `latents` are those of its pictures, source first."""

    params: EditParams
    words: Tensor
    no_words: Tensor | None
    latents: tuple[Tensor, ...]

    @property
    def batch_key(self) -> tuple[tuple[torch.Size, ...], EditParams]:
        """Returns the settings that edits must have in common to share a batch: all but the words and the seed."""
        return tuple(each.shape for each in self.latents), self.params.replace(instruction="", negative="", seed=0)


class Flux2Edit:
    """Edits pictures with a FLUX.2 [klein] in diffusers layout, whose components the engine `Flux2` uses, too.

    It encodes all edits, then denoises and decodes batch by batch. The result has the size of its scaled source. With
    true_cfg above 1 the negative prompt is encoded, too; the text encoder reads words alone, the pictures are seen by
    the transformer.
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder
        self._drawing = Flux2(spec, folder)
        self._batch = int(spec.options.get("batch", 1))
        self._area = int(spec.options.get("reference_area", 1024 * 1024))
        self._most = int(spec.options.get("pictures", 4))
        self._adapters = AdapterFiles()
        limit = int(spec.options.get("encoding_cache_bytes", _ENCODING_CACHE_BYTES))
        self._latents: Memo[Tensor] = Memo(limit, lambda latents: latents.nbytes)
        self._words: Memo[Tensor] = Memo(limit, lambda words: words.nbytes)

    def plan(self, items: Sequence[EditItem]) -> Plan:
        """Checks the edits; returns the stages encode (text encoder, VAE), denoise (transformer, LoRAs), decode (VAE).

        Raises: ModelMissing for missing model files, NotFound for a missing LoRA file, LoraMismatch for a damaged one,
        BadInput for impossible parameters or more pictures than the model takes.
        """
        for item in items:
            self._check(item)
        together = min(self._batch, max(len(items), 1))
        scale = components.weight_dtype(self.spec).itemsize / 2
        sizes = [[self._size(picture) for picture in (item.source, *item.references)] for item in items]
        width, height = max((size for each in sizes for size in each), key=prod, default=(0, 0))
        pixels = max((prod(each[0]) + sum(map(prod, each)) for each in sizes), default=0)  # of result and references
        loras = max((stack_bytes(item.params.loras) for item in items), default=0)
        text = self._drawing.text_tokens * Flux2.encode_bytes_per_token
        vae, decoded = self._component("vae"), Flux2.decode_bytes_per_pixel * scale
        return Plan(
            f"{self.spec.label}: {len(items)} edit{'s' * (len(items) != 1)}",
            (
                leaner(
                    Stage(
                        "encode",
                        (self._component("text_encoder"), vae),
                        int(max(text, width * height * _ENCODE_BYTES_PER_PIXEL) * scale),
                    ),
                    tiled(width, height, _ENCODE_BYTES_PER_PIXEL * scale),
                    streamed,
                ),
                leaner(
                    Stage(
                        "denoise",
                        (self._component("transformer"),),
                        int(pixels * together * Flux2.denoise_bytes_per_pixel * scale) + loras,
                    ),
                    streamed,
                ),
                leaner(
                    Stage("decode", (vae,), int(width * height * together * decoded)),
                    tiled(width, height, decoded, together),
                ),
            ),
        )

    def scaled(self, item: EditItem) -> EditItem:
        """Returns the edit with its source scaled for the VAE."""
        return replace(item, source=self._scaled(item.source))

    def edit(self, items: Sequence[EditItem], lease: Lease, on_step: OnStep) -> Iterator[Image]:
        """Edits the pictures in order; yields the results of each batch as soon as it is decoded.

        Consecutive edits share a batch if their pictures have the same sizes and their parameters differ only in texts
        and seed. `lease`: gives access to the components of a stage. `on_step`: called with the number of denoising
        steps done, their total and a message to the user. Raises: BadInput for impossible parameters, NotFound for a
        missing LoRA file, LoraMismatch for one that does not fit, ModelMissing for missing model files, Cancelled.
        """
        for item in items:
            self._check(item)
        progress = Progress(on_step, sum(item.params.steps for item in items), len(items))
        with ExitStack() as stage:
            prepared = self._encode(cache(lambda: stage.enter_context(lease.stage("encode"))), items, progress)
        for chunk in chunks(prepared, lambda each: each.batch_key, self._batch):
            params = chunk[0].params
            unwanted = [each.no_words for each in chunk if each.no_words is not None]
            shown = [flux2.References.of(each.latents) for each in chunk]
            with (
                lease.stage("denoise") as parts,
                attached(parts["transformer"], params.loras, self.spec.family, self._adapters),
                shortcuts.taken(parts["transformer"], self.spec.options, params.first_block_cache),
            ):
                latents = flux2.edit(
                    parts["transformer"],
                    torch.cat([each.words for each in chunk]),
                    torch.cat(unwanted) if unwanted else None,
                    flux2.References(torch.cat([each.tokens for each in shown]), shown[0].positions),
                    (chunk[0].latents[0].shape[-2], chunk[0].latents[0].shape[-1]),
                    [each.params for each in chunk],
                    self._drawing.schedule,
                    progress.chunk(len(chunk)),
                )
            with lease.stage("decode") as parts:
                pictures = flux2.to_images(parts["vae"], latents)
            yield from pictures

    def check_loras(self, uses: Sequence[LoraUse]) -> list[str]:
        """Checks that LoRA files fit the model; returns a message for each file with tensors that will not be used.

        Raises: NotFound for a missing file, LoraMismatch for one that does not fit, BadInput for a strength too large,
        ModelMissing where the model is not on this machine.
        """
        return self._drawing.check_loras(uses)

    def _encode(self, parts: Encoders, items: Sequence[EditItem], progress: Progress) -> list[_Prepared]:
        """Encodes all edits; each distinct picture and each distinct text is encoded once, alone.

        `parts`: returns the encoders; its first call enters their stage.
        """

        def words(text: str) -> Tensor:
            return self._words.get(text, lambda: self._drawing.read(parts(), [text])[0])

        def latents(picture: Image) -> Tensor:
            own = self._scaled(picture)
            return self._latents.get(
                pixel_hash(own), lambda: flux2.to_latents(parts()["vae"], [own], sample=False).cpu()
            )

        prepared = []
        for index, item in enumerate(items):
            progress.say(f"reading edit {index + 1} of {len(items)}")
            params = item.params
            prepared.append(
                _Prepared(
                    params=params,
                    words=words(params.instruction),
                    no_words=words(params.negative) if params.true_cfg > 1 else None,
                    latents=tuple(latents(picture) for picture in (item.source, *item.references)),
                )
            )
        return prepared

    def _check(self, item: EditItem) -> None:
        params, pictures = item.params, 1 + len(item.references)
        if not params.instruction.strip():
            raise BadInput("An edit has no instruction.", "Say what should change.")
        if params.few_steps:
            raise BadInput(f"{self.spec.name} has no few-step adapter.", "Leave few steps off.")
        if pictures > self._most:
            cause = f"{self.spec.name} takes {self._most} pictures, and an edit has {pictures}."
            raise BadInput(cause, f"Leave {pictures - self._most} of its further pictures out.")
        demand_steps(self._drawing.schedule, params.steps)

    def _size(self, picture: Image) -> tuple[int, int]:
        return flux2.reference_size(*picture.size, self._area, 2 * self._drawing.factor)

    def _scaled(self, picture: Image) -> Image:
        return resized(picture, *self._size(picture))

    def _component(self, name: str) -> Component:
        return components.component(self.spec, self._folder, name)
