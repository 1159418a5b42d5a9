"""The out-of-memory ladder: the forms that a stage is tried in, one after another, when it runs out of memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engines.api.protocols import Stage


@dataclass(frozen=True)
class Rung:
    """Holds one form of a stage to try; with `alone` every idle component is evicted from the device first."""

    form: Stage
    alone: bool = False


class Ladder:
    """Remembers for each stage the rung to start on, after it ran out of memory on earlier ones.

    The rungs are its plain form → the plain form alone on the device → each leaner form alone. A stage starts again on
    the first rung once the plain form has worked, the last rung has run out as well, or `forget` is called. `slot` is
    the key of a stage in every method.
    """

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}

    def rungs(self, forms: Iterable[Stage], slot: str) -> list[tuple[int, Rung]]:
        """Returns the numbered rungs that are left to try for a stage; the last rung is always among them.

        Plans that share a slot may have different numbers of forms, so the stored rung may be above the last one.
        """
        plain, *leaner = forms
        rungs = [Rung(plain), Rung(plain, alone=True), *(Rung(form, alone=True) for form in leaner)]
        return list(enumerate(rungs))[min(self._reached.get(slot, 0), len(rungs) - 1) :]

    def ran_out(self, slot: str, number: int, forms: Iterable[Stage]) -> Rung | None:
        """Records that rung `number` of a stage ran out of memory and returns the next rung to try.

        After the last rung it returns None, and the stage starts again on the first.
        """
        rungs = self.rungs(forms, slot)
        left = [rung for each, rung in rungs if each > number]
        if not left:
            self._reached.pop(slot, None)
            return None
        self._reached[slot] = number + 1
        return left[0]

    def worked(self, slot: str, number: int) -> None:
        """Records that rung `number` of a stage worked; after the plain form (rungs 0, 1) it starts on rung 0 again."""
        if number <= 1:
            self._reached.pop(slot, None)

    def forget(self) -> None:
        """Resets every stage to rung 0."""
        self._reached.clear()
