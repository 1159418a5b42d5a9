"""Settings that are kept: they hold at once, and after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.api.errors import BadInput
from engines.fake import FakeDevice, fake_registry
from studio.flywheel import generate
from studio.housekeeping import kept
from studio.open import open_workplace
from studio.settings import Settings
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


def test_the_most_that_is_offered_is_taken(tmp_path: Path) -> None:
    """A card of 23.98 GiB offers 23.9, not the 24.0 that it would refuse."""
    settings = Settings(data_root=tmp_path / "home", assets=tmp_path / "assets", device="fake")
    card = FakeDevice(int(23.98 * (1 << 30)))
    with open_workplace(settings, registry=fake_registry(tmp_path, tmp_path), device=card) as studio:
        with pytest.raises(BadInput, match=r"Give 4 to 23\.9 GiB"):
            kept.set_budget(studio, 24.0)
        kept.set_budget(studio, 23.9)
        assert kept.budget_gib(studio) == pytest.approx(23.9)


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
