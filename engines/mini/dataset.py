"""The predrawn training pictures: drawn once into a cache folder, the same ones for every stage."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from engines.api.axes import EXPRESSIONS
from engines.mini import world
from engines.mini.world import Scene
from engines.wording import drawn as vocab

PICTURES_PER_PERSON = 8
_OTHER = dict(zip(EXPRESSIONS, (*EXPRESSIONS[1:], EXPRESSIONS[0]), strict=True))
_TASK_WEIGHTS = {
    "background": 1,
    "lighting": 1,
    "outfit": 1.2,
    "style": 1,
    "angle": 2.2,
    "expression": 2.2,
    "pose": 1.6,
}
# Large editors forget something of who they redraw, for so do the pairs that they learn from; so do ours.
_REDRAWN = {"outfit", "style", "angle", "expression", "pose"}
_FORGOTTEN = ("hair_style", "hair_colour")
FORGETFUL = 0.15


@dataclass(frozen=True)
class Pair:
    """One drawn edit: the scene before, the words, the scene after, and the tasks the words name."""

    before: Scene
    instruction: str
    after: Scene
    tasks: tuple[str, ...]


def train_scene(index: int) -> Scene:
    """Give the index-th training scene; runs of eight show one person."""
    rng = random.Random(f"scene {index}")
    return Scene.random(rng, world.train_person(index // PICTURES_PER_PERSON))


def held_out_scene(index: int, **fixed: str) -> Scene:
    """Give the index-th scene of the people no model has seen; runs of eight show one person."""
    rng = random.Random(f"unseen {index}")
    return Scene.random(rng, world.held_out_person(1000 + index // PICTURES_PER_PERSON), **fixed)


def edit_pair(before: Scene, seed: str, task: str | None = None) -> Pair:
    """Give a scene one edit (in one of seven cases two), worded at random."""
    rng = random.Random(f"edit {seed}")
    tasks = [task] if task else rng.choices(list(_TASK_WEIGHTS), list(_TASK_WEIGHTS.values()))
    if tasks == ["pose"] and before.framing != "full body" and rng.random() < 0.3:
        tasks = [rng.choice(("angle", "expression"))]
    if task is None and rng.random() < 1 / 7:
        tasks.append(rng.choice([other for other in vocab.TASKS if other != tasks[0]]))
    after = before
    for name in tasks:
        options = world.edit_options(after, name)
        after = world.apply_edit(after, name, rng.choice(options))
    return Pair(before, world.instruction(before, after, rng), after, tuple(tasks))


def forgetful(pair: Pair, seed: str) -> Pair:
    """Let some of the people whom an edit redraws come back with hair that is not theirs."""
    rng = random.Random(f"forget {seed}")
    if not _REDRAWN.intersection(pair.tasks) or rng.random() >= FORGETFUL:
        return pair
    return replace(pair, after=replace(pair.after, person=world.changed(rng, pair.after.person, _FORGOTTEN)))


def key_of(scenes: list[Scene], pairs: list[Pair]) -> str:
    """Shorten all that is true of scenes and edits to a few letters, which no other recipe shares."""
    return sha256(repr((scenes, pairs)).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Dataset:
    """`count` training scenes, and as many edits of them, as pictures on disk (uint8, (2 × count, 64, 64, 3))."""

    folder: Path
    count: int
    size: int = 64

    @cached_property
    def scenes(self) -> list[Scene]:
        """Scenes before any edit."""
        return [train_scene(i) for i in range(self.count)]

    @cached_property
    def pairs(self) -> list[Pair]:
        """Edits; pair i starts from scene i and its result is picture count + i."""
        return [forgetful(edit_pair(scene, str(i)), str(i)) for i, scene in enumerate(self.scenes)]

    @cached_property
    def all_scenes(self) -> list[Scene]:
        """Scenes of every picture, in the order of the pictures."""
        return self.scenes + [pair.after for pair in self.pairs]

    @cached_property
    def key(self) -> str:
        """Name what is drawn and asked, so that nothing made from the pictures of another recipe is taken for these."""
        return key_of(self.scenes, self.pairs)

    @cached_property
    def pictures(self) -> np.ndarray:
        """Pictures of `all_scenes`, memory-mapped; drawn at the first use."""
        path = self.folder / f"pictures-{self.count}-{self.size}-{self.key}.npy"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part.npy")
            shape = (2 * self.count, self.size, self.size, 3)
            out = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
            for i, picture in enumerate(draw_many(self.all_scenes, self.size)):
                out[i] = picture
                if i % 8000 == 0:
                    print(json.dumps({"stage": "draw", "done": i, "of": shape[0]}), flush=True)
            out.flush()
            part.rename(path)
        return np.load(path, mmap_mode="r")

    @cached_property
    def faces(self) -> np.ndarray:
        """Where another expression would change a picture: mean difference of each 8 × 8 patch, (2 × count, 64)."""
        path = self.folder / f"faces-{self.count}-{self.size}-{self.key}.npy"
        if not path.exists():
            others = [replace(scene, expression=_OTHER[scene.expression]) for scene in self.all_scenes]
            out = np.empty((len(others), (self.size // 8) ** 2), dtype=np.float16)
            for i, picture in enumerate(draw_many(others, self.size)):
                change = np.abs(picture.astype(np.int16) - self.pictures[i]).mean(axis=2)
                out[i] = change.reshape(self.size // 8, 8, self.size // 8, 8).mean(axis=(1, 3)).ravel()
            part = path.with_suffix(".part.npy")
            np.save(part, out)
            part.rename(path)
        return np.load(path)


def draw_all(scenes: list[Scene], size: int = 64) -> Iterator[np.ndarray]:
    """Draw scenes one after another as uint8 arrays (size, size, 3)."""
    for scene in scenes:
        yield np.asarray(world.draw(scene, size))


def draw_many(scenes: list[Scene], size: int) -> Iterator[np.ndarray]:
    """Draw thousands of scenes, in their order, on every core."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for drawn in pool.map(_draw_some, [scenes[i : i + 500] for i in range(0, len(scenes), 500)], repeat(size)):
            yield from drawn


def _draw_some(scenes: list[Scene], size: int) -> np.ndarray:
    return np.stack(list(draw_all(scenes, size)))
