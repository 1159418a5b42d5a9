"""Each way to a picture sooner, beside the plain way to the same picture: how much sooner, and how far they are apart.

The embedded family on one thread of this machine's CPU, seconds of CPU time: others' work does not show. Some of
these ways are for cards and large models (compiling, tiles, batches); what they gain or cost here is told as it is.
"""

from __future__ import annotations

import argparse
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import which
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

import assets
from engines.api.params import EditParams, GenerateParams
from engines.api.protocols import EditItem
from engines.catalogue.registry import Registry, load_class
from engines.device.devices import open_device
from engines.drawing.leaner import tiles
from engines.families.flux import maths as flux
from engines.mini import world
from engines.mini.dataset import edit_pair, held_out_scene
from engines.weights import components
from engines.wording import drawn as vocab
from frontdoor.bench.rows import Row
from studio.gpu.manager import GpuManager

EDITOR, GENERATOR = "mini-qwen-edit", "mini-flux"
FORGETFUL = {"encoding_cache_bytes": 0}  # so that only the caches' own contest is decided by them
EXACT = 0  # grey levels
Way = Callable[[], Sequence[Image.Image]]


def _backend() -> str:
    """torch's own compiler where it finds one of the system's and Python's headers, else its tracing alone."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return "inductor" if headers.is_file() and (which("g++") or which("clang++")) else "eager"


@dataclass(frozen=True)
class Scale:
    """How much is done: rounds of either way, pictures a round, steps of a long schedule, pixels a side in tiles."""

    rounds: int = 3
    pictures: int = 2
    batch: int = 8
    long: int = 30
    tiled: int = 256
    steps: int = 0  # of the others; 0: the model's own
    backend: str = field(default_factory=_backend)


@dataclass(frozen=True)
class Contest:
    """Two ways to the same pictures; `apart` is the goal of their difference where they must be equal."""

    name: str
    plain: Way
    quick: Way
    apart: int | None = None


def measure(options: argparse.Namespace) -> list[Row]:
    """Every speed path of the embedded family."""
    del options
    return list(rows(Scale()))


def rows(scale: Scale) -> Iterator[Row]:
    """Three rows a contest."""
    with _one_thread():
        for contest in contests(House(), scale):
            yield from compared(contest, scale.rounds)


def compared(contest: Contest, rounds: int, clock: Callable[[], float] = time.process_time) -> Iterator[Row]:
    """Median of CPU seconds the plain way over the median the quick way, in turns; the difference of their pictures."""
    ways = {"plain": contest.plain, "quick": contest.quick}
    drawn = {name: list(way()) for name, way in ways.items()}  # imports, weights, what is compiled
    apart = np.stack([_difference(*pair) for pair in zip(drawn["plain"], drawn["quick"], strict=True)])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in sorted(ways, reverse=number % 2 == 1):
            began = clock()
            ways[name]()
            seconds[name].append((clock() - began) / len(apart))
    ratios = [plain / max(quick, 1e-9) for plain, quick in zip(seconds["plain"], seconds["quick"], strict=True)]
    ratio = median(seconds["plain"]) / max(median(seconds["quick"]), 1e-9)
    yield Row(
        name=f"{contest.name}: pictures in the same time",
        value=ratio,
        unit="×",
        peer=f"the plain way, {median(seconds['plain']):.3g} CPU s",
        ratio=ratio,
        spread=(max(ratios) - min(ratios)) / 2,
    )
    furthest, exact = float(apart.max()), contest.apart
    yield Row(
        name=f"{contest.name}: largest difference",
        value=furthest,
        unit="grey levels of 255",
        goal="" if exact is None else f"≤ {exact}",
        ok=None if exact is None else furthest <= exact,
    )
    yield Row(name=f"{contest.name}: mean difference", value=float(apart.mean()), unit="grey levels of 255")


def contests(house: House, scale: Scale) -> Iterator[Contest]:
    """Few steps, caches, batches, compiled blocks, tiles, first-block cache."""
    steps = {"steps": scale.steps} if scale.steps else {}
    edits, scenes = house.edits(scale.pictures, **steps), house.scenes(scale.pictures, **steps)
    yield Contest(
        "few steps, an edit",
        house.draws(EDITOR, edits, FORGETFUL),
        house.draws(EDITOR, house.edits(scale.pictures, few_steps=True), FORGETFUL),
    )
    short = house.edits(scale.pictures, few_steps=True)
    yield Contest(
        "words and pictures read before, a few-step edit",
        house.draws(EDITOR, short, FORGETFUL),
        house.draws(EDITOR, short, {}),
        apart=EXACT,
    )
    many = {EDITOR: house.edits(scale.batch, few_steps=True), GENERATOR: house.scenes(scale.batch, **steps)}
    for name, items in many.items():
        yield Contest(
            f"{scale.batch} in a batch, {name}",
            house.draws(name, items, {**FORGETFUL, "batch": 1}),
            house.draws(name, items, {**FORGETFUL, "batch": scale.batch}),
        )
    compiled = {"compile": scale.backend, "compile_anywhere": True}
    yield Contest(
        f"blocks compiled ({scale.backend}), {GENERATOR}",
        house.draws(GENERATOR, scenes, FORGETFUL),
        house.draws(GENERATOR, scenes, {**FORGETFUL, **compiled}),
    )
    latents = house.latents(scale.pictures, scale.tiled)
    yield Contest(
        f"the VAE in tiles, decoding {scale.tiled} px",
        house.decodes(latents, 0),
        house.decodes(latents, scale.tiled // 2),
    )
    long = ((EDITOR, house.edits, 0.1), (GENERATOR, house.scenes, 0.1), (GENERATOR, house.scenes, 0.2))
    for model, make, threshold in long:
        plain = make(scale.pictures, steps=scale.long)
        quick = make(scale.pictures, steps=scale.long, first_block_cache=threshold)
        yield Contest(
            f"first-block cache {threshold}, {scale.long} steps, {model}",
            house.draws(model, plain, FORGETFUL),
            house.draws(model, quick, FORGETFUL),
        )


class House:
    """The embedded models on this machine's memory, and what is asked of them: people that they have never seen."""

    def __init__(self) -> None:
        self._registry = Registry(Path(assets.__file__).parent, Path("models"))
        device = open_device("cpu")
        self._gpu = GpuManager(device, device.total_bytes(), {})

    def edits(self, count: int, **knobs: Any) -> list[EditItem]:
        """As many edits of one size, each of a person of its own."""
        spec, items = self._registry.spec(EDITOR), []
        for index in range(count):
            scene = held_out_scene(91_000 + 8 * index, framing="bust")
            words = edit_pair(scene, f"shortcut {index}", vocab.TASKS[index % len(vocab.TASKS)]).instruction
            params = spec.params(EditParams, instruction=words, seed=index, **knobs)
            items.append(EditItem(world.draw(scene), params))
        return items

    def scenes(self, count: int, **knobs: Any) -> list[GenerateParams]:
        """As many prompts."""
        spec = self._registry.spec(GENERATOR)
        words = [world.caption(held_out_scene(92_000 + 8 * index)) for index in range(count)]
        return [spec.params(GenerateParams, prompt=each, seed=at, **knobs) for at, each in enumerate(words)]

    def draws(self, model: str, items: Sequence[Any], options: Mapping[str, Any]) -> Way:
        """A job of a model, its row's options changed: an engine of its own, its memory too."""
        row = self._registry.spec(model)
        spec = replace(row, options={**row.options, **options})
        engine: Any = load_class(spec.engine)(spec, self._registry.folder(spec))
        draw = engine.edit if spec.role == "editor" else engine.generate

        def way() -> list[Image.Image]:
            with self._gpu.lease(engine.plan(items)) as lease:
                return list(draw(items, lease, _silent))

        return way

    def latents(self, count: int, side: int) -> Any:
        """Drawings of side × side pixels as the generator's VAE encodes them."""
        drawings = [world.draw(held_out_scene(93_000 + 8 * index), side) for index in range(count)]
        return flux.to_latents(self._vae(), drawings, sample=False)

    def decodes(self, latents: Any, side: int) -> Way:
        """Back to pictures, whole, or in tiles of so many pixels a side."""
        vae = self._vae()

        def way() -> list[Image.Image]:
            if not side:
                return flux.to_images(vae, latents)
            with tiles({"vae": vae}, side):
                return flux.to_images(vae, latents)

        return way

    def _vae(self) -> Any:
        spec = self._registry.spec(GENERATOR)
        return components.load(spec, self._registry.folder(spec), "vae")


def _silent(step: int, total: int, message: str = "") -> None:
    del step, total, message


def _difference(one: Image.Image, other: Image.Image) -> np.ndarray:
    return np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Several threads' seconds would be added up."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
