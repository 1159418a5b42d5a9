"""The matrix: rates, tests and measures only of what is decided; its files; and the offer for a new version."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from engines.api.errors import NotFound
from studio.flywheel.enrich import contest, routes
from studio.flywheel.tournament import asking, matrix
from studio.flywheel.tournament.measures import artefacts, kept
from studio.records.dataset import Role
from studio.records.tournament import Contestant
from tests.studio.conftest import World
from tests.studio.flywheel.tournament.conftest import judged, of, submitted


def test_a_cell_tells_rate_test_and_measures_of_what_is_decided(world: World) -> None:
    """Nothing is told before a verdict; then the interval is Wilson's and the machine's measures stand beside."""
    made = of(world, world.finish(submitted(world)))
    found = matrix.matrix(world.desk)
    assert all(not each.images and each.rate.rate is None and each.measured.seconds is None for each in found.cells)
    assert (found.waiting, found.looks_most, found.tournament.id) == (54, 54, made.id)
    judged(world, made, lambda task, key: key == "b" or task == "background")
    found = matrix.matrix(world.desk, made.id)
    cells = {(each.task, each.contestant): each for each in found.cells}
    won, used, few = (cells["expression", key] for key in "bac")
    assert (won.wins, won.rate.k, won.rate.judged, won.better, won.worse) == (True, 7, 7, 7, 0)
    assert won.rate.low == pytest.approx(0.646, abs=0.001) and won.p == pytest.approx(0.0314, abs=1e-4)
    assert (used.defends, used.p, used.left, few.dropped_after) == (True, None, False, 4)
    assert won.measured.done is not None and won.measured.identity is not None and won.measured.kept is not None
    assert won.measured.seconds is not None and len(won.images) == 7
    assert [(each.winner, each.done) for each in found.tasks] == [("b", True), ("", True)]
    with pytest.raises(NotFound):
        matrix.matrix(world.desk, "nobody")


def test_pixels_that_should_not_change_are_counted_where_that_is_known() -> None:
    """All of a picture's background for an expression, its middle for a background; nothing is known of a pose."""
    pixels = np.full((64, 64, 3), 120, np.uint8)
    middle, edge = pixels.copy(), pixels.copy()
    middle[25:35, 25:38], edge[:5] = 250, 250
    source = Image.fromarray(pixels)
    assert kept(source, source, {"expression": "sad"}) == 1.0
    assert kept(source, Image.fromarray(middle), {"expression": "sad"}) == 1.0
    assert (kept(source, Image.fromarray(edge), {"expression": "sad"}) or 1.0) < 0.9
    assert kept(source, Image.fromarray(edge), {"background": "forest"}) == 1.0
    assert (kept(source, Image.fromarray(middle), {"background": "forest"}) or 1.0) < 0.8
    assert kept(source, source, {"pose": "sitting", "framing": "full body"}) is None
    assert artefacts(source, source) == () and artefacts(source, Image.new("RGB", (64, 64), "black")) == ("dark",)


def test_the_matrix_is_saved_as_table_and_picture(world: World) -> None:
    """A line for each cell; a picture of its rows and columns."""
    made = of(world, world.finish(submitted(world)))
    judged(world, made, lambda task, key: key == "b", most=20)
    lines = list(csv.DictReader(matrix.save_csv(world.desk).read_text().splitlines()))
    assert [(line["task"], line["contestant"]) for line in lines][:3] == [("expression", key) for key in "abc"]
    assert sum(int(line["judged"]) for line in lines) == 20
    with Image.open(matrix.save_png(world.desk)) as picture:
        assert picture.size == (2 * 210 + 2 * 210, 2 * 34 + 3 * 46)


def test_a_new_version_of_the_own_editor_is_offered_against_the_winners(world: World) -> None:
    """Once there is a route, and until it took part; it takes over the tasks that it wins."""
    made = of(world, world.finish(submitted(world)))
    judged(world, made, lambda task, key: key == "b")
    assert matrix.challenge(world.desk) is None
    adapter = world.studio.library.root / "loras" / "own-glow" / "own-glow.safetensors"
    version = world.store.add_version(adapter, role=Role.EDITOR, model="fake-edit")
    offered = matrix.challenge(world.desk)
    assert offered is not None and offered.tasks == ("expression", "background")
    assert offered.contestant.version == version.id and "own v1" in offered.name
    again = asking.submit(world.desk, matrix.challenged(offered), (offered.contestant,), world.sources[:3], 3)
    second = of(world, world.finish(again))
    assert matrix.challenge(world.desk) is None
    assert [bool(each.loras) for each in second.contestants] == [True, False]
    own = second.contestants[1].key
    judged(world, second, lambda task, key: key == own and task == "background")
    found = {task: each.contestant for task, each in routes.routes(world.desk).items()}
    assert found["background"] == second.contestants[1] and found["expression"] == made.contestant("b")


def test_a_tournament_that_was_never_queued_is_not_listed(world: World) -> None:
    """As after a crash between its record and its job."""
    planned = asking.plan(world.desk, [*of(world, submitted(world)).tasks], (Contestant(few_steps=True),), None, 3)
    world.store.tournaments.put(planned.tournament)
    assert len(matrix.tournaments(world.desk)) == 1 < len(world.store.tournaments.all())
    assert not contest.cells(world.store, planned.tournament)
