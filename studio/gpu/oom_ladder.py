"""The ladder that a stage climbs when it runs out of memory, and where each stage stands on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engines.api.protocols import Stage


@dataclass(frozen=True)
class Rung:
    """A form of a stage; `alone`: whatever is not in use leaves the card first."""

    form: Stage
    alone: bool = False


class Ladder:
    """As it is → the same with the card to itself → each leaner form → no further.

    What ran out begins higher the next time, until the plain form has worked, the last rung has run out as well, or
    all is forgotten.
    """

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}

    def rungs(self, forms: Iterable[Stage], slot: str) -> list[tuple[int, Rung]]:
        """The rungs that are left to a stage, with their numbers; never none, for under one key plans may differ."""
        plain, *leaner = forms
        rungs = [Rung(plain), Rung(plain, alone=True), *(Rung(form, alone=True) for form in leaner)]
        return list(enumerate(rungs))[min(self._reached.get(slot, 0), len(rungs) - 1) :]

    def ran_out(self, slot: str, number: int, forms: Iterable[Stage]) -> Rung | None:
        """The rung after one that was not enough; None where it was the last, and the stage starts over."""
        rungs = self.rungs(forms, slot)
        left = [rung for each, rung in rungs if each > number]
        if not left:
            self._reached.pop(slot, None)
            return None
        self._reached[slot] = number + 1
        return left[0]

    def worked(self, slot: str, number: int) -> None:
        """A rung was enough. Where it was the plain form, others were in its way: next time it may share again."""
        if number <= 1:
            self._reached.pop(slot, None)

    def forget(self) -> None:
        """Every stage starts from the plain way again."""
        self._reached.clear()
