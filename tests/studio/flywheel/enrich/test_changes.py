"""A person's changes to a plan of edits."""

from __future__ import annotations

from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich.changes import OWN, Changes, changed, row_key
from tests.studio.conftest import World, present


def test_a_reworded_row_is_of_own_words(world: World) -> None:
    """It no longer has the task and the tags of the edit that it replaces, and its result is not named after it."""
    first, second = enrich.plan(world.desk, limit=2, fill_gaps=False).rows
    spec = world.studio.registry.spec("fake-edit")
    words = Changes(words={row_key(first): "in a red hat"})

    reworded, kept = (each.row for each in changed(world.desk, [first, second], words, spec, {}))

    assert (reworded.task, reworded.asked, reworded.params["instruction"]) == (OWN, {}, "in a red hat")
    assert (reworded.source, reworded.params["seed"], kept) == (first.source, first.params["seed"], second)
    job = world.finish(enrich.submit(world.desk, [reworded]))
    assert world.store.images.get(present(job.artifacts.images)[0]).name.endswith(" · own words")
