"""Routing: the winner of a task makes its edits, a person overrules it with one call, and what has gone is told."""

from __future__ import annotations

import pytest

from engines.api.errors import BadInput, ModelMissing, NotFound
from engines.api.params import EditParams
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import practice, routes
from studio.housekeeping import loras
from studio.records.payload import EnrichPayload
from studio.records.tournament import Contestant
from tests.studio.conftest import World, present
from tests.studio.flywheel.tournament.conftest import judged, of, submitted


def decided(world: World) -> None:
    """The LoRA wins the expression, and nobody the background."""
    judged(world, of(world, world.finish(submitted(world))), lambda task, key: key == "b" or task == "background")


def test_a_won_task_goes_to_its_winner_from_then_on(world: World) -> None:
    """The rows say why, the job draws with both editors, and the routes are the same after a restart."""
    decided(world)
    (route,) = routes.routes(world.desk).values()
    assert (route.task, route.overruled, route.trouble) == ("expression", False, "")
    assert route.name.endswith("own-glow 0.5") and "you passed 7 of its 7 edits, and 0 of" in route.why
    assert "p = 0.031" in route.why
    plan = enrich.plan(world.desk, tasks=["expression", "background"], limit=8, fill_gaps=False)
    made = {row.task: EditParams.from_json(row.params).loras for row in plan.rows}
    assert made["background"] == () and [use.weight for use in made["expression"]] == [0.5]
    assert {row.task for row in plan.rows if row.why} == {"expression"}
    job = world.finish(enrich.submit(world.desk, plan.rows))
    pictures = [world.store.images.get(image) for image in present(job.artifacts.images)]
    assert [bool(each.params["loras"]) for each in pictures] == [bool(row.why) for row in plan.rows]
    assert {each.model for each in pictures} == {"fake-edit"}
    assert [row.why for row in EnrichPayload.of(job).rows] == [row.why for row in plan.rows]
    world.reopen()
    assert routes.routes(world.desk)["expression"] == route


def test_a_person_overrules_a_route_and_takes_it_back(world: World) -> None:
    """The editor in use, or any other contestant; without a tournament, too."""
    decided(world)
    route = routes.choose(world.desk, "expression", None)
    assert (route.contestant, route.overruled, route.winner is not None) == (None, True, True)
    assert not any(row.why for row in enrich.plan(world.desk, tasks=["expression"], limit=4).rows)
    assert present(routes.follow(world.desk, "expression")).contestant == route.winner
    few = Contestant(model="fake-edit", few_steps=True)
    assert routes.choose(world.desk, "pose", few).contestant == few
    rows = enrich.plan(world.desk, tasks=["pose", "background"], limit=4, fill_gaps=False).rows
    assert {(row.task, row.params["few_steps"]) for row in rows} == {("pose", True), ("background", False)}
    with pytest.raises(NotFound):
        routes.follow(world.desk, "style")
    for wrong in ("nobody", "fake-flux", "far-edit"):
        with pytest.raises((NotFound, BadInput, ModelMissing)):
            routes.choose(world.desk, "pose", Contestant(model=wrong))


def test_a_plan_for_a_chosen_editor_and_practice_follow_no_route(world: World) -> None:
    """Practice is the own editor's; and who chooses an editor gets it."""
    decided(world)
    assert not any(row.why for row in enrich.plan(world.desk, tasks=["expression"], model="fake-edit", limit=4).rows)
    assert not any(row.model for row in practice.plan(world.desk, 8).rows)


def test_a_winner_that_has_gone_leaves_its_task_to_the_editor_in_use(world: World) -> None:
    """The route says what is wrong."""
    decided(world)
    loras.remove(world.studio, "own-glow")
    assert "own-glow" in routes.routes(world.desk)["expression"].trouble
    assert not any(row.why for row in enrich.plan(world.desk, tasks=["expression"], limit=4).rows)


def test_the_next_tournament_defends_the_route(world: World) -> None:
    """The present winner of a task has to be beaten there; the editor in use elsewhere."""
    decided(world)
    made = of(world, world.finish(submitted(world)))
    keys = {each.key: bool(each.loras) for each in made.contestants}
    assert keys[made.defenders["expression"]] and not keys[made.defenders["background"]]
    assert len({(ask.source, ask.words, ask.seed) for each in world.store.tournaments.all() for ask in each.asks}) == 36
