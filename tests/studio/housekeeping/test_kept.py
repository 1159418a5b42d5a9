"""Settings that are kept: they hold at once, and after a restart."""

from __future__ import annotations

import pytest

from engines.api.errors import BadInput
from studio.flywheel import generate
from studio.housekeeping import kept
from tests.studio.conftest import World


def test_the_memory_budget_holds_at_once_and_after_a_restart(world: World) -> None:
    """Out of its bounds it is refused, and the old one stays."""
    kept.set_budget(world.studio, 12.5)
    assert world.studio.gpu.status().budget == int(12.5 * (1 << 30))
    for bad in (None, 0.0, 1000.0, float("nan")):
        with pytest.raises(BadInput, match="GiB"):
            kept.set_budget(world.studio, bad)
    world.reopen()
    assert kept.budget_gib(world.studio) == 12.5


def test_the_floor_of_all_characters_gives_way_to_ones_own(world: World) -> None:
    """0 lets the originals decide again."""
    own = generate.threshold(world.desk)
    kept.set_identity_floor(world.studio, 0.42)
    assert generate.threshold(world.desk) == 0.42
    generate.set_threshold(world.desk, 0.3)
    assert generate.threshold(world.desk) == 0.3
    generate.set_threshold(world.desk, None)
    kept.set_identity_floor(world.studio, 0.0)
    assert generate.threshold(world.desk) == own
    with pytest.raises(BadInput):
        kept.set_identity_floor(world.studio, 1.5)
