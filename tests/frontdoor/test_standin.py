"""The stand-in reviewer: what makes it say yes, mend or no."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from frontdoor.standin import StandIn
from studio.records.image import Verdict

RED = Image.new("RGB", (8, 8), (255, 0, 0))
BLUE = Image.new("RGB", (8, 8), (0, 0, 255))


class ColourOracle:
    """Knows people by their colour, reads every picture as smiling, and remembers which threads it was asked in."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def read(self, images: Sequence[Image.Image]) -> list[dict[str, tuple[str, float]]]:
        """Always the same."""
        return [{"expression": ("smiling", 0.9)} for _ in images]

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        """The mean colour, (N, 3)."""
        self.threads.append(threading.current_thread())
        rows = np.stack([np.asarray(image, dtype=float).mean(axis=(0, 1)) for image in images])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def reviewer() -> StandIn:
    """Somebody who has seen one red original."""
    oracle = ColourOracle()
    return StandIn(oracle, 0.5, {}, oracle.embed([RED]))


@pytest.mark.parametrize(
    ("picture", "asked", "verdict", "reasons"),
    [
        (RED, {"expression": "smiling"}, Verdict.GOOD, ()),
        (RED, {"expression": "angry"}, Verdict.NEEDS_CORRECTION, ("edit not done",)),
        (BLUE, {"expression": "smiling"}, Verdict.REJECT, ("identity",)),
        (BLUE, {"expression": "angry"}, Verdict.REJECT, ("identity", "edit not done")),
    ],
)
def test_a_verdict_follows_from_who_and_what(
    reviewer: StandIn, picture: Image.Image, asked: dict[str, str], verdict: Verdict, reasons: tuple[str, ...]
) -> None:
    """The right person as asked is good, not as asked is to be mended, somebody else is rejected."""
    (opinion,) = reviewer.look([picture], [asked])

    assert (opinion.verdict, opinion.reasons) == (verdict, reasons)


def test_decisions_are_counted_by_stage(reviewer: StandIn) -> None:
    """The report can say how much of the human's work was played."""
    (opinion,) = reviewer.look([RED], [{}])
    said: list[Verdict] = []

    reviewer.decide("enriched", opinion, lambda verdict, _: said.append(verdict))

    assert said == [Verdict.GOOD]
    assert reviewer.decisions == {"enriched": 1}


def test_no_thread_that_computed_stays() -> None:
    """What is left of one takes the cores from the trainings that go on meanwhile."""
    oracle = ColourOracle()
    reviewer = StandIn(oracle, 0.5, {}, oracle.embed([RED]))
    oracle.threads.clear()

    reviewer.look([RED, BLUE], [{}, {}])

    assert oracle.threads and not any(thread.is_alive() for thread in oracle.threads)
