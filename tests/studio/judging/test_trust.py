"""Whether answers are trusted: verdicts on cells and edits, the fitted temperature, the agreement."""

from __future__ import annotations

import math
import random

import pytest

from engines.api.seeing import Answer
from studio.judging import trust
from studio.judging.trust import ENOUGH_VERDICTS, Trial, agreement, agreements, fitted, trials
from studio.records.card import CardRun, Cell
from studio.records.image import Kind, Verdict
from studio.records.outcome import Outcome
from tests.studio.conftest import World

BY = "model:asked-1"


def _logs(**shares: float) -> dict[str, float]:
    return {value: math.log(share) for value, share in shares.items()}


def _trial(share: float, shown: bool) -> Trial:
    return Trial("expression", Answer(_logs(sad=share, smiling=1 - share)), "sad", shown)


def test_verdicts_on_cells_and_edits_are_trials(world: World) -> None:
    """A right cell confirms all its axes, a wrong one denies only a single axis; edits speak by verdict and reason."""
    answers = {BY: {axis: _logs(sad=0.9, front=0.1) for axis in ("angle", "expression")} | {"pose": _logs(sitting=1.0)}}
    cells = []
    for n, (name, human) in enumerate(
        [("front sad", True), ("front sad", False), ("sitting", False), ("sitting", None)]
    ):
        axes = {"identity": Outcome.PASS}
        image = world.picture(Kind.CARD, n, answers=answers)
        cells.append(Cell(cell=name, seed=n, image=image, axes=axes, verdict=Outcome.PASS, human=human))
    world.store.cards.put(CardRun(id="c", version="", job="", seeds=(0,), cells=tuple(cells)))
    asked = {"expression": "sad"}
    good = world.picture(Kind.ENRICHED, 1, asked=asked, answers=answers)
    bad = world.picture(Kind.ENRICHED, 2, asked=asked, answers=answers)
    for edit, verdict, reasons in ((good, Verdict.GOOD, ()), (bad, Verdict.REJECT, (trust.NOT_DONE,))):
        world.store.decide(edit, verdict, reviewer="owner", reasons=reasons)
    told = sorted((each.axis, each.value, each.shown) for each in trials(world.store, BY))
    assert told == [
        ("angle", "front", True),
        ("expression", "sad", False),
        ("expression", "sad", True),
        ("expression", "sad", True),
        ("pose", "sitting", False),
    ]
    assert list(trials(world.store, "another")) == []
    assert agreements(world.store, BY, ["pose", "light"])["light"].trusted


def test_answers_are_trusted_once_enough_verdicts_agree() -> None:
    """Nineteen verdicts are too few, twenty of which nine in ten agree are enough; what was measured needs none."""
    assert not agreement([_trial(0.9, True)] * (ENOUGH_VERDICTS - 1)).trusted
    assert agreement([_trial(0.9, True)] * 18 + [_trial(0.9, False)] * 2).trusted
    assert not agreement([_trial(0.9, True)] * 17 + [_trial(0.9, False)] * 3, measured=True).trusted
    assert agreement([], measured=True).trusted
    assert agreement([]).agreed is None


def test_the_temperature_is_the_one_that_makes_verdicts_likely() -> None:
    """Answers that boast 97 % and are right in four of five are cooled down to about that; the answers stay."""
    picked = random.Random(0)
    boasting = [_trial(0.97, picked.random() < 0.8) for _ in range(400)]
    temperature = fitted(boasting)
    assert boasting[0].answer.probabilities(temperature)["sad"] == pytest.approx(0.8, abs=0.04)
    honest = [_trial(0.8, picked.random() < 0.8) for _ in range(400)]
    assert fitted(honest) == pytest.approx(1.0, abs=0.25)
