"""The out-of-memory ladder: the forms that a stage is tried in, one after another, when it runs out of memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engines.api.protocols import Stage


@dataclass(frozen=True)
class Rung:
    """One form of a stage to try; with `alone` every idle component is evicted from the device first."""

    form: Stage
    alone: bool = False


class Ladder:
    """The rungs of each stage: its plain form → the plain form alone on the device → each leaner form alone.

    A stage that ran out of memory starts on the next rung the next time, until the plain form has worked, the last
    rung has run out as well, or `forget` is called.
    """

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}

    def rungs(self, forms: Iterable[Stage], slot: str) -> list[tuple[int, Rung]]:
        """Returns the rungs that are left for a stage with their numbers; at least the last one.

        Plans that share a key may have different numbers of forms, so the stored rung may be above the last one."""
        plain, *leaner = forms
        rungs = [Rung(plain), Rung(plain, alone=True), *(Rung(form, alone=True) for form in leaner)]
        return list(enumerate(rungs))[min(self._reached.get(slot, 0), len(rungs) - 1) :]

    def ran_out(self, slot: str, number: int, forms: Iterable[Stage]) -> Rung | None:
        """Records that a rung ran out of memory and returns the next one; None, and a reset, when it was the last."""
        rungs = self.rungs(forms, slot)
        left = [rung for each, rung in rungs if each > number]
        if not left:
            self._reached.pop(slot, None)
            return None
        self._reached[slot] = number + 1
        return left[0]

    def worked(self, slot: str, number: int) -> None:
        """Records that a rung worked; after the plain form (rungs 0 and 1) the stage starts on rung 0 the next time."""
        if number <= 1:
            self._reached.pop(slot, None)

    def forget(self) -> None:
        """Resets every stage to rung 0."""
        self._reached.clear()
