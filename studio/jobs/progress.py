"""The progress of a job: seconds per step and the time left, without the time spent waiting or loading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_RECENT = 20  # spans, the least over which a rate is averaged where there are as many


@dataclass(frozen=True)
class Breaks:
    """Describes regular interruptions of a job, such as a training's previews, so that its time left can be predicted.

    There is one after every `every` steps, and one after the last step; with `every` 0 there is only the last one. Each
    does `reports` pieces of work, such as pictures; with `reports` 0 there are no interruptions. After each piece the
    job reports its present step once more.
    """

    every: int = 0
    reports: int = 0

    def left(self, step: int, total: int) -> int:
        """Returns how many interruptions are still to come after step `step` of `total`.

        An interruption directly after this step is not counted.
        """
        if not self.reports or step >= total:
            return 0
        between = (total - 1) // self.every - step // self.every if self.every else 0
        return between + 1

    def due(self, step: int, total: int) -> bool:
        """Returns whether the job is interrupted, for example by previews, directly after step `step` of `total`."""
        return self.reports > 0 and step > 0 and (step == total or (self.every > 0 and step % self.every == 0))


@dataclass(frozen=True)
class Work:
    """Holds the progress of a job in forward passes, a finer unit than its pictures.

    `done` and `total` count forward passes; a resumed job leaves out those of the pictures that it made before.
    """

    done: int
    total: int


class Meter:
    """Measures the seconds per step of a job and the time left, from the step numbers that the job reports.

    The rate is an average over the later reports. The time before the first report includes loading models, so it is
    dropped as soon as there is a second one; until then the time left is unknown. The time of `breaks`, the job's
    regular interruptions, is added to the time left. A change of the total, or a lower step, starts a new measurement.
    """

    def __init__(self, clock: Callable[[], float], breaks: Breaks | None = None) -> None:
        self._clock = clock
        self.breaks = breaks or Breaks()
        self._paused_at: float | None = None
        self._at = 0.0
        self._finer: int | None = None  # the job's total, while finer units are measured
        self._restart(0, -1, 1)

    def _restart(self, done: int, total: int, covered: int) -> None:
        self._done, self._total = done, total
        self._covered = covered  # the job's items that `total` units make up
        self._spans: list[tuple[float, int]] = []  # seconds, and units done in them
        self._loading: tuple[float, int] | None = None
        self._gaps: list[float] = []  # seconds between reports of one step
        self._break = 0.0  # seconds of the interruption at this step
        self._break_s = 0.0  # seconds of the latest whole interruption

    def pause(self) -> None:
        """Stops the clock, because the job waits for the GPU or for a model to load."""
        if self._paused_at is None:
            self._paused_at = self._clock()

    def resume(self) -> None:
        """Starts the clock again after `pause`, so that the time in between is not counted."""
        if self._paused_at is not None:
            self._at += self._clock() - self._paused_at
            self._paused_at = None

    def step(
        self, step: int, total: int, *, work: Work | None = None, repeats_count: bool = True
    ) -> tuple[float, float]:
        """Records that a job has done `step` of `total` steps, and returns (seconds per step, seconds left).

        Both are 0 while they are unknown. With `work` the time is measured in forward passes, and later reports without
        `work` change nothing. The time between two reports of the same step belongs to the next step; with
        `repeats_count` False it is taken as an interruption of the job, such as a preview.
        """
        now = self._clock()
        if work is None and total == self._finer:
            return self._figures()
        done, whole = (work.done, work.total) if work else (step, total)
        if whole != self._total or done < self._done:
            self._restart(done, whole, total - step if work else whole)
            self._finer = total if work else None
        elif done > self._done:
            self._advance(now - self._at, done)
        elif not repeats_count:
            self._gaps.append(now - self._at)
            self._break += now - self._at
        else:
            return self._figures()
        self._at = now
        return self._figures()

    def _advance(self, seconds: float, done: int) -> None:
        span = (max(0.0, seconds), done - self._done)
        if self._done == 0 and self._loading is None:
            self._loading = span
        else:
            self._spans.append(span)
        if self._break and self._done:
            self._break_s = self._break
        self._break, self._done = 0.0, done

    def _figures(self) -> tuple[float, float]:
        recent = self._spans[-max(_RECENT, len(self._spans) // 2) :] or ([self._loading] if self._loading else [])
        units = sum(count for _, count in recent)
        if not units:
            return 0.0, 0.0
        pace = sum(seconds for seconds, _ in recent) / units
        rate = pace * self._total / max(1, self._covered)
        if not self._spans:
            return rate, 0.0
        left = self.breaks.left(self._done, self._total) * self._expected_break()
        if self.breaks.due(self._done, self._total):
            left += max(0.0, self._expected_break() - self._break)
        return rate, pace * (self._total - self._done) + left

    def _expected_break(self) -> float:
        """Returns the length of the latest interruption, else an estimate from the reports before the first step."""
        if self._break_s:
            return self._break_s
        gaps = sorted(self._gaps[-self.breaks.reports :]) if self.breaks.reports else []
        return gaps[len(gaps) // 2] * self.breaks.reports if gaps else 0.0
