"""The schedule and its steps."""

from __future__ import annotations

import pytest

from engines.api.errors import Cancelled

pytestmark = pytest.mark.slow

FLUX = {"use_dynamic_shifting": True, "shift": 3.0}
QWEN = {
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 0.9,
    "max_image_seq_len": 8192,
    "shift_terminal": 0.02,
    "time_shift_type": "exponential",
}


@pytest.mark.parametrize("config", [FLUX, QWEN], ids=["flux", "qwen"])
@pytest.mark.parametrize("tokens", [64, 4096])
def test_levels_fall_from_one_to_zero(config, tokens) -> None:
    """Noise levels start at 1, fall, and end at 0; more tokens keep them higher."""
    from engines.drawing.sampling import sigmas

    levels = sigmas(config, 8, tokens)
    assert levels.shape == (9,)
    assert levels[0] == 1
    assert levels[-1] == 0
    assert bool((levels.diff() < 0).all())
    assert levels[4] <= sigmas(config, 8, tokens * 2)[4]


def test_a_familys_own_shift_moves_the_levels() -> None:
    """A level u becomes e^μ·u / (1 + (e^μ − 1)·u), whatever μ the family hands over."""
    import math

    from engines.drawing.sampling import shifted_sigmas

    factor = math.exp(2.0)
    expected = [factor * u / (1 + (factor - 1) * u) for u in (1.0, 0.75, 0.5, 0.25)]
    assert shifted_sigmas(FLUX, 4, 2.0).tolist() == pytest.approx([*expected, 0.0])


def test_terminal_shift_ends_where_the_configuration_says() -> None:
    """The last level before 0 is shift_terminal, as Qwen's schedule wants it."""
    from engines.drawing.sampling import sigmas

    assert float(sigmas(QWEN, 8, 4096)[-2]) == pytest.approx(0.02)


def test_euler_is_exact_on_a_straight_path() -> None:
    """With the true velocity of a straight path, noise − picture, any number of steps lands on the picture."""
    import torch

    from engines.drawing.sampling import euler, noise, sigmas

    picture, start = torch.ones(1, 4, 8), noise([3], (4, 8))
    ticks: list[tuple[int, int]] = []
    landed = euler(lambda _, sigma: start - picture, start, sigmas(FLUX, 5, 64), lambda *at: ticks.append(at))
    torch.testing.assert_close(landed, picture)
    assert ticks == [(step, 5) for step in range(1, 6)]


def test_cancel_goes_through() -> None:
    """What the callback raises stops the steps at once."""
    import torch

    from engines.drawing.sampling import euler

    def cancel(done: int, steps: int) -> None:
        raise Cancelled

    calls: list[float] = []

    def velocity(latents, sigma):
        calls.append(sigma)
        return latents

    with pytest.raises(Cancelled):
        euler(velocity, torch.zeros(1, 1, 1), torch.tensor([1.0, 0.5, 0.0]), cancel)
    assert calls == [1.0]


def test_noise_is_a_pictures_own() -> None:
    """A seed's noise is the same whatever it is drawn with, and other seeds' differ."""
    import torch

    from engines.drawing.sampling import noise

    both = noise([1, 2], (4, 4))
    assert torch.equal(both[1:], noise([2], (4, 4)))
    assert not torch.equal(both[0], both[1])
