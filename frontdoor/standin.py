"""The stand-in reviewer: takes the human's part in `launch.py demo`, by the ground truth of the drawn characters.

It judges with oracles trained on that truth (attribute readers and an identity encoder of their own), never with the
scorer that filters. It is no part of the studio.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engines.catalogue.registry import load_class
from studio.records.image import Verdict

T = TypeVar("T")
Truth = Mapping[str, object]  # a scene as `engines.mini.world.truth` writes it, which `from_truth` reads
Vectors = NDArray[np.floating]  # (N, D), each row of length 1
_READ = ("angle", "expression", "pose", "framing", "background", "light", "outfit", "style")


class Oracle(Protocol):
    """Attribute readers and an identity encoder that only judge: no model was trained with them."""

    def read(self, images: Sequence[Image.Image]) -> list[dict[str, tuple[str, float]]]:
        """Returns for each picture its attributes by name, as (value, probability)."""
        ...

    def embed(self, images: Sequence[Image.Image]) -> Vectors:
        """Returns unit vectors (N, D) of pictures; two of the same person have a large product."""
        ...


@dataclass(frozen=True)
class Original:
    """Holds a picture of the character, and the truth of the scene that it shows."""

    truth: Truth
    picture: Image.Image


@dataclass(frozen=True)
class Opinion:
    """Holds the stand-in's judgement of one picture.

    `similarity` is the mean similarity to the three nearest originals. `identity`: whether the picture shows the
    character. `wrong` are the attributes that were asked for and that the picture does not show.
    """

    similarity: float
    identity: bool
    wrong: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Returns the verdict of the opinion.

        Another person is rejected; the right person, not as asked, needs correction.
        """
        if not self.identity:
            return Verdict.REJECT
        return Verdict.NEEDS_CORRECTION if self.wrong else Verdict.GOOD

    @property
    def reasons(self) -> tuple[str, ...]:
        """Returns the reasons by the names that Review gives them; empty for a good picture."""
        return (*(() if self.identity else ("identity",)), *(("edit not done",) if self.wrong else ()))


@dataclass
class StandIn:
    """A reviewer that knows the originals' truth and counts its own verdicts.

    `threshold` is the similarity from which a picture shows the character. `truths` maps an original's id to its scene,
    `originals` are the originals' vectors (N, D). `decisions` counts the verdicts by the step of the turn.
    """

    oracle: Oracle
    threshold: float
    truths: Mapping[str, Truth]
    originals: Vectors
    decisions: Counter[str] = field(default_factory=Counter)

    @classmethod
    def for_originals(cls, assets: Path, threshold: float, originals: Mapping[str, Original]) -> StandIn:
        """Returns a reviewer for the character that is shown by `originals`, which maps ids to pictures.

        `threshold` as in `StandIn`. Reads the oracle from the folder `assets`.
        """
        oracle: Oracle = _in_own_thread(lambda: load_class("engines.mini.oracle:Oracle").load(assets / "mini/oracle"))
        truths = {image_id: original.truth for image_id, original in originals.items()}
        pictures = [original.picture for original in originals.values()]
        return cls(oracle, threshold, truths, _in_own_thread(lambda: oracle.embed(pictures)))

    def judge(self, pictures: Sequence[Image.Image], asked: Sequence[Mapping[str, str]]) -> list[Opinion]:
        """Returns one opinion for each picture; `asked` holds for each the attributes that were asked for."""
        if not pictures:
            return []
        vectors, readings = _in_own_thread(lambda: (self.oracle.embed(pictures), self.oracle.read(pictures)))
        nearest = (vectors @ self.originals.T).astype(float)
        nearest.sort(axis=1)
        return [
            Opinion(
                similarity=float(row[-3:].mean()),
                identity=bool(row[-3:].mean() >= self.threshold),
                wrong=tuple(name for name in _READ if name in want and reading[name][0] != want[name]),
            )
            for row, reading, want in zip(nearest, readings, asked, strict=True)
        ]

    def decide(self, stage: str, opinion: Opinion, act: Callable[[Verdict, tuple[str, ...]], object]) -> None:
        """Passes the opinion's verdict and reasons to `act`, and counts the verdict for the step `stage`."""
        act(opinion.verdict, opinion.reasons)
        self.decisions[stage] += 1

    def correct(self, source: str, asked: Mapping[str, str], size: int) -> Image.Image:
        """Draws and returns what an edit should have been, a picture `size` pixels wide.

        It is the scene of the original `source`, an id, with the attributes that were asked for.
        """
        scene = load_class("engines.mini.world:from_truth")({**self.truths[source], **asked})
        picture: Image.Image = load_class("engines.mini.world:draw")(scene, size)
        return picture


def _in_own_thread(work: Callable[[], T]) -> T:
    """Runs `work` in a new thread that ends afterwards, and returns its result.

    OpenMP keeps a pool for every thread that ever computed. With more pools than cores all threads sleep between two
    operations, and the trainings that a turn waits for take twice as long.
    """
    with ThreadPoolExecutor(1) as one:
        return one.submit(work).result()
