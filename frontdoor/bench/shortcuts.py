"""Compares each faster way to a picture with the plain way: the gain in speed, and the difference of the pictures.

The embedded models run on one CPU thread, timed in CPU seconds, so that other work does not count. Some of these ways
are for GPUs and large models (compiling, tiles, batches); their gain or cost here is reported as it is.
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

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import assets
from engines.api.params import EditParams, GenerateParams
from engines.api.protocols import EditItem, Editor, Generator, ModelSpec
from engines.catalogue.registry import Registry, load_class
from engines.device.devices import open_device
from engines.drawing.leaner import tiles
from engines.families.flux import maths as flux
from engines.mini import world
from engines.mini.dataset import edit_pair, held_out_scene
from engines.weights import components
from engines.wording import drawn as vocab
from frontdoor.bench import progress
from frontdoor.bench.rows import Row
from studio.gpu.manager import GpuManager

EDITOR, GENERATOR = "mini-qwen-edit", "mini-flux"
NO_CACHE = {"encoding_cache_bytes": 0}  # so that the caches help only in their own comparison
Draw = Callable[[], Sequence[Image.Image]]


def compiler_backend() -> str:
    """Returns the name of the backend that torch.compile can use on this machine.

    It is `inductor` where a C++ compiler and Python's headers are installed, else `eager`, which traces and does not
    compile.
    """
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return "inductor" if headers.is_file() and (which("g++") or which("clang++")) else "eager"


@dataclass(frozen=True)
class Scale:
    """Holds how much is drawn to compare faster ways of drawing, such as caches and batches, with the plain way.

    `rounds` is how often each way is timed, `pictures` how many are drawn in each round, `batch` how many in the
    comparison of batches. `steps` is the number of denoising steps, 0 for the models' own; `long` is the number of
    steps in the comparisons of the first-block cache. `tiled` is the side in pixels of the pictures that the VAE
    decodes in tiles. `backend` is the name of torch.compile's backend.
    """

    rounds: int = 3
    pictures: int = 2
    batch: int = 8
    long: int = 30
    tiled: int = 256
    steps: int = 0
    backend: str = field(default_factory=compiler_backend)


@dataclass(frozen=True)
class Comparison:
    """Holds two functions that draw the same pictures, one in the plain way and one in a faster way.

    `name` labels the comparison's rows in the report. `most_apart` is the largest difference in grey levels that the
    two results may have, None for no goal.
    """

    name: str
    plain: Draw
    quick: Draw
    most_apart: int | None = None


def measure(options: argparse.Namespace) -> list[Row]:
    """Compares each faster way of drawing, such as caches or batches, with the plain way; returns the report's rows.

    The small embedded models draw. `options` is not used.
    """
    del options
    return list(rows(Scale()))


def rows(scale: Scale) -> Iterator[Row]:
    """Compares each faster way of drawing with the plain way, on one CPU thread; yields three report rows for each.

    The three rows are the speed-up, the largest and the mean difference of the pictures; see `compare`.
    """
    with _one_thread():
        for comparison in comparisons(EmbeddedModels(), scale):
            yield from compare(comparison, scale.rounds)


def compare(comparison: Comparison, rounds: int, clock: Callable[[], float] = time.process_time) -> Iterator[Row]:
    """Times the two ways of a comparison; yields three rows: the speed-up, the largest and the mean difference.

    The speed-up is the ratio of median seconds, plain way over faster way. The differences are those of the pictures'
    pixel values, in grey levels. Each way runs once before it is timed `rounds` times, and they take turns in being
    first. `clock` returns seconds.
    """
    ways = {"plain": comparison.plain, "quick": comparison.quick}
    drawn = {name: list(way()) for name, way in ways.items()}  # imports, loads and compiles
    pairs = zip(drawn["plain"], drawn["quick"], strict=True)
    apart = np.stack([np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)) for one, other in pairs])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in sorted(ways, reverse=number % 2 == 1):
            began = clock()
            ways[name]()
            seconds[name].append((clock() - began) / len(apart))
    ratios = [plain / max(quick, 1e-9) for plain, quick in zip(seconds["plain"], seconds["quick"], strict=True)]
    ratio = median(seconds["plain"]) / max(median(seconds["quick"]), 1e-9)
    yield Row(
        name=f"{comparison.name}: pictures in the same time",
        value=ratio,
        unit="×",
        peer=f"the plain way, {median(seconds['plain']):.3g} CPU s",
        ratio=ratio,
        spread=(max(ratios) - min(ratios)) / 2,
    )
    furthest, most = float(apart.max()), comparison.most_apart
    yield Row(
        name=f"{comparison.name}: largest difference",
        value=furthest,
        unit="grey levels of 255",
        goal="" if most is None else f"≤ {most}",
        ok=None if most is None else furthest <= most,
    )
    yield Row(name=f"{comparison.name}: mean difference", value=float(apart.mean()), unit="grey levels of 255")


def comparisons(models: EmbeddedModels, scale: Scale) -> Iterator[Comparison]:
    """Yields a comparison with the plain way for each faster way of drawing.

    The faster ways are few steps, cached encodings, batches, compiled blocks, VAE tiles and the first-block cache.
    """
    steps = {"steps": scale.steps} if scale.steps else {}
    edits, scenes = models.edits(scale.pictures, **steps), models.scenes(scale.pictures, **steps)
    short = models.edits(scale.pictures, few_steps=True)
    yield Comparison("few steps, an edit", models.edit(edits, NO_CACHE), models.edit(short, NO_CACHE))
    yield Comparison(
        "words and pictures read before, a few-step edit",
        models.edit(short, NO_CACHE),
        models.edit(short, {}),
        most_apart=0,
    )
    alone, batch = {**NO_CACHE, "batch": 1}, {**NO_CACHE, "batch": scale.batch}
    many_edits, many_scenes = models.edits(scale.batch, few_steps=True), models.scenes(scale.batch, **steps)
    yield Comparison(
        f"{scale.batch} in a batch, {EDITOR}", models.edit(many_edits, alone), models.edit(many_edits, batch)
    )
    yield Comparison(
        f"{scale.batch} in a batch, {GENERATOR}",
        models.generate(many_scenes, alone),
        models.generate(many_scenes, batch),
    )
    yield Comparison(
        f"blocks compiled ({scale.backend}), {GENERATOR}",
        models.generate(scenes, NO_CACHE),
        models.generate(scenes, {**NO_CACHE, "compile": scale.backend, "compile_anywhere": True}),
    )
    latents = models.latents(scale.pictures, scale.tiled)
    yield Comparison(
        f"the VAE in tiles, decoding {scale.tiled} px",
        models.decode(latents, 0),
        models.decode(latents, scale.tiled // 2),
    )
    count, long = scale.pictures, scale.long
    yield Comparison(
        f"first-block cache 0.1, {long} steps, {EDITOR}",
        models.edit(models.edits(count, steps=long), NO_CACHE),
        models.edit(models.edits(count, steps=long, first_block_cache=0.1), NO_CACHE),
    )
    for threshold in (0.1, 0.2):
        yield Comparison(
            f"first-block cache {threshold}, {long} steps, {GENERATOR}",
            models.generate(models.scenes(count, steps=long), NO_CACHE),
            models.generate(models.scenes(count, steps=long, first_block_cache=threshold), NO_CACHE),
        )


class EmbeddedModels:
    """Prepares edits and prompts for the small models that ship with the project, and functions that draw them.

    The people in these edits and prompts are people whom the models were not trained on.
    """

    def __init__(self) -> None:
        self._registry = Registry(Path(assets.__file__).parent, Path("models"))
        device = open_device("cpu")
        self._gpu = GpuManager(device, device.total_bytes(), {})

    def edits(self, count: int, **knobs: object) -> list[EditItem]:
        """Returns `count` edits of pictures of one size, each of another person, without running them.

        `knobs` are edit parameters that replace the model's defaults.
        """
        spec, items = self._registry.spec(EDITOR), []
        for index in range(count):
            scene = held_out_scene(91_000 + 8 * index, framing="bust")
            words = edit_pair(scene, f"shortcut {index}", vocab.TASKS[index % len(vocab.TASKS)]).instruction
            params = spec.params(EditParams, instruction=words, seed=index, **knobs)
            items.append(EditItem(world.draw(scene), params))
        return items

    def scenes(self, count: int, **knobs: object) -> list[GenerateParams]:
        """Returns the parameters of `count` pictures to generate, each with a prompt for another person.

        `knobs` are parameters that replace the model's defaults.
        """
        spec = self._registry.spec(GENERATOR)
        words = [world.caption(held_out_scene(92_000 + 8 * index)) for index in range(count)]
        return [spec.params(GenerateParams, prompt=each, seed=at, **knobs) for at, each in enumerate(words)]

    def edit(self, items: Sequence[EditItem], options: Mapping[str, object]) -> Draw:
        """Makes a new engine and returns a function that edits `items` with it and returns the pictures.

        `options` replace options of the model for this engine alone, for example its caches or its batch size.
        """
        spec = self._row(EDITOR, options)
        engine: Editor = load_class(spec.engine)(spec, self._registry.folder(spec))

        def draw() -> list[Image.Image]:
            with self._gpu.lease(engine.plan(items)) as lease:
                return list(engine.edit(items, lease, progress.ignore))

        return draw

    def generate(self, items: Sequence[GenerateParams], options: Mapping[str, object]) -> Draw:
        """Makes a new engine and returns a function that generates `items` with it and returns the pictures.

        `options` replace options of the model for this engine alone, for example its caches or its batch size.
        """
        spec = self._row(GENERATOR, options)
        engine: Generator = load_class(spec.engine)(spec, self._registry.folder(spec))

        def draw() -> list[Image.Image]:
            with self._gpu.lease(engine.plan(items)) as lease:
                return list(engine.generate(items, lease, progress.ignore))

        return draw

    def latents(self, count: int, side: int) -> Tensor:
        """Draws `count` pictures of side × side pixels and returns their latents, encoded by the generator's VAE."""
        drawings = [world.draw(held_out_scene(93_000 + 8 * index), side) for index in range(count)]
        return flux.to_latents(self._vae(), drawings, sample=False)

    def decode(self, latents: Tensor, side: int) -> Draw:
        """Returns a function that decodes `latents` with the generator's VAE and returns the pictures.

        It decodes in tiles of side × side pixels; where `side` is 0, in one piece.
        """
        vae = self._vae()

        def draw() -> list[Image.Image]:
            if not side:
                return flux.to_images(vae, latents)
            with tiles({"vae": vae}, side):
                return flux.to_images(vae, latents)

        return draw

    def _row(self, model: str, options: Mapping[str, object]) -> ModelSpec:
        """Returns a model's row of the registry with some of its options changed."""
        row = self._registry.spec(model)
        return replace(row, options={**row.options, **options})

    def _vae(self) -> nn.Module:
        """Loads and returns the generator's VAE."""
        spec = self._registry.spec(GENERATOR)
        vae: nn.Module = components.load(spec, self._registry.folder(spec), "vae")
        return vae


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limits torch to one thread while the context is open: CPU seconds of several would be added up."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
