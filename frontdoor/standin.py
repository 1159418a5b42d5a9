"""The stand-in reviewer: takes the human's part in the demo, by the drawn world's truth.

It judges with oracles trained on the world's ground truth (attribute readers and an identity encoder of their own),
never with the scorer that filters. It is no part of the studio.
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
        """Returns for each picture: attribute -> (value, probability)."""
        ...

    def embed(self, images: Sequence[Image.Image]) -> Vectors:
        """Returns unit vectors (N, D); two of one person have a large product."""
        ...


@dataclass(frozen=True)
class Original:
    """A picture of the character, and the truth of the scene it was drawn from."""

    truth: Truth
    picture: Image.Image


@dataclass(frozen=True)
class Opinion:
    """The stand-in's judgement of one picture.

    `similarity` to the originals is the mean of the three nearest; `identity` is whether it shows the character;
    `wrong` are the attributes that were asked for and that the picture does not show.
    """

    similarity: float
    identity: bool
    wrong: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Returns the verdict: another person is rejected, the right person not as asked needs correction."""
        if not self.identity:
            return Verdict.REJECT
        return Verdict.NEEDS_CORRECTION if self.wrong else Verdict.GOOD

    @property
    def reasons(self) -> tuple[str, ...]:
        """Returns the reasons as the review's keys name them; empty for a good picture."""
        return (*(() if self.identity else ("identity",)), *(("edit not done",) if self.wrong else ()))


@dataclass
class StandIn:
    """A reviewer who knows the originals' truth and counts its own decisions.

    `threshold` is the similarity from which a picture shows the character; `truths` maps an original's id to the scene
    it was drawn from; `decisions` maps a step of the turn to the number of verdicts given in it.
    """

    oracle: Oracle
    threshold: float
    truths: Mapping[str, Truth]
    originals: Vectors
    decisions: Counter[str] = field(default_factory=Counter)

    @classmethod
    def for_originals(cls, assets: Path, threshold: float, originals: Mapping[str, Original]) -> StandIn:
        """Returns a reviewer for the character that the originals show, by their ids; reads the oracle from assets."""
        oracle: Oracle = _in_own_thread(lambda: load_class("engines.mini.oracle:Oracle").load(assets / "mini/oracle"))
        truths = {image_id: original.truth for image_id, original in originals.items()}
        pictures = [original.picture for original in originals.values()]
        return cls(oracle, threshold, truths, _in_own_thread(lambda: oracle.embed(pictures)))

    def judge(self, pictures: Sequence[Image.Image], asked: Sequence[Mapping[str, str]]) -> list[Opinion]:
        """Returns one opinion for each picture; `asked` holds the attributes that its words asked for."""
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
        """Passes the opinion's verdict and reasons to `act`, and counts the decision for the stage."""
        act(opinion.verdict, opinion.reasons)
        self.decisions[stage] += 1

    def correct(self, source: str, asked: Mapping[str, str], size: int) -> Image.Image:
        """Draws what an edit should have been: its source's scene with the attributes asked for, `size` pixels wide."""
        scene = load_class("engines.mini.world:from_truth")({**self.truths[source], **asked})
        picture: Image.Image = load_class("engines.mini.world:draw")(scene, size)
        return picture


def _in_own_thread(work: Callable[[], T]) -> T:
    """Runs `work` in a thread that ends with it, and returns its result.

    OpenMP keeps a pool for every thread that ever computed; with more of them than cores all sleep between two
    operations, and the trainings that the demo waits for take twice as long.
    """
    with ThreadPoolExecutor(1) as one:
        return one.submit(work).result()
