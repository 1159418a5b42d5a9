"""The stand-in reviewer: plays the human in the demo, by what the drawn world knows to be true.

It judges with oracles trained on the world's ground truth (attribute readers and an identity encoder of their own),
never with the scorer that filters. It is no part of the studio.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from PIL import Image

from engines.catalogue.registry import load_class
from studio.records.image import Verdict

T = TypeVar("T")
Truth = dict[str, Any]
_READ = ("angle", "expression", "pose", "framing", "background", "light", "outfit", "style")


class Oracle(Protocol):
    """Readers and an identity encoder that only ever judge."""

    def read(self, images: Sequence[Image.Image]) -> list[dict[str, tuple[str, float]]]:
        """Per picture: attribute -> (value, probability)."""
        ...

    def embed(self, images: Sequence[Image.Image]) -> Any:
        """(N, D) unit vectors."""
        ...


@dataclass(frozen=True)
class Opinion:
    """What the stand-in thinks of one picture."""

    similarity: float  # to the originals: mean of the three nearest
    identity: bool
    wrong: tuple[str, ...]  # the asked attributes that it does not see

    @property
    def verdict(self) -> Verdict:
        """Another person is rejected; the right one, not as asked, needs correction."""
        if not self.identity:
            return Verdict.REJECT
        return Verdict.NEEDS_CORRECTION if self.wrong else Verdict.GOOD

    @property
    def reasons(self) -> tuple[str, ...]:
        """In the words of the review keys."""
        return (*(() if self.identity else ("identity",)), *(("edit not done",) if self.wrong else ()))


@dataclass
class StandIn:
    """Knows the originals' truth, has an eye for people, and keeps count of what it decided."""

    oracle: Oracle
    threshold: float
    truths: Mapping[str, Truth]  # source image id -> the scene it was drawn from
    originals: Any = None  # (N, D)
    decisions: Counter[str] = field(default_factory=Counter)

    @classmethod
    def hire(cls, assets: Path, threshold: float, sources: Mapping[str, tuple[Truth, Image.Image]]) -> StandIn:
        """A reviewer who has seen the originals."""
        oracle = _aside(lambda: load_class("engines.mini.oracle:Oracle").load(assets / "mini" / "oracle"))
        truths = {image_id: truth for image_id, (truth, _) in sources.items()}
        pictures = [picture for _, picture in sources.values()]
        return cls(oracle, threshold, truths, _aside(lambda: oracle.embed(pictures)))

    def look(self, pictures: Sequence[Image.Image], asked: Sequence[Mapping[str, str]]) -> list[Opinion]:
        """One opinion a picture; `asked` are the attributes that the words called for."""
        if not pictures:
            return []
        seen, readings = _aside(lambda: (self.oracle.embed(pictures), self.oracle.read(pictures)))
        nearest = (seen @ self.originals.T).astype(float)
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
        """Say the verdict aloud, and count it."""
        act(opinion.verdict, opinion.reasons)
        self.decisions[stage] += 1

    def mend(self, source: str, asked: Mapping[str, str], size: int) -> Image.Image:
        """The picture as a patient human would repair it: the source's own scene, with what was asked done right."""
        scene = load_class("engines.mini.world:from_truth")({**self.truths[source], **asked})
        picture: Image.Image = load_class("engines.mini.world:draw")(scene, size)
        return picture


def _aside(work: Callable[[], T]) -> T:
    """Compute in a thread that ends at once.

    OpenMP keeps a pool for every thread that ever computed; with more of them than cores all sleep between two
    operations, and the trainings that the demo waits for take twice as long.
    """
    with ThreadPoolExecutor(1) as one:
        return one.submit(work).result()
