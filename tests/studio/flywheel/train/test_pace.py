"""Whether a training has become slower than it began."""

import dataclasses

from studio.flywheel.train.pace import slowdown
from studio.flywheel.train.runs import Point

POINT = Point(step=1, loss=0.5, smooth=0.5, sigma=0.5, learning_rate=1e-4, grad_norm=1.0, seconds=1.0)


def _points(*seconds: float) -> list[Point]:
    return [dataclasses.replace(POINT, step=step, seconds=each) for step, each in enumerate(seconds, 1)]


def test_a_training_that_spills_is_said_to_be_slower() -> None:
    """Forty steps of a second and then twenty of three: three times as slow."""
    assert slowdown(_points(*[1.0] * 40, *[3.0] * 20)) == 3.0


def test_it_is_compared_with_its_quickest_stretch() -> None:
    """One that was slow at its start already, while another program ran, and again now, has known better."""
    assert slowdown(_points(*[3.0] * 20, *[1.0] * 20, *[2.0] * 20)) == 2.0


def test_few_slow_steps_say_nothing() -> None:
    """A first step that warms up, one beside a checkpoint, another size in turn: none is a slow training."""
    assert slowdown(_points(9.0, *[1.0] * 39)) is None
    assert slowdown(_points(*[1.0] * 38, 30.0, 30.0)) is None
    assert slowdown(_points(*[1.0, 2.0] * 40)) is None


def test_a_short_training_is_not_judged() -> None:
    """Fewer steps than two stretches have nothing to be compared with; steps that took no time neither."""
    assert slowdown([]) is None
    assert slowdown(_points(*[1.0] * 19, *[9.0] * 20)) is None
    assert slowdown(_points(*[0.0] * 60)) is None
