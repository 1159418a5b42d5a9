"""Enrich: plans with their cost, and a job that is resumable item by item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from engines.api.errors import BadInput, NotFound
from engines.api.params import EditParams, LoraUse
from studio.flywheel.enrich import edits as enrich
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import JobState
from studio.records.payload import EnrichPayload, PlanRow
from tests.studio.conftest import World, present


def results(world: World) -> list[ImageRecord]:
    """What Enrich has made."""
    return world.store.select(Kind.ENRICHED)


def rows(world: World, count: int) -> tuple[PlanRow, ...]:
    """A plan of so many edits."""
    return enrich.plan(world.desk, limit=count).rows


def test_a_plan_counts_its_cost_and_starts_nothing(world: World) -> None:
    """Rows, disk and memory are known before anything runs; the time only once it has been measured."""
    plan = enrich.plan(world.desk)
    assert plan.count == len(plan.rows) == 18  # 4.5 for each of four sources
    assert plan.disk_bytes > 0
    assert plan.fit.ok
    assert plan.seconds is None
    assert world.studio.jobs.list() == []


def test_time_is_known_from_an_earlier_run(world: World) -> None:
    """A finished job of the same model tells how long an edit takes."""
    world.finish(enrich.submit(world.desk, rows(world, 4)))
    seconds = enrich.plan(world.desk, limit=10).seconds
    assert seconds is not None and seconds >= 0


def test_knobs_are_in_every_row_and_in_the_time(world: World) -> None:
    """Half the steps take half the time; a knob that does not exist is named."""
    world.finish(enrich.submit(world.desk, rows(world, 4)))
    job = world.studio.jobs.list()[0]
    world.studio.jobs._jobs[job.id] = job.replace(rate=2.0)

    usual = enrich.plan(world.desk, limit=10)
    half = enrich.plan(world.desk, limit=10, knobs={"steps": usual.rows[0].params["steps"] // 2})

    assert (usual.seconds, half.seconds) == (20.0, 10.0)
    assert {row.params["steps"] for row in half.rows} == {usual.rows[0].params["steps"] // 2}
    with pytest.raises(BadInput, match="no parameter speed"):
        enrich.plan(world.desk, knobs={"speed": 9})


def test_seeds_multiply_within_the_limit(world: World) -> None:
    """Two seeds make two rows of each edit, and the limit holds for all of them."""
    plan = enrich.plan(world.desk, seeds=2, limit=7)
    words = [(row.source, row.params["instruction"]) for row in plan.rows]
    assert len(plan.rows) == 7
    assert len(set(words)) == 4
    assert len({(*pair, row.params["seed"]) for pair, row in zip(words, plan.rows, strict=True)}) == 7


def test_a_second_plan_asks_for_nothing_twice(world: World) -> None:
    """What was drawn already gets a new seed, so that a plan never repeats a picture."""
    first = enrich.plan(world.desk, tasks=["background"], fill_gaps=False)
    world.finish(enrich.submit(world.desk, first.rows))
    second = enrich.plan(world.desk, tasks=["background"], fill_gaps=False)
    seen = {(row.source, str(row.params)) for row in first.rows}
    assert not seen & {(row.source, str(row.params)) for row in second.rows}


def test_what_was_never_asked_comes_before_other_seeds(world: World) -> None:
    """Plans go through every edit of every source before one comes again."""
    every = {(row.source, row.params["instruction"]) for row in enrich.plan(world.desk, limit=500).rows}
    first = enrich.plan(world.desk, limit=18).rows
    world.finish(enrich.submit(world.desk, first))

    rest = enrich.plan(world.desk, limit=len(every) - 18, fill_gaps=False).rows

    known = {(row.source, row.params["instruction"]) for row in first}
    assert not known & {(row.source, row.params["instruction"]) for row in rest}


def test_pending_results_count_as_coverage(world: World) -> None:
    """A cell whose edit waits for review isn't asked for again."""
    first = enrich.plan(world.desk, limit=23)
    world.finish(enrich.submit(world.desk, first.rows))
    again = enrich.plan(world.desk, limit=3)
    assert all("angle" not in row.asked or "expression" not in row.asked for row in again.rows)


def test_wrong_wishes_are_refused(world: World) -> None:
    """Unknown tasks, no seeds, no pictures and strange parameters are errors with a hint."""
    wishes: list[dict[str, Any]] = [{"tasks": ["haircut"]}, {"tasks": []}, {"seeds": 0}, {"limit": 0}, {"sources": []}]
    for wrong in wishes:
        with pytest.raises(BadInput):
            enrich.plan(world.desk, **wrong)
    with pytest.raises(NotFound):
        enrich.plan(world.desk, model="no-such-editor")
    with pytest.raises(BadInput):
        enrich.submit(world.desk, [])
    with pytest.raises(BadInput, match="no parameter"):
        enrich.submit(world.desk, [PlanRow(source=world.sources[0], params={"strength": 1})])
    with pytest.raises(NotFound):
        enrich.submit(world.desk, [PlanRow(source="nobody", params={})])


def test_a_model_that_is_not_here_is_planned_but_does_not_fit(world: World) -> None:
    """The plan can be looked at; its fit says what is missing."""
    plan = enrich.plan(world.desk, model="far-edit")
    assert not plan.fit.ok
    assert "far-edit" in plan.fit.words


def test_results_are_pending_scored_and_linked(world: World) -> None:
    """Each result knows its parent, its parameters verbatim, what was asked, its score, and waits for a human."""
    planned = rows(world, 5)
    job = world.finish(enrich.submit(world.desk, planned))
    made = {image.id: image for image in results(world)}
    assert [made[image].parent for image in present(job.artifacts.images)] == [row.source for row in planned]
    for image, row in zip(present(job.artifacts.images), planned, strict=True):
        found = made[image]
        assert EditParams.from_json(found.params) == EditParams.from_json(row.params)
        assert (found.asked, found.job, found.model, found.state) == (row.asked, job.id, "fake-edit", Verdict.PENDING)
        assert found.seed == row.params["seed"]
        assert 0 < present(found.scores["fake-identity-1"]) <= 1
        assert found.tags == {**world.store.images.get(row.source).tags, **row.asked}
        assert found.caption.startswith("ohwx person")
    assert {image.id for image in world.store.pending()} == set(made)
    assert (job.step, job.total) == (5, 5)


def test_a_cancel_keeps_what_was_finished_and_resume_does_the_rest(world: World) -> None:
    """Items done stay done: nothing is drawn twice, nothing is lost."""
    planned = rows(world, 6)
    job = enrich.submit(world.desk, planned)
    world.cancel_when(job, lambda job: len(job.artifacts.images or ()) == 3)
    first = [image.id for image in results(world)]
    assert len(first) == 3
    world.studio.jobs.resume(job.id)
    ended = world.finish(job)
    assert present(ended.artifacts.images)[:3] == tuple(first)
    assert len(results(world)) == len(set(present(ended.artifacts.images))) == 6


def test_a_result_saved_just_before_a_kill_is_recognised(world: World) -> None:
    """The records themselves say what is done, not the job's list, which may lag one behind."""
    planned = rows(world, 3)
    job = enrich.submit(world.desk, planned)
    params = EditParams.from_json(planned[1].params)
    saved = world.context(job).save(
        world.store.open_image(planned[1].source), kind=Kind.ENRICHED, parent=planned[1].source, item=params
    )
    ended = world.finish(job)
    assert present(ended.artifacts.images)[1] == saved.id
    assert len(results(world)) == 3


def adopted_editor(world: World, folder: Path, model: str = "fake-edit") -> str:
    """A version of the editor that is in use."""
    save_file({"fake.mean": np.full((4, 4, 3), 200, dtype=np.uint8)}, folder / "a.safetensors")
    version = world.store.add_version(folder / "a.safetensors", role=Role.EDITOR, name="e1", model=model)
    return str(world.store.adopt(version.id).id)


def test_the_adopted_editor_draws(world: World, tmp_path: Path) -> None:
    """Adopting a version changes what Enrich makes of the same rows, and the results say who drew them."""
    planned = rows(world, 1)
    world.finish(enrich.submit(world.desk, planned))
    version = adopted_editor(world, tmp_path)
    world.finish(enrich.submit(world.desk, planned))
    plain, adopted = results(world)
    assert (plain.version, adopted.version) == ("", version)
    assert world.store.open_image(plain.id).tobytes() != world.store.open_image(adopted.id).tobytes()
    assert adopted.params["loras"] == [] or adopted.params["loras"] == ()


def test_a_version_of_another_model_is_not_used(world: World, tmp_path: Path) -> None:
    """A LoRA only ever goes on the model that it was trained for."""
    adopted_editor(world, tmp_path, model="another-editor")
    job = enrich.submit(world.desk, rows(world, 1))
    assert job.payload["version"] == ""


def test_a_users_own_loras_travel_with_the_rows(world: World) -> None:
    """Adapters of a plan's stack are parameters like any other."""
    plan = enrich.plan(world.desk, loras=[LoraUse(file="angles.safetensors", weight=0.9)], limit=1)
    assert EditParams.from_json(plan.rows[0].params).loras == (LoraUse(file="angles.safetensors", weight=0.9),)


def test_retry_draws_again_with_a_new_seed_or_other_words(world: World) -> None:
    """The same edit again is never the same picture."""
    world.finish(enrich.submit(world.desk, rows(world, 1)))
    (first,) = results(world)
    world.finish(enrich.retry(world.desk, first.id, {}))
    world.finish(enrich.retry(world.desk, first.id, {"instruction": "other words"}))
    _, second, third = results(world)
    assert second.seed == first.seed + 1
    assert third.params["instruction"] == "other words"
    assert {second.parent, third.parent} == {first.parent}
    assert second.asked == first.asked
    assert {second.mends, third.mends} == {""}  # nobody has found the first one wrong
    with pytest.raises(BadInput, match="not made by an edit"):
        enrich.retry(world.desk, world.sources[0], {})


def test_a_second_try_before_the_first_is_drawn_has_another_seed(world: World) -> None:
    """Two clicks queue two different edits: one that waits counts like one that is drawn."""
    job = world.finish(enrich.submit(world.desk, enrich.plan(world.desk, limit=1, fill_gaps=False).rows))
    first = present(job.artifacts.images)[0]
    tries = [EnrichPayload.of(enrich.retry(world.desk, first, {})).rows[0] for _ in range(2)]
    seeds = {EditParams.kept(each.params).seed for each in tries}
    assert len(seeds) == 2 and EditParams.kept(world.store.images.get(first).params).seed not in seeds


def test_a_retry_of_an_edit_without_a_model_repeats_no_seed_that_waits(world: World) -> None:
    """Old records name no editor; the character's is asked, so what waits for it counts."""
    (old,) = world.review(approved=1)
    tries = [EnrichPayload.of(enrich.retry(world.desk, old, {})) for _ in range(2)]
    assert {each.model for each in tries} == {"fake-edit"}
    assert [EditParams.kept(each.rows[0].params).seed for each in tries] == [1, 2]


def test_without_the_scorers_weights_edits_are_made_unscored(world: World) -> None:
    """Missing weights of the scorer cost the scores, not the pictures."""
    world.studio.library.update(world.id, scorer="far-away")
    job = world.finish(enrich.submit(world.desk, rows(world, 2)))
    assert [image.scores for image in results(world)] == [{}, {}]
    assert any("not scored" in words for words in world.warnings(job.id))


def test_a_key_queues_once(world: World) -> None:
    """The same key again answers the first job."""
    planned = rows(world, 1)
    first = enrich.submit(world.desk, planned, key="k")
    assert enrich.submit(world.desk, planned, key="k").id == first.id
    assert world.finish(first).state is JobState.DONE


def test_a_plan_aims_at_what_it_is_given(world: World) -> None:
    """Only edits that lead there, with the tags that the results should have."""
    aims = [{"pose": "T-pose", "framing": "full body"}, {"angle": "half-left", "expression": "sad", "framing": "head"}]
    rows = enrich.plan(world.desk, limit=6, aims=aims).rows
    assert len(rows) == 6
    assert [row.asked.get("pose") for row in rows[::2]] == ["T-pose"] * 3
    assert all({"angle", "expression"} & set(row.asked) for row in rows[1::2])


def test_an_edit_of_a_cropped_original_is_one_of_the_crop(world: World) -> None:
    """It has the crop's shape and says what it was made of, so that later crops change nothing of its lesson."""
    source = world.sources[0]
    world.store.set_crop(source, (0.0, 0.0, 0.5, 1.0))
    (row,) = enrich.plan(world.desk, sources=[source], limit=1).rows
    job = world.finish(enrich.submit(world.desk, [row]))
    (result,) = (world.store.images.get(image) for image in present(job.artifacts.images))
    world.store.set_crop(source, ())
    world.store.decide(result.id, Verdict.GOOD)

    assert (result.width, result.height) == (32, 64)
    assert (result.parent, result.source_crop) == (source, (0.0, 0.0, 0.5, 1.0))


def test_editing_again_sees_the_crop_as_it_is_now(world: World) -> None:
    """A retry after the crop was changed is one of what is cropped now."""
    source = world.sources[0]
    (row,) = enrich.plan(world.desk, sources=[source], limit=1).rows
    job = world.finish(enrich.submit(world.desk, [row]))
    (first,) = present(job.artifacts.images)
    world.store.set_crop(source, (0.0, 0.0, 1.0, 0.5))
    again = world.finish(enrich.retry(world.desk, first, {}))
    (second,) = (world.store.images.get(image) for image in present(again.artifacts.images))
    assert (second.width, second.height, second.source_crop) == (64, 32, (0.0, 0.0, 1.0, 0.5))
