"""The bench of tournaments: who judges, and what its figures say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engines.mini import world
from frontdoor.bench.tournament import LOSER, TASKS, Held, figures, reviewer_of, right
from frontdoor.studio import open_studio
from studio.records.image import Kind
from studio.workplace.desk import Desk

pytestmark = pytest.mark.slow  # imports torch
SEED = 7


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A character without pictures, on the embedded models."""
    with closing(open_studio(tmp_path / "home")) as workplace:
        yield workplace.desk(workplace.library.create("Mira").id)


def test_an_edit_is_right_where_nothing_else_has_changed(desk: Desk, tmp_path: Path) -> None:
    """The edit as it should be is right; undone, with another light, or of another person it is not."""
    reviewer = reviewer_of(desk, tmp_path, SEED)
    source = next(each for each in desk.store.select(Kind.SOURCE) if each.tags["expression"] != "angry")
    truth, other = reviewer.truths[source.id], next(iter(world.sample_scenes(SEED + 1)))
    scenes = {
        "right": {**truth, "expression": "angry"},
        "undone": truth,
        "another light": {**truth, "expression": "angry", "light": "cold" if truth["light"] != "cold" else "warm"},
        "another person": {**truth, "expression": "angry", "person": world.truth(other)["person"]},
    }
    made = [
        desk.store.add_image(
            world.draw(world.from_truth(scene)), kind=Kind.ENRICHED, parent=source.id, asked={"expression": "angry"}
        )
        for scene in scenes.values()
    ]
    assert dict(zip(scenes, right(desk, reviewer, made), strict=True)) == {
        "right": True,
        "undone": False,
        "another light": False,
        "another person": False,
    }


def test_the_figures_count_tasks_looks_and_new_edits() -> None:
    """Shares over all tasks and characters, and a gain only where its interval lies above 0."""
    good = Held(dict.fromkeys(TASKS, True), 50, 100, {"pose": "mini-poses"}, (0.5, 0.9))
    bad = Held({**good.named, "angle": False}, 70, 100, {"angle": LOSER}, (0.6, 0.8))

    rows = {row.name: row for row in figures([good, bad])}

    assert rows["names the full design's best, 2 characters × 4 tasks"].value == 7 / 8
    assert (rows["looks, as a share of the full design's"].value, rows["pose: characters with a winner"].value) == (
        0.6,
        1,
    )
    assert rows["won by the one that loses the person"].ok is False
    assert rows["new edits accepted, routed − alone"].ok is True
