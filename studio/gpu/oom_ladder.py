"""The out-of-memory ladder: the forms that a stage is tried in, one after another, when it runs out of memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engines.api.protocols import Stage


@dataclass(frozen=True)
class Rung:
    """Holds one way to run a stage: a variant of it, `form`.

    With `alone` true, all components that are not in use are evicted from the device first.
    """

    form: Stage
    alone: bool = False


class Ladder:
    """Remembers for each stage which variants ran out of memory, and so with which one to start the next time.

    The variants, called rungs and numbered from 0, are: the stage as planned; the same alone on the device; then each
    variant that saves memory, alone on the device. A stage starts on rung 0 again when it has worked as planned, when
    the last rung has failed, or after `forget`. `slot` in each method is a stage's key.
    """

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}

    def rungs(self, forms: Iterable[Stage], slot: str) -> list[tuple[int, Rung]]:
        """Returns the rungs (ways to run a stage) that are left to try, as (number, rung) pairs; at least the last one.

        `forms` are the variants of the stage, from the planned one to the one with the least memory; `slot` is its key.
        """
        plain, *leaner = forms
        rungs = [Rung(plain), Rung(plain, alone=True), *(Rung(form, alone=True) for form in leaner)]
        return list(enumerate(rungs))[min(self._reached.get(slot, 0), len(rungs) - 1) :]

    def ran_out(self, slot: str, number: int, forms: Iterable[Stage]) -> Rung | None:
        """Records that a stage ran out of memory on rung `number`, and returns the next rung (way to run it) to try.

        After the last rung it returns None, and the stage starts on rung 0 the next time. `slot` is the stage's key;
        `forms` are its variants, from the planned one to the one with the least memory.
        """
        rungs = self.rungs(forms, slot)
        left = [rung for each, rung in rungs if each > number]
        if not left:
            self._reached.pop(slot, None)
            return None
        self._reached[slot] = number + 1
        return left[0]

    def worked(self, slot: str, number: int) -> None:
        """Records that a stage worked on rung `number`, one of the numbered ways to run it.

        If it ran as planned (rung 0 or 1), it starts on rung 0 the next time; otherwise nothing changes. `slot` is the
        stage's key.
        """
        if number <= 1:
            self._reached.pop(slot, None)

    def forget(self) -> None:
        """Lets every stage start as planned (rung 0) the next time."""
        self._reached.clear()
