"""Practice: which tasks the editor is weak at, and edits of exactly those."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from engines.api.errors import BadInput
from engines.api.params import EditParams
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import practice, repeats
from studio.records.dataset import Role
from studio.records.image import Kind, Verdict
from studio.records.job import JobState
from tests.studio.conftest import World, present


def review(world: World, task: str, verdicts: Sequence[Verdict]) -> None:
    """Edits of a task, each with its verdict."""
    rows = enrich.plan(world.desk, tasks=[task], limit=len(verdicts), fill_gaps=False).rows
    job = world.finish(enrich.submit(world.desk, rows))
    for image, verdict in zip(present(job.artifacts.images), verdicts, strict=True):
        world.store.decide(image, verdict)


GOOD, WRONG, REJECT = Verdict.GOOD, Verdict.NEEDS_CORRECTION, Verdict.REJECT


def test_the_weakest_task_comes_first(world: World) -> None:
    """Whatever a reviewer did not take as it came counts against its task, under the task's own name."""
    review(world, "lighting", [GOOD, GOOD, REJECT])
    review(world, "pose", [WRONG, WRONG, GOOD])
    review(world, "outfit", [GOOD])

    found = practice.standings(world.desk)

    assert [(each.task, each.accepted, each.reviewed) for each in found] == [
        ("pose", 1, 3),
        ("lighting", 2, 3),
        ("outfit", 1, 1),
    ]


def test_practice_asks_for_what_was_refused_and_for_nothing_twice(world: World) -> None:
    """Twice as often refused is twice as often practised; what went well is not, and no edit comes again."""
    review(world, "lighting", [GOOD, GOOD, REJECT])
    review(world, "pose", [WRONG, WRONG, GOOD])
    review(world, "outfit", [GOOD])
    asked = repeats.asked(world.store)

    plan = practice.plan(world.desk, limit=6)

    assert Counter(row.task for row in plan.rows) == {"pose": 4, "lighting": 2}
    assert not asked & {(row.source, EditParams.from_json(row.params).headline()) for row in plan.rows}


def test_a_new_editor_is_judged_by_its_own_edits(world: World, tmp_path: Path) -> None:
    """What an earlier editor was bad at is forgotten as soon as edits of the one in use were reviewed, not before."""
    review(world, "pose", [WRONG])
    save_file({"fake.mean": np.full((4, 4, 3), 200, dtype=np.uint8)}, tmp_path / "a.safetensors")
    version = world.store.add_version(tmp_path / "a.safetensors", role=Role.EDITOR, name="e1", model="fake-edit")
    world.store.adopt(version.id)
    assert [each.task for each in practice.standings(world.desk)] == ["pose"]

    review(world, "style", [GOOD])

    assert [(each.task, each.refused) for each in practice.standings(world.desk)] == [("style", 0.0)]


@pytest.mark.parametrize("verdicts", [[], [GOOD, GOOD]])
def test_without_a_refusal_there_is_nothing_to_practise(world: World, verdicts: list[Verdict]) -> None:
    """An editor whom nobody faulted, or whom nobody looked at, is not sent to practise."""
    if verdicts:
        review(world, "pose", verdicts)
    with pytest.raises(BadInput, match="nothing to practise"):
        practice.plan(world.desk)
    assert all(job.state is JobState.DONE for job in world.studio.jobs.list())
    assert len(world.store.select(Kind.ENRICHED)) == len(verdicts)


def test_a_refused_edit_of_no_known_task_stops_no_plan(world: World) -> None:
    """An imported edit may have any tag: it is counted under it, and the other tasks are practised."""
    review(world, "pose", [WRONG, GOOD])
    edit = world.store.select(Kind.ENRICHED)[0]
    world.store.update_image(edit.id, asked={"mood": "odd"})
    world.store.decide(edit.id, REJECT)
    assert {each.task for each in practice.standings(world.desk)} >= {"mood"}
    with pytest.raises(BadInput, match="nothing to practise"):
        practice.plan(world.desk, 2)
    review(world, "outfit", [WRONG])
    assert {row.task for row in practice.plan(world.desk, 2).rows} == {"outfit"}
