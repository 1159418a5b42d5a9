"""The stand-in reviewer: when it approves, asks for a correction, or rejects."""

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
    """Tells people apart by their colour, reads every picture as smiling, and records the threads it runs in."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def read(self, images: Sequence[Image.Image]) -> list[dict[str, tuple[str, float]]]:
        """Reads the same in every picture."""
        return [{"expression": ("smiling", 0.9)} for _ in images]

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Returns mean colours, (N, 3), each of length 1."""
        self.threads.append(threading.current_thread())
        rows = np.stack([np.asarray(image, dtype=float).mean(axis=(0, 1)) for image in images])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def reviewer() -> StandIn:
    """A reviewer with one red original."""
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
    """The right person as asked is good, not as asked needs correction, and another person is rejected."""
    (opinion,) = reviewer.judge([picture], [asked])

    assert (opinion.verdict, opinion.reasons) == (verdict, reasons)


def test_decisions_are_counted_by_stage(reviewer: StandIn) -> None:
    """Each decision is passed on and counted, so that the report can tell how many the stand-in took."""
    (opinion,) = reviewer.judge([RED], [{}])
    given: list[Verdict] = []

    reviewer.decide("enriched", opinion, lambda verdict, _: given.append(verdict))

    assert given == [Verdict.GOOD]
    assert reviewer.decisions == {"enriched": 1}


def test_no_thread_that_computed_stays_alive() -> None:
    """A thread that is left over would take cores from the trainings that run meanwhile."""
    oracle = ColourOracle()
    reviewer = StandIn(oracle, 0.5, {}, oracle.embed([RED]))
    oracle.threads.clear()

    reviewer.judge([RED, BLUE], [{}, {}])

    assert oracle.threads and not any(thread.is_alive() for thread in oracle.threads)
