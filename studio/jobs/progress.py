"""How fast a job goes: smoothed seconds a step, and the time left, waiting not counted."""

from __future__ import annotations

from collections.abc import Callable

_SMOOTHING = 0.3


class Meter:
    """Fed with step numbers, reads the clock itself. A new total, or a step back, starts it afresh."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._total = -1
        self._step = 0
        self._at = 0.0
        self._paused_at: float | None = None
        self.rate = 0.0

    def pause(self) -> None:
        """Waiting begins: for the card, for a model to load."""
        if self._paused_at is None:
            self._paused_at = self._clock()

    def resume(self) -> None:
        """Waiting is over; it counts as no time at all."""
        if self._paused_at is not None:
            self._at += self._clock() - self._paused_at
            self._paused_at = None

    def step(self, step: int, total: int, *, repeats_count: bool = True) -> tuple[float, float]:
        """Seconds a step, and seconds left; both 0 until two steps have been seen.

        Without `repeats_count` what is done while the step stays the same is no part of any: encoding, previews.
        """
        now = self._clock()
        if total != self._total or step < self._step:
            self.rate = 0.0
        elif step > self._step:
            latest = max(0.0, now - self._at) / (step - self._step)
            self.rate = latest if self.rate == 0 else self.rate + _SMOOTHING * (latest - self.rate)
        else:
            self._at = self._at if repeats_count else now
            return self.rate, self.rate * (total - step)
        self._step, self._total, self._at = step, total, now
        return self.rate, self.rate * (total - step)
