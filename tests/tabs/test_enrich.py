"""The Enrich tab's handlers."""

from collections.abc import Callable
from typing import Any

import pytest

from engines.api.errors import UserError
from engines.api.params import EditParams
from studio.records.card import CardRun, Cell
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind
from studio.records.outcome import Outcome
from studio.workplace.desk import Workplace
from tabs import enrich, planning
from tabs.common import looks

KNOBS: tuple[Any, ...] = (["background", "expression"], 6, 1, planning.GAPS, "[]", None, 0, 0)


def test_the_plan_says_what_it_costs_before_it_starts(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Count, time, disk and fit; nothing is queued by looking."""
    add(tags={"angle": "front", "expression": "neutral"})
    cost, rows = planning.draw_plan(studio.desk(anna.id), "{}", *KNOBS)
    assert "6 edits" in cost
    assert "on disk" in cost
    assert rows.count("<textarea") == 6
    assert studio.jobs.list() == []


def test_running_the_plan_queues_it_verbatim(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A knob set under Advanced travels with every row; skipping is off unless it is set."""
    add()
    knobs = (*KNOBS[:6], 7, 2.5, False, 0.1)
    planning.run_plan(studio.desk(anna.id), "{}", *knobs)
    (job,) = studio.jobs.list()
    asked = [EditParams.from_json(row["params"]) for row in job.payload["rows"]]
    assert job.total == 6
    assert {(each.steps, each.true_cfg, each.first_block_cache) for each in asked} == {(7, 2.5, 0.1)}
    (plain, *_) = planning.make_plan(studio.desk(anna.id), *KNOBS).rows
    assert EditParams.from_json(plain.params).first_block_cache == 0


def test_without_sources_the_tab_leads_to_curate(studio: Workplace, anna: Character) -> None:
    """An empty state has its button."""
    assert 'data-tab="Curate"' in planning.draw_plan(studio.desk(anna.id), "{}", *KNOBS)[1]


def test_no_kind_of_edit_is_refused(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """Said in words, with what to do."""
    add()
    with pytest.raises(UserError, match="kind of edit"):
        planning.run_plan(studio.desk(anna.id), "{}", [], *KNOBS[1:])


def test_a_result_stands_beside_its_source_and_can_be_tried_again(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """New seed: the same words. Other words: the user's."""
    params = EditParams(instruction="make the person smile", seed=3).to_json()
    made = add(Kind.ENRICHED, parent=add().id, params=params, params_kind="EditParams", model=anna.editor, seed=3)
    shown, _ = enrich.draw_results(studio.desk(anna.id), "", 24)
    assert shown.count("<figure>") == 2
    assert "make the person smile" in shown
    enrich.results_act(studio.desk(anna.id), {"act": "seed", "id": made.id}, "", 24)
    enrich.retry_words(studio.desk(anna.id), made.id, "smile, mouth closed")
    rows = [job.payload["rows"][0]["params"] for job in studio.jobs.list()]
    assert sorted(each["instruction"] for each in rows) == ["make the person smile", "smile, mouth closed"]
    assert {each["seed"] for each in rows} != {3}


def test_a_plan_aims_at_what_the_card_missed(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Once there is a card; before, it says that it has to be run."""
    add()
    knobs: tuple[Any, ...] = (["pose", "background"], 6, 1, planning.MISSED, "[]", None, 0, 0)
    with pytest.raises(UserError, match="no model card yet"):
        planning.draw_plan(studio.desk(anna.id), "{}", *knobs)
    missed = Cell(cell="T-pose", seed=0, image="", axes={}, verdict=Outcome.FAIL)
    studio.store(anna.id).cards.put(CardRun(id="c1", version="", job="j", seeds=(0,), cells=(missed,)))
    assert [row.asked["pose"] for row in planning.make_plan(studio.desk(anna.id), *knobs).rows] == ["T-pose"]


def test_an_edit_is_compared_with_the_part_it_was_made_of(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Small and large; where all of the source was edited, all of it is shown."""
    source, left = add(), (0.0, 0.0, 0.5, 1.0)
    store = studio.store(anna.id)
    whole = add(Kind.ENRICHED, parent=source.id)
    part = add(Kind.ENRICHED, parent=source.id, source_crop=left)

    assert looks.file_url(store.view(source.id, left)) in enrich.large(store, part)
    assert looks.file_url(store.thumb(source.id, left)) in enrich.pair(store, part)
    assert looks.file_url(store.path(source.id)) in enrich.large(store, whole)
    assert looks.file_url(store.thumb(source.id)) in enrich.pair(store, whole)


def test_a_second_click_queues_nothing_twice(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Edits that wait already are refused with how many they are; another plan is taken, and so are they once done."""
    add()
    planning.run_plan(studio.desk(anna.id), "{}", *KNOBS)
    with pytest.raises(UserError, match="These 6 edits are queued already"):
        planning.run_plan(studio.desk(anna.id), "{}", *KNOBS)
    with pytest.raises(UserError, match="6 of these 7 edits are queued already"):
        planning.run_plan(studio.desk(anna.id), "{}", KNOBS[0], 7, *KNOBS[2:])
    (job,) = studio.jobs.list()

    planning.run_plan(studio.desk(anna.id), "{}", *KNOBS[:6], 7, 0)
    studio.jobs.cancel(job.id)
    planning.run_plan(studio.desk(anna.id), "{}", *KNOBS)
    assert len(studio.jobs.list()) == 3
