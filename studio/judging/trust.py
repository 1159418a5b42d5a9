"""Whether a model's answers about pictures are trusted: calibrated on a human's verdicts, axis by axis."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engines.api.seeing import Answer
from engines.wording.cells import CARD_CELLS
from studio.judging.outcomes import IDENTITY
from studio.records.image import Verdict
from studio.records.outcome import Outcome
from studio.records.reading import Agreement
from studio.store import Store

ENOUGH_VERDICTS = 20
AGREED = 0.9  # the least share of verdicts that answers must agree with
NOT_DONE = "edit not done"  # the reviewer's reason that denies what an edit was asked for
_FITTED = 10  # verdicts, the least that a temperature is fitted to
_TEMPERATURES = tuple(2 ** (step / 8) for step in range(-16, 25))  # 0.25 to 8
_LEAST = 1e-6


@dataclass(frozen=True)
class Trial:
    """Holds an answer on one axis, and whether a human says that the picture shows `value`, as was asked for."""

    axis: str
    answer: Answer
    value: str
    shown: bool


def agreements(store: Store, version: str, measured: Collection[str] = ()) -> dict[str, Agreement]:
    """Returns for each axis how well the answers of an asker agree with the verdicts on the character's pictures.

    `version` is the asker's; answers of other versions do not count. The axes in `measured` are trusted without any
    verdict, since they were measured on pictures whose truth is known, until verdicts speak against them.
    """
    found: dict[str, list[Trial]] = {axis: [] for axis in measured}
    for trial in trials(store, version):
        found.setdefault(trial.axis, []).append(trial)
    return {axis: agreement(each, axis in measured) for axis, each in found.items()}


def agreement(told: Sequence[Trial], measured: bool = False) -> Agreement:
    """Returns how well answers on one axis agree with verdicts, with the temperature fitted to these."""
    temperature = fitted(told) if len(told) >= _FITTED else 1.0
    sure = [(each.answer.value(temperature), each) for each in told]
    agreed = [(value == each.value) is each.shown for value, each in sure if value is not None]
    share = sum(agreed) / len(agreed) if agreed else None
    enough = len(agreed) >= ENOUGH_VERDICTS
    return Agreement(
        verdicts=len(agreed),
        agreed=share,
        temperature=temperature,
        trusted=share is not None and share >= AGREED if enough else measured,
    )


def fitted(told: Sequence[Trial]) -> float:
    """Returns the temperature under which the verdicts are likeliest, of those on a grid from ¼ to 8.

    Source: Guo et al., ICML 2017, with a verdict for or against one value in the place of a label.
    """

    def surprise(temperature: float) -> float:
        shares = [(each.answer.probabilities(temperature)[each.value], each.shown) for each in told]
        return -sum(math.log(max(share if shown else 1 - share, _LEAST)) for share, shown in shares)

    return min(_TEMPERATURES, key=lambda temperature: (surprise(temperature), abs(math.log(temperature))))


def trials(store: Store, version: str) -> Iterator[Trial]:
    """Yields the verdicts on what pictures show, each with the answer of an asker's `version` on that axis."""
    images = {image.id: image for image in store.images.all() if version in image.answers}
    verdicts = list(_on_cells(store))
    for each in images.values():
        denied = len(each.asked) == 1 and NOT_DONE in each.reasons  # of several tasks it is unknown which
        if each.asked and (denied or each.state is Verdict.GOOD):
            verdicts.append((each.id, each.asked, not denied))
    for image, asked, shown in verdicts:
        if image in images:
            answers = images[image].answers[version]
            for axis, value in asked.items():
                if value in answers.get(axis, {}):
                    yield Trial(axis, Answer(answers[axis]), value, shown)


def _on_cells(store: Store) -> Iterator[tuple[str, Mapping[str, str], bool]]:
    """Yields the verdicts on the cells of model cards: the picture's id, what was asked for, whether it is shown.

    A cell that is wrong says which axis is only where it asks for one, and the identity is right.
    """
    asked = {cell.name: cell.axes for cell in CARD_CELLS}
    for run in store.cards.all():
        for cell in run.cells:
            axes = asked.get(cell.cell, {})
            plain = len(axes) == 1 and cell.axes.get(IDENTITY) is Outcome.PASS
            if cell.human or (cell.human is False and plain):
                yield cell.image, axes, cell.human
