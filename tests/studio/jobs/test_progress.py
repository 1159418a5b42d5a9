"""Rates and times left."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from studio.jobs.progress import Breaks, Meter, Work


class Clock:
    """Time that passes only when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_new_phase_is_measured_afresh() -> None:
    """Another total, or a step back, forgets the old rate."""
    clock = Clock()
    meter = Meter(clock)
    meter.step(1, 10)
    clock.now += 4
    assert meter.step(2, 10) == (4.0, 32.0)

    clock.now += 50
    assert meter.step(1, 20) == (0.0, 0.0)
    clock.now += 1
    assert meter.step(2, 20) == (1.0, 18.0)


def test_the_same_step_again_changes_nothing() -> None:
    """A message without progress is no step."""
    clock = Clock()
    meter = Meter(clock)
    meter.step(1, 10)
    clock.now += 1
    meter.step(2, 10)
    clock.now += 1

    assert meter.step(2, 10) == (1.0, 8.0)
    clock.now += 2
    assert meter.step(3, 10) == (2.0, 14.0)


def test_pauses_do_not_count() -> None:
    """Neither a pause told twice nor a resume without one upsets the measurement."""
    clock = Clock()
    meter = Meter(clock)
    meter.step(1, 3)
    meter.resume()
    meter.pause()
    clock.now += 100
    meter.pause()
    clock.now += 100
    meter.resume()
    clock.now += 2

    assert meter.step(2, 3) == (2.0, 2.0)


def test_loading_is_no_step() -> None:
    """The first step from 0 holds the loading: no time left is told by it, and the next step replaces its rate."""
    clock = Clock()
    meter = Meter(clock)
    meter.step(0, 100)
    clock.now += 117
    assert meter.step(1, 100) == (117.0, 0.0)
    clock.now += 2
    assert meter.step(2, 100) == (2.0, 196.0)


def test_pictures_of_a_batch_are_told_by_their_passes() -> None:
    """Seconds per picture are those of its share of the batch, not those of the last picture that a batch yields."""
    clock = Clock()
    meter = Meter(clock)
    meter.step(0, 4)
    for done in range(4, 41, 4):  # 4 pictures of 10 steps in one batch
        clock.now += 2
        rate, left = meter.step(0, 4, work=Work(done, 40))
    assert (rate, left) == (5.0, 0.0)
    for kept in range(1, 5):
        clock.now += 0.01
        assert meter.step(kept, 4) == (5.0, 0.0)


@pytest.mark.parametrize(
    ("every", "previews", "step_s", "pass_s", "load_s"),
    [(50, 4, 1.0, 0.4, 60.0), (250, 8, 3.0, 1.5, 200.0), (10, 2, 0.2, 0.05, 5.0), (0, 4, 1.0, 0.5, 30.0)],
)
def test_the_time_left_of_a_training_includes_its_previews(
    every: int, previews: int, step_s: float, pass_s: float, load_s: float
) -> None:
    """After a tenth of a training the time left is within 30 %, and it never jumps by more than a factor of two."""
    passes = 20 * previews
    check(training(every, passes, 500, step_s, pass_s, load_s), Breaks(every, passes))


@pytest.mark.parametrize(("items", "batch", "decode_s"), [(24, 12, 3.0), (4, 1, 0.5), (56, 4, 1.0), (69, 23, 4.0)])
def test_the_time_left_of_pictures_is_told_by_passes(items: int, batch: int, decode_s: float) -> None:
    """After a tenth of the pictures the time left is within 30 %, however many are drawn together."""
    check(drawing(items, batch, 20, 0.5, decode_s, 40.0), Breaks())


Report = tuple[float, int, int, Work | None]  # seconds that pass before it, step, total, finer units


def training(every: int, passes: int, steps: int, step_s: float, pass_s: float, load_s: float) -> Iterator[Report]:
    """A training's reports: encoding, previews, steps of uneven length, previews again."""
    for _ in range(14):
        yield 0.7, 0, steps, None
    yield from ((pass_s, 0, steps, None) for _ in range(passes))
    for step in range(1, steps + 1):
        uneven = step_s * (0.7, 1.0, 1.3)[step % 3] + (load_s if step == 1 else 0)
        yield uneven, step, steps, None
        if step == steps or (every and step % every == 0):
            yield from ((pass_s, step, steps, None) for _ in range(passes))


def drawing(items: int, batch: int, steps: int, pass_s: float, decode_s: float, load_s: float) -> Iterator[Report]:
    """A drawing job's reports: loading, each batch's steps, then its pictures, one after another."""
    yield 0.0, 0, items, None
    total = items * steps
    for start in range(0, items, batch):
        count = min(batch, items - start)
        for step in range(1, steps + 1):
            loads = load_s if (start, step) == (0, 1) else decode_s if step == 1 else 0.0
            yield pass_s * count + loads, start, items, Work(start * steps + step * count, total)
        for kept in range(1, count + 1):
            yield 0.02, start + kept, items, None


def check(reports: Iterator[Report], breaks: Breaks) -> None:
    """Compares every time left, from a tenth of the whole time on, with what was really left."""
    clock, told = Clock(), list[tuple[float, float]]()
    meter = Meter(clock, breaks)
    for seconds, step, total, work in reports:
        clock.now += seconds
        told.append((clock.now, meter.step(step, total, work=work, repeats_count=False)[1]))
    end = clock.now
    # The time left is told anew at every report, so the last twentieth, where seconds decide, is not judged.
    judged = [(at, left) for at, left in told[2:] if end * 0.1 + 60 < at < end * 0.95 and (left or at > end * 0.3)]
    wrong = [(at, left, end - at) for at, left in judged if not 0.7 * (end - at) <= left <= 1.3 * (end - at)]
    assert judged
    assert wrong == []
    jumps = [(a, b) for (_, a), (_, b) in pairwise(judged) if not a / 2 <= b <= a * 2]
    assert jumps == []
