"""The tournament on the page: entered, priced, its matrix with pictures, files, and routes that plan rows show."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from engines.api.errors import BadInput
from engines.api.params import EditParams
from studio.flywheel import review
from studio.flywheel.tournament import matrix
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import JobState
from studio.records.tournament import Asked, Contestant, Contested, Tournament, Trial
from studio.workplace.desk import Desk, Workplace
from tabs import enrich, planning, tournament
from tabs import review as review_page
from tabs.common.shell import Said

KNOBS: tuple[Any, ...] = (["expression"], 4, 1, planning.VARIETY, "[]", None, 0, 0)


@pytest.fixture
def held(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> Desk:
    """A tournament that is drawn: few steps, called b, against the editor in use at seven expressions."""
    desk = studio.desk(anna.id)
    sources = [add(tags={"expression": "neutral"}) for _ in range(7)]
    asks = [Asked(task="expression", source=each.id, words="smile", seed=at) for at, each in enumerate(sources)]
    used = Contestant(key="a", model=anna.editor)
    made = Tournament(
        id="t",
        contestants=(used, used.replace(key="b", few_steps=True)),
        tasks=(Contested(task="expression"),),
        asks=tuple(asks),
        defenders={"expression": "a"},
    )
    desk.store.tournaments.put(made)
    for place, ask in enumerate(asks):
        for key in "ab":
            params = EditParams(instruction=ask.words, seed=ask.seed, few_steps=key == "b")
            trial = Trial(tournament="t", contestant=key, ask=place, seconds=1.5, read={})
            made_by = {"parent": ask.source, "params": params.to_json(), "params_kind": "EditParams"}
            add(kind=Kind.ENRICHED, model=anna.editor, scores={"fake": 0.7123}, trial=trial, **made_by)
    return desk


def judge(desk: Desk) -> None:
    """Few steps pass, the editor in use fails."""
    while shown := review.next(desk):
        key = shown[0].trial.contestant if shown[0].trial else ""
        review.decide(desk, shown[0].id, Verdict.GOOD if key == "b" else Verdict.REJECT)


def test_contestants_are_entered_and_priced(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Each once, beside the editor in use; what cannot be held says why, and starting queues it."""
    desk = studio.desk(anna.id)
    for _ in range(3):
        add(tags={"expression": "neutral"})
    entered = tournament.add_contestant(desk, "[]", None, [], None, True)
    for again, few in ((entered, True), ("[]", False)):
        with pytest.raises(BadInput):
            tournament.add_contestant(desk, again, None, [], 1.0, few)
    listed = tournament.draw_entered(desk, entered)
    assert "few steps" in listed and "(in use)" in listed
    assert "36 looks at most, about" in tournament.draw_cost(desk, ["expression", "angle"], entered, "[]", 3)
    with pytest.raises(BadInput, match="too few for anyone"):
        tournament.draw_cost(desk, ["expression"], entered, "[]", 1)
    assert tournament.drop_contestant(desk, {"at": "0"}, entered) == "[]"
    said = tournament.start_tournament(desk, ["expression"], entered, "[]", 3)
    assert "Tournament: 2 editors, 1 tasks" in said.words
    assert studio.jobs.list()[0].state is JobState.QUEUED
    assert "of 18" in tournament.draw_busy(desk)


def test_nothing_tells_who_drew_a_picture_before_its_verdict(held: Desk) -> None:
    """Neither Review, nor the viewer's record, nor the results of Enrich; the matrix shows no picture of it."""
    (shown,) = review.next(held)
    page = review_page.draw(held, "", (), ())
    assert shown.id in page and "0.71" not in page and "few steps" not in page
    assert shown.id not in enrich.draw_results(held, "", 24)[0]
    assert "not judged yet" in tournament.draw_matrix(held, None) and "data-view=" not in tournament.draw_matrix(
        held, None
    )


def test_the_matrix_shows_rates_and_the_pictures_behind_them(held: Desk) -> None:
    """The winner, the interval, the test, and each picture for the viewer; and it is saved as a file."""
    judge(held)
    shown = tournament.draw_matrix(held, "t")
    assert "7 of 7" in shown and "0 of 7" in shown and "won" in shown and "65% to 100%" in shown
    assert "7 better, 0 worse, p = 0.031" in shown and "1.5 s" in shown
    assert shown.count("data-view=") == 14
    for act in ("csv", "png"):
        assert f"t.{act}" in tournament.matrix_act(held, {"act": act}, "t", "[]", 3)
    with pytest.raises(BadInput, match="no such button"):
        tournament.matrix_act(held, {"act": "challenge"}, "t", "[]", 3)


def test_a_plan_row_shows_its_editor_and_can_overrule_it(held: Desk) -> None:
    """With the reason; one click gives the task back to the editor in use, another undoes that."""
    judge(held)
    _, rows = planning.draw_plan(held, "{}", *KNOBS)
    assert "It won the task" in rows and "few steps" in rows and 'data-act="overrule"' in rows
    assert all(row.row.params["few_steps"] for row in planning.changed_plan(held, "{}", *KNOBS))
    assert planning.plan_act(held, {"act": "overrule", "task": "expression"}, "{}", *KNOBS) == "{}"
    _, rows = planning.draw_plan(held, "{}", *KNOBS)
    assert "It won the task" not in rows and 'data-act="overrule"' not in rows
    assert "You chose it for this task" in tournament.draw_matrix(held, None)
    said = tournament.matrix_act(held, {"act": "follow", "task": "expression"}, None, "[]", 3)
    assert isinstance(said, Said) and "few steps makes the edits" in said.words
    assert "It won the task" in planning.draw_plan(held, "{}", *KNOBS)[1]
    chosen = (*KNOBS[:5], held.store.character.editor, *KNOBS[6:])
    assert "It won the task" not in planning.draw_plan(held, "{}", *chosen)[1]


def test_the_dropdowns_offer_what_is_there(held: Desk) -> None:
    """The newest tournament is chosen; LoRAs that are not here are not offered."""
    assert json.loads(json.dumps(tournament.fill_tournaments(held, None)["value"])) == "t"
    assert tournament.fill_loras(held, None, ["gone"])["value"] == []
    assert [each.id for each in matrix.tournaments(held)] == ["t"]
