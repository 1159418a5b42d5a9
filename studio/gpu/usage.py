"""How often each thing is asked for, the recent past counting most."""

from __future__ import annotations

from collections.abc import Callable

_HALF_LIFE_S = 1200.0


class Demand:
    """A rate of use that fades by half every twenty minutes: the guess at what is wanted next."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, float]] = {}  # key -> (uses, as of when)

    def note(self, key: str) -> None:
        """One more use."""
        self._seen[key] = (self.rate(key) + 1.0, self._clock())

    def rate(self, key: str) -> float:
        """Uses, faded; 0 for what was never asked for."""
        uses, since = self._seen.get(key, (0.0, 0.0))
        return float(uses * 0.5 ** ((self._clock() - since) / _HALF_LIFE_S))
