"""The rate of use of each component, weighted towards the recent past."""

from __future__ import annotations

from collections.abc import Callable

_HALF_LIFE_S = 1200.0


class Demand:
    """Counts how often each key, such as that of a component, was used; a use counts half as much after each half-life.

    The counts predict which component is needed next. `clock` returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, float]] = {}  # key -> (uses, as of when)

    def note(self, key: str) -> None:
        """Adds one use of a key."""
        self._seen[key] = (self.rate(key) + 1.0, self._clock())

    def rate(self, key: str) -> float:
        """Returns the present count of uses of a key, old uses counting less; 0 for a key that was never used."""
        uses, since = self._seen.get(key, (0.0, 0.0))
        return float(uses * 0.5 ** ((self._clock() - since) / _HALF_LIFE_S))
