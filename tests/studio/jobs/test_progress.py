"""Rates and times left."""

from studio.jobs.progress import Meter


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
    clock.now += 1
    assert meter.step(3, 10)[0] == 1.3


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
