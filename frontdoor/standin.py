"""The stand-in reviewer: takes the human's part in `launch.py demo`, by the ground truth of the drawn characters.

It judges with oracles trained on that truth (attribute readers and an identity encoder of their own), never with the
scorer that filters. It is no part of the studio.
"""

from __future__ import annotations

import json
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
READ = ("angle", "expression", "pose", "framing", "background", "light", "outfit", "style")


class Oracle(Protocol):
    """Declares the two methods with which the demo judges pictures: one reads attributes, the other embeds the person.

    Each method runs a net that only judges: no other model was trained with it.
    """

    def read(self, images: Sequence[Image.Image]) -> list[dict[str, tuple[str, float]]]:
        """Returns a dict for each picture: the name of an attribute -> (its most likely value, its probability)."""
        ...

    def embed(self, images: Sequence[Image.Image]) -> Vectors:
        """Returns a unit vector for the person in each picture, as an array (N, D).

        The product of two vectors is their cosine similarity, which is large where they show one person.
        """
        ...


@dataclass(frozen=True)
class Original:
    """Holds an original picture of the character, and the values that it was drawn from.

    `truth` maps names to these values, for example the person, the angle and the expression.
    """

    truth: Truth
    picture: Image.Image


@dataclass(frozen=True)
class Opinion:
    """Holds the judgement of the demo's reviewer, a program, on one picture.

    `similarity` is the mean similarity to the three nearest originals, `identity` tells whether the picture shows the
    character by this similarity. `wrong` are the names of the attributes that were asked for and that the picture does
    not show.
    """

    similarity: float
    identity: bool
    wrong: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Returns the verdict that follows from the opinion.

        A picture of another person is rejected. One of the right person that was not done as asked needs correction.
        All others are good.
        """
        if not self.identity:
            return Verdict.REJECT
        return Verdict.NEEDS_CORRECTION if self.wrong else Verdict.GOOD

    @property
    def reasons(self) -> tuple[str, ...]:
        """Returns the reasons against the picture, by their names on the Review tab; empty for a good picture."""
        return (*(() if self.identity else ("identity",)), *(("edit not done",) if self.wrong else ()))


@dataclass
class StandIn:
    """Represents the demo's reviewer, a program that takes the part of a human.

    `oracle` are the nets that it judges with. `threshold` is the similarity from which a picture shows the character.
    `truths` maps an original's id to the values that it was drawn from, such as angle and expression. `originals` are
    the unit vectors (N, D) of the originals. `decisions` counts the verdicts given, by the name of the demo's step.
    """

    oracle: Oracle
    threshold: float
    truths: Mapping[str, Truth]
    originals: Vectors
    decisions: Counter[str] = field(default_factory=Counter)

    @classmethod
    def for_originals(cls, assets: Path, originals: Mapping[str, Original]) -> StandIn:
        """Returns a reviewer for the character that the originals show; reads its nets from the folder `assets`.

        `originals` maps an original's id to its picture and the values that it was drawn from.
        """
        manifest = json.loads((assets / "mini" / "manifest.json").read_text())
        threshold = float(manifest["thresholds"]["judge"])
        oracle: Oracle = _in_own_thread(lambda: load_class("engines.mini.oracle:Oracle").load(assets / "mini/oracle"))
        truths = {image_id: original.truth for image_id, original in originals.items()}
        pictures = [original.picture for original in originals.values()]
        return cls(oracle, threshold, truths, _in_own_thread(lambda: oracle.embed(pictures)))

    def judge(self, pictures: Sequence[Image.Image], asked: Sequence[Mapping[str, str]]) -> list[Opinion]:
        """Returns an opinion on each picture, in the order of `pictures`.

        `asked` holds for each picture the attributes that it was asked to show, as name -> value.
        """
        if not pictures:
            return []
        vectors, readings = _in_own_thread(lambda: (self.oracle.embed(pictures), self.oracle.read(pictures)))
        nearest = (vectors @ self.originals.T).astype(float)
        nearest.sort(axis=1)
        return [
            Opinion(
                similarity=float(row[-3:].mean()),
                identity=bool(row[-3:].mean() >= self.threshold),
                wrong=tuple(name for name in READ if name in want and reading[name][0] != want[name]),
            )
            for row, reading, want in zip(nearest, readings, asked, strict=True)
        ]

    def decide(self, stage: str, opinion: Opinion, act: Callable[[Verdict, tuple[str, ...]], object]) -> None:
        """Calls `act` with the opinion's verdict and reasons, and counts the verdict.

        `stage` is the name of the demo's step under which it is counted; `act` stores the verdict.
        """
        act(opinion.verdict, opinion.reasons)
        self.decisions[stage] += 1

    def correct(self, source: str, asked: Mapping[str, str], size: int) -> Image.Image:
        """Draws and returns the picture that an edit should have produced, `size` × `size` pixels large.

        `source` is the id of the edited original. `asked` maps the attributes that the edit should change to their new
        values; the original is drawn again with these values.
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
