"""How long a training will take, before any and after one."""

from __future__ import annotations

import pytest

from engines.api.params import GenerateParams
from studio.flywheel import generate
from studio.flywheel.train import character as train
from studio.flywheel.train import runs, timing
from studio.flywheel.train.timing import DRAWING, TRAINING
from tests.studio.conftest import World


def test_nothing_measured_is_no_guess(world: World) -> None:
    """On a machine that never drew with a model and never trained it, nothing is known."""
    assert timing.expected(world.studio, "fake-flux", world.train_params()) == timing.Pace(0.0, "")


def test_before_the_first_training_drawing_tells(world: World) -> None:
    """A step walks through the model forward, again where blocks are computed again, and back, at its own size."""
    item = world.studio.registry.spec("fake-flux").params(GenerateParams, prompt="mira", steps=5, width=64, height=32)
    job = world.finish(generate.submit(world.desk, [item, item, item]))
    pixel = job.rate / (5 * 64 * 32)
    plain = world.train_params(resolution=128, batch_size=2, gradient_checkpointing=False)
    guess = timing.expected(world.studio, "fake-flux", plain)
    assert guess.by == DRAWING
    assert guess.seconds == pytest.approx(2 * pixel * 2 * 128 * 128)
    again = timing.expected(world.studio, "fake-flux", plain.replace(gradient_checkpointing=True))
    assert again.seconds == pytest.approx(1.5 * guess.seconds)
    assert timing.expected(world.studio, "fake-edit", plain).by == ""


def test_further_sizes_make_a_step_shorter(world: World) -> None:
    """A step at half the side is a quarter of the work, and each picture is learned as often at either size."""
    world.finish(train.submit(world.desk, world.train_params(resolution=128)))
    one, two = (world.train_params(resolution=128, resolutions=further) for further in ((), (64,)))
    whole, mixed = (timing.expected(world.studio, "fake-flux", params).seconds for params in (one, two))
    assert mixed == pytest.approx((1 + 1 / 4) / 2 * whole)


def test_a_training_that_was_stopped_tells_too(world: World) -> None:
    """What ran long enough before it was stopped was measured, and tells more than drawing does."""
    params = world.train_params(steps=40)
    item = world.studio.registry.spec("fake-flux").params(GenerateParams, prompt="mira")
    world.finish(generate.submit(world.desk, [item]))
    job = world.cancel_at(train.submit(world.desk, params), step=20)
    points = runs.progress(world.studio, job.id).points
    assert len(points) >= 10
    found = timing.expected(world.studio, "fake-flux", params)
    assert found.by == TRAINING
    assert found.seconds == pytest.approx(sum(point.seconds for point in points) / len(points))
