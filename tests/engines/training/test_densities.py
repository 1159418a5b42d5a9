"""Tests the distributions of noise levels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from engines.api.errors import BadInput

pytestmark = pytest.mark.slow


def _draw(name: str, mu: float = 0.0, count: int = 20_000) -> Any:
    import torch

    from engines.training.densities import density

    return density(name).sample(count, mu, torch.Generator().manual_seed(1))


def _shares(levels: Any) -> list[float]:
    """Returns the share of the levels in each quarter of 0…1."""
    import torch

    return (torch.histc(levels, bins=4, min=0, max=1) / len(levels)).tolist()


def _logistic_normal_shares(factor: float) -> list[float]:
    """Returns the same in closed form for a shifted sigmoid of a standard normal."""

    def below(level: float) -> float:
        if level in (0.0, 1.0):
            return level
        unshifted = level / (factor - (factor - 1) * level)
        return 0.5 * (1 + math.erf(math.log(unshifted / (1 - unshifted)) / math.sqrt(2)))

    edges = [0.0, 0.25, 0.5, 0.75, 1.0]
    return [below(high) - below(low) for low, high in itertools.pairwise(edges)]


def test_uniform_is_even() -> None:
    """Each quarter has a quarter of the levels."""
    assert _shares(_draw("uniform")) == pytest.approx([0.25] * 4, abs=0.015)


@pytest.mark.parametrize("name", ["sigmoid", "logit_normal"])
def test_sigmoid_is_a_bell(name: str) -> None:
    """Kohya's sigmoid and diffusers' logit_normal are one density, thin at both ends."""
    assert _shares(_draw(name)) == pytest.approx(_logistic_normal_shares(1.0), abs=0.015)


def test_shift_leans_to_noise() -> None:
    """The fixed shift moves the bell by its factor."""
    assert _shares(_draw("shift")) == pytest.approx(_logistic_normal_shares(3.1582), abs=0.015)


def test_resolution_shift_takes_the_schedulers_mu() -> None:
    """At μ = 0 it is the plain bell, at μ = 1.15 (1024²) it is shifted by e^1.15."""
    assert _shares(_draw("resolution_shift")) == pytest.approx(_logistic_normal_shares(1.0), abs=0.015)
    shares = _shares(_draw("resolution_shift", mu=1.15))
    assert shares == pytest.approx(_logistic_normal_shares(math.exp(1.15)), abs=0.015)


def test_weighted_visits_evenly_and_weighs_by_its_table() -> None:
    """The weights lie on straight lines between the table's points; every other density weights all levels alike."""
    import torch

    from engines.training.densities import DENSITIES

    assert _shares(_draw("weighted")) == pytest.approx([0.25] * 4, abs=0.015)
    levels = torch.tensor([0.9, 0.0, 0.2, 0.95, 1.0])
    assert DENSITIES["weighted"].weight(levels).tolist() == pytest.approx([1.5, 0.45, 0.725, 1.205, 0.91])
    others = [row.weight(levels) for name, row in DENSITIES.items() if name != "weighted"]
    assert all(torch.equal(weight, torch.ones(5)) for weight in others)


@pytest.mark.parametrize("name", ["uniform", "sigmoid", "logit_normal", "shift", "resolution_shift", "weighted"])
def test_levels_are_seeded_and_above_zero(name: str) -> None:
    """The same generator gives the same levels, all in (0, 1]: at 0 there would be nothing to learn."""
    import torch

    levels = _draw(name, mu=0.7)
    assert torch.equal(levels, _draw(name, mu=0.7))
    assert levels.min() > 0 and levels.max() <= 1


def test_shift_agrees_with_the_scheduler() -> None:
    """The shift is that of diffusers' scheduler."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler

    from engines.training.densities import shifted

    levels, scheduler = torch.linspace(0.05, 1, 20), FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    expected = scheduler.time_shift(0.9, 1.0, levels)

    assert torch.allclose(expected, shifted(levels, math.exp(0.9)))


def test_unknown_density_names_the_known() -> None:
    """An unknown name is refused with the known ones."""
    with pytest.raises(BadInput, match="resolution_shift"):
        _draw("cosmap")
