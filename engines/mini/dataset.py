"""Draws the toy world's training pictures once into a cache folder; all stages train on the same pictures."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.api.axes import EXPRESSIONS
from engines.mini import world
from engines.mini.scene import Scene, changed, held_out_person, train_person
from engines.wording import drawn as vocab

Pictures = npt.NDArray[np.uint8]  # (N, H, W, 3)

PICTURES_PER_PERSON = 8
_SAMPLED = 256  # scenes that are drawn to know whether drawing has changed; they have every value of every attribute
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
# Large editors lose some traits of the people whom they redraw, since their training pairs do; so do ours.
_REDRAWN = {"outfit", "style", "angle", "expression", "pose"}
_FORGOTTEN = ("hair_style", "hair_colour")
FORGETFUL = 0.15


@dataclass(frozen=True)
class Pair:
    """Holds one edit: the scenes before and after it, and its instruction.

    `tasks`: the kinds of change that are asked for, such as "pose" or "lighting".
    """

    before: Scene
    instruction: str
    after: Scene
    tasks: tuple[str, ...]


def train_scene(index: int) -> Scene:
    """Returns the training scene with this index, always the same; eight scenes in a row show one person."""
    rng = random.Random(f"scene {index}")
    return Scene.random(rng, train_person(index // PICTURES_PER_PERSON))


def held_out_scene(index: int, **fixed: str) -> Scene:
    """Returns a random scene with a person who is in no training scene; the same `index` gives the same scene.

    Eight indices in a row show one person. `fixed`: attributes to set, such as framing="head"; all others are random.
    """
    rng = random.Random(f"unseen {index}")
    return Scene.random(rng, held_out_person(1000 + index // PICTURES_PER_PERSON), **fixed)


def edit_pair(before: Scene, seed: str, task: str | None = None) -> Pair:
    """Returns a random edit of a scene, with a randomly worded instruction; the same `seed` gives the same edit.

    `task`: the kind of change. None takes a random kind and, for one edit in seven, adds a second kind. Where the scene
    does not show the full body, some edits of the pose become edits of angle or expression.
    """
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
    """Returns the edit `pair`, sometimes with other hair in its result, to imitate editors that lose a person's traits.

    Only edits that redraw the person can be changed, and only the share `FORGETFUL` of those. The same `seed` gives the
    same choice.
    """
    rng = random.Random(f"forget {seed}")
    if not _REDRAWN.intersection(pair.tasks) or rng.random() >= FORGETFUL:
        return pair
    return replace(pair, after=replace(pair.after, person=changed(rng, pair.after.person, _FORGOTTEN)))


def key_of(scenes: list[Scene], pairs: list[Pair], drawn: Iterable[Pictures]) -> str:
    """Returns a short hash of scenes, edits and drawings of some scenes.

    It becomes part of file names, so that files made from other scenes or edits, or drawn otherwise, are not reused.
    """
    told = sha256(repr((scenes, pairs)).encode())
    for picture in drawn:
        told.update(picture.tobytes())
    return told.hexdigest()[:8]


@dataclass(frozen=True)
class Dataset:
    """Holds `count` training scenes and an edit of each, with a drawing of each scene and of each result.

    `folder`: where the drawings are cached; `size`: their side in pixels.
    """

    folder: Path
    count: int
    size: int = 64

    @cached_property
    def scenes(self) -> list[Scene]:
        """Returns the descriptions of the pictures before the edits; picture number i shows scene i."""
        return [train_scene(i) for i in range(self.count)]

    @cached_property
    def pairs(self) -> list[Pair]:
        """Returns the edits: edit i starts from scene i, and picture number `count` + i shows its result."""
        return [forgetful(edit_pair(scene, str(i)), str(i)) for i, scene in enumerate(self.scenes)]

    @cached_property
    def all_scenes(self) -> list[Scene]:
        """Returns the scenes of all pictures: first those before the edits, then those after."""
        return self.scenes + [pair.after for pair in self.pairs]

    @cached_property
    def key(self) -> str:
        """Returns a short hash of the scenes, the edits and the way of drawing, part of the names of cached files."""
        return key_of(self.scenes, self.pairs, draw_all(self.scenes[:_SAMPLED], self.size))

    @cached_property
    def pictures(self) -> Pictures:
        """Returns the drawings of `all_scenes`, (2 × count, size, size, 3), memory-mapped from a file.

        The first use draws them and writes that file.
        """
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
        drawn: Pictures = np.load(path, mmap_mode="r")
        return drawn

    @cached_property
    def faces(self) -> npt.NDArray[np.float16]:
        """Returns how much each patch of 8 × 8 pixels depends on the person's expression: (2 × count, patches) float16.

        Each picture is drawn again with another expression. The value is the mean absolute difference of a patch's
        pixels, in 0…255. The first use computes and caches it.
        """
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
        changes: npt.NDArray[np.float16] = np.load(path)
        return changes


def draw_all(scenes: list[Scene], size: int = 64) -> Iterator[Pictures]:
    """Draws scenes one after another and yields each drawing as an array (size, size, 3)."""
    for scene in scenes:
        yield np.asarray(world.draw(scene, size))


def draw_many(scenes: list[Scene], size: int) -> Iterator[Pictures]:
    """Draws thousands of scenes on all CPU cores and yields the drawings in order, each as an array (size, size, 3)."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for drawn in pool.map(_draw_some, [scenes[i : i + 500] for i in range(0, len(scenes), 500)], repeat(size)):
            yield from drawn


def _draw_some(scenes: list[Scene], size: int) -> Pictures:
    """Returns the drawings of some scenes, (N, size, size, 3); worker processes find this function by its name."""
    return np.stack(list(draw_all(scenes, size)))
