"""Generates pictures from text, for every model family whose only input is text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Protocol

from PIL.Image import Image
from torch import Tensor

from engines.api.errors import BadInput
from engines.api.params import GenerateParams, Json, LoraUse
from engines.api.protocols import Component, Lease, Loaded, ModelSpec, OnStep, Plan, Stage
from engines.catalogue.shapes import Config
from engines.drawing import lora_files as adapters
from engines.drawing import shortcuts
from engines.drawing.batches import Progress, chunks
from engines.drawing.leaner import leaner, streamed, tiled
from engines.drawing.lora_files import AdapterFiles, attached, stack_bytes
from engines.drawing.memo import Memo
from engines.drawing.sampling import Tick
from engines.weights import components

_ENCODING_CACHE_BYTES = 256 << 20  # sixty encoded prompts of FLUX.1, thirty of FLUX.2


class Words(Protocol):
    """Interface of an encoded prompt, held in RAM: what a family's text encoders return for one prompt."""

    @property
    def nbytes(self) -> int:
        """Returns the bytes of memory that the encoded prompt takes."""


class Maths(Protocol):
    """Interface of the Python module that holds a model family's computations on latents."""

    def latent_factor(self, vae_config: Config, /) -> int:
        """Returns the VAE's downscaling factor: the side of a picture in pixels, divided by the side of its latents."""

    def to_images(self, vae: Loaded, latents: Tensor, /) -> list[Image]:
        """Decodes normalised latents (B, C, h, w) with the VAE to B pictures."""


class TextToPicture(ABC):
    """Base class of the engines that generate pictures from text with a model in diffusers layout.

    Encodes all prompts, then denoises and decodes batch by batch. A family's subclass defines the text encoders, how
    prompts are encoded and how latents are denoised.
    """

    maths: ClassVar[Maths]
    encoders: ClassVar[tuple[str, ...]]
    encode_bytes_per_token: ClassVar[int]  # this and the next two are measured in bfloat16
    denoise_bytes_per_pixel: ClassVar[int]
    decode_bytes_per_pixel: ClassVar[int]  # untiled

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self._batch = int(spec.options.get("batch", 1))
        self._adapters = AdapterFiles()
        self._words: Memo[Words] = Memo(
            int(spec.options.get("encoding_cache_bytes", _ENCODING_CACHE_BYTES)), lambda words: words.nbytes
        )

    @abstractmethod
    def read(self, parts: Mapping[str, Loaded], prompts: Sequence[str]) -> Sequence[Any]:
        """Encodes the prompts with the text encoders; returns one encoded prompt for each prompt, in RAM.

        `parts`: component name -> module, for the text encoders.
        """

    @abstractmethod
    def sample(
        self, transformer: Loaded, words: Mapping[str, Any], items: Sequence[GenerateParams], tick: Tick
    ) -> Tensor:
        """Denoises the pictures of one batch and returns their normalised latents (B, C, h, w).

        `words`: prompt -> the encoded prompt that `read` returned; `tick(done, steps)` is called after each step.
        """

    def prompts(self, item: GenerateParams) -> tuple[str, ...]:
        """Returns the prompts to encode for a picture: first its own, then any others, such as the negative prompt.

        Pictures share a batch only where their other prompts are equal.
        """
        return (item.prompt,)

    def plan(self, items: Sequence[GenerateParams]) -> Plan:
        """Checks the parameters; returns the stages encode (text encoders), denoise (transformer, LoRAs), decode (VAE).

        Raises: ModelMissing, NotFound for a LoRA file, BadInput for parameters that are impossible.
        """
        for item in items:
            self._check(item)
        together = min(self._batch, max(len(items), 1))
        width, height = max(((item.width, item.height) for item in items), key=prod, default=(0, 0))
        pixels = width * height * together
        scale = components.weight_dtype(self.spec).itemsize / 2
        loras = max((stack_bytes(item.loras) for item in items), default=0)
        text = self.text_tokens * together * self.encode_bytes_per_token
        return Plan(
            f"{self.spec.label}: {len(items)} picture{'s' * (len(items) != 1)}",
            (
                leaner(
                    Stage("encode", tuple(self._component(name) for name in self.encoders), int(text * scale)),
                    streamed,
                ),
                leaner(
                    Stage(
                        "denoise",
                        (self._component("transformer"),),
                        int(pixels * self.denoise_bytes_per_pixel * scale) + loras,
                    ),
                    streamed,
                ),
                leaner(
                    Stage("decode", (self._component("vae"),), int(pixels * self.decode_bytes_per_pixel * scale)),
                    tiled(width, height, self.decode_bytes_per_pixel * scale, together),
                ),
            ),
        )

    def generate(self, items: Sequence[GenerateParams], lease: Lease, on_step: OnStep) -> Iterator[Image]:
        """Generates the pictures in order and yields those of a batch once it is decoded.

        Neighbours share a batch where their sizes, steps, first-block caches, LoRAs and negative prompts are equal.
        Raises: BadInput for impossible parameters, NotFound and LoraMismatch for a LoRA file, Cancelled.
        """
        if not items:
            return
        for item in items:
            self._check(item)
        progress = Progress(on_step, sum(item.steps for item in items), len(items))
        words = self._encode(lease, items, progress)
        for chunk in chunks(items, self._alike, self._batch):
            with (
                lease.stage("denoise") as parts,
                attached(parts["transformer"], chunk[0].loras, self.spec.family, self._adapters),
                shortcuts.taken(parts["transformer"], self.spec.options, chunk[0].first_block_cache),
            ):
                latents = self.sample(parts["transformer"], words, chunk, progress.chunk(len(chunk)))
            with lease.stage("decode") as parts:
                pictures = self.maths.to_images(parts["vae"], latents)
            yield from pictures

    def check_loras(self, uses: Sequence[LoraUse]) -> list[str]:
        """Checks that LoRA files fit the model; returns a message for each file with tensors that will not be used.

        Raises: NotFound for a missing file, LoraMismatch for one that does not fit, BadInput for a strength too large,
        ModelMissing where the model is not on this machine.
        """
        return adapters.check(self._skeleton, uses, self.spec.family, self._adapters)

    @cached_property
    def _skeleton(self) -> Loaded:
        """Returns the transformer without its weights."""
        return components.bare(self.folder, "transformer", self.folder / "transformer")

    def _encode(self, lease: Lease, items: Sequence[GenerateParams], progress: Progress) -> Mapping[str, Words]:
        """Encodes each prompt once and returns prompt -> encoded prompt; leases no encoder where all are cached."""
        prompts = list(dict.fromkeys(prompt for item in items for prompt in self.prompts(item)))
        new = [prompt for prompt in prompts if prompt not in self._words]
        words = {prompt: self._words[prompt] for prompt in prompts if prompt in self._words}
        with lease.stage("encode") if new else nullcontext({}) as parts:
            for group in chunks(new, lambda _: None, self._batch):
                progress.say(f"reading prompt {len(words) + 1} of {len(prompts)}")
                words.update(zip(group, self.read(parts, group), strict=True))
        for prompt in new:
            self._words[prompt] = words[prompt]
        return words

    def _alike(self, item: GenerateParams) -> Hashable:
        """Returns the settings that pictures must have in common to share a batch."""
        _, *shared = self.prompts(item)
        return (item.width, item.height, item.steps, item.first_block_cache, item.loras, *shared)

    def _check(self, item: GenerateParams) -> None:
        unit = 2 * self.factor
        if min(item.width, item.height) < unit:
            raise BadInput(f"{item.width}×{item.height} is too small.", f"{self.spec.name} needs {unit} pixels a side.")
        if item.steps < 1:
            raise BadInput(f"{item.steps} steps draw nothing.", "Ask for at least 1 step.")

    def _component(self, name: str) -> Component:
        return components.component(self.spec, self.folder, name)

    @property
    def text_tokens(self) -> int:
        """Returns the number of tokens to which each prompt is padded or truncated."""
        return int(self.spec.options.get("text_tokens", 512))

    @cached_property
    def schedule(self) -> Json:
        """Returns the scheduler's configuration from the model's folder."""
        return components.scheduler(self.folder)

    @cached_property
    def factor(self) -> int:
        """Returns the VAE's downscaling factor: the side of a picture in pixels, divided by the side of its latents."""
        return self.maths.latent_factor(components.config(self.folder, "vae"))
