"""How often something is asked for."""

import pytest

from studio.gpu.usage import Demand
from tests.studio.card import Clock


def test_uses_add_up_and_fade_by_half() -> None:
    """Each use counts one; after a half-life the sum counts half, and what was never used counts nothing."""
    clock = Clock()
    demand = Demand(clock)
    demand.note("a")
    demand.note("a")

    now = demand.rate("a")
    clock.now += 1200.0

    assert [now, demand.rate("a"), demand.rate("b")] == pytest.approx([2.0, 1.0, 0.0])
