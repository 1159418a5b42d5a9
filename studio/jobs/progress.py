"""The progress of a job: smoothed seconds per step and the time left, without the time spent waiting."""

from __future__ import annotations

from collections.abc import Callable

_SMOOTHING = 0.3


class Meter:
    """Measures seconds per step from reported step numbers; a new total, or a lower step, starts it anew."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._total = -1
        self._step = 0
        self._at = 0.0
        self._paused_at: float | None = None
        self.rate = 0.0

    def pause(self) -> None:
        """Stops the time while the job waits for the GPU or for a model to load."""
        if self._paused_at is None:
            self._paused_at = self._clock()

    def resume(self) -> None:
        """Starts the time again after a wait, which is not counted."""
        if self._paused_at is not None:
            self._at += self._clock() - self._paused_at
            self._paused_at = None

    def step(self, step: int, total: int, *, repeats_count: bool = True) -> tuple[float, float]:
        """Records a step and returns the seconds per step and the seconds left; both 0 until two steps were reported.

        Without `repeats_count` the time between two reports of the same step (encoding, previews) is not counted.
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
