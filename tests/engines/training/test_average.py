"""Tests the exponential moving average of the weights."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_the_average_follows_slowly() -> None:
    """Each step moves it by 1 − decay towards the weights, by more at first; the weights themselves stay."""
    import torch

    from engines.training.average import Average

    weight = torch.nn.Parameter(torch.zeros(2))
    average = Average([weight], 0.9)
    weight.data = torch.ones(2)
    average.update(1)  # (1 + 1) / (10 + 1) of the old stays
    with average.applied():
        assert torch.allclose(weight, torch.full((2,), 1 - 2 / 11))
    average.update(1_000)
    with average.applied() as raw:
        assert torch.allclose(weight, torch.full((2,), 1 - 0.9 * 2 / 11))
        assert torch.equal(raw[0], torch.ones(2))
    assert torch.equal(weight, torch.ones(2))


def test_without_decay_there_is_no_average() -> None:
    """The weights stand for themselves, and no copy of them is kept."""
    import torch

    from engines.training.average import Average

    weight = torch.nn.Parameter(torch.zeros(2))
    average = Average([weight], 0.0)
    weight.data = torch.ones(2)
    average.update(1)
    with average.applied() as raw:
        assert raw == []
        assert torch.equal(weight, torch.ones(2))
