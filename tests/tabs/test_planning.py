"""The plan of edits: what a person changes in it, which editor draws it, and how it is queued."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from engines.api.errors import UserError
from engines.api.params import EditParams
from studio.records.character import Character
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind
from studio.records.payload import EnrichPayload
from studio.records.version import Comparison, Metrics, Side, Version
from studio.workplace.desk import Workplace
from tabs import planning

KNOBS: tuple[Any, ...] = (["background", "expression"], 6, 1, planning.GAPS, "[]", None, 0, 0)


@pytest.fixture
def source(add: Callable[..., ImageRecord]) -> ImageRecord:
    """An original to edit."""
    return add(tags={"angle": "front", "expression": "neutral"})


def test_a_row_that_is_not_ticked_is_not_drawn(studio: Workplace, anna: Character, source: ImageRecord) -> None:
    """It stays in the table, dimmed, and neither counts nor is queued; ticked again it is."""
    desk = studio.desk(anna.id)
    first = planning.changed_plan(desk, "{}", *KNOBS)[0]
    changes = planning.plan_act(desk, {"act": "tick", "row": first.key, "value": False}, "{}", *KNOBS)
    cost, rows = planning.draw_plan(desk, changes, *KNOBS)
    assert "5 edits" in cost
    assert "1 left out" in cost
    assert rows.count("<tr class=") == 6
    planning.run_plan(desk, changes, *KNOBS)
    assert first.row not in EnrichPayload.of(studio.jobs.list()[0]).rows
    again = planning.plan_act(desk, {"act": "tick", "row": first.key, "value": True}, changes, *KNOBS)
    assert all(each.kept for each in planning.changed_plan(desk, again, *KNOBS))


def test_other_words_are_drawn_and_promise_nothing(studio: Workplace, anna: Character, source: ImageRecord) -> None:
    """A row's words can be changed; what the old ones asked for is no longer expected of the result."""
    desk = studio.desk(anna.id)
    first = planning.changed_plan(desk, "{}", *KNOBS)[0]
    changes = planning.plan_act(desk, {"act": "words", "row": first.key, "value": "make her laugh"}, "{}", *KNOBS)
    planning.run_plan(desk, changes, *KNOBS)
    row = EnrichPayload.of(studio.jobs.list()[0]).rows[0]
    assert (EditParams.from_json(row.params).instruction, row.asked) == ("make her laugh", {})
    assert planning.plan_act(desk, {"act": "as-planned"}, changes, *KNOBS) == "{}"


def test_words_of_ones_own_are_drawn_for_the_chosen_sources(
    studio: Workplace, anna: Character, source: ImageRecord
) -> None:
    """One row a chosen picture, first in the plan; without words or a picture they are refused with what to do."""
    desk = studio.desk(anna.id)
    picked = planning.pick_source(desk, {"act": "source", "id": source.id}, "[]")
    with pytest.raises(UserError, match="No source is chosen"):
        planning.add_own(desk, "make her laugh", "{}", "[]")
    with pytest.raises(UserError, match="no words"):
        planning.add_own(desk, " ", "{}", picked)
    left, changes = planning.add_own(desk, "make her laugh", "{}", picked)
    assert left == ""
    first = planning.changed_plan(desk, changes, *KNOBS)[0]
    assert (first.own, first.row.source, first.row.params["instruction"]) == (True, source.id, "make her laugh")
    removed = planning.plan_act(desk, {"act": "remove", "row": first.key}, changes, *KNOBS)
    assert not any(each.own for each in planning.changed_plan(desk, removed, *KNOBS))


def test_a_row_of_ones_own_keeps_its_tick_when_another_is_removed(
    studio: Workplace, anna: Character, source: ImageRecord
) -> None:
    """Removing one leaves out no other, and the words that are added next start ticked."""
    desk, changes, picked = studio.desk(anna.id), "{}", json.dumps([source.id])
    for words in ("make her laugh", "make her cry", "make her sleep"):
        _, changes = planning.add_own(desk, words, changes, picked)
    first, second, _ = (each.key for each in planning.changed_plan(desk, changes, *KNOBS) if each.own)
    changes = planning.plan_act(desk, {"act": "own-on", "row": second, "value": False}, changes, *KNOBS)
    changes = planning.plan_act(desk, {"act": "remove", "row": first}, changes, *KNOBS)
    _, changes = planning.add_own(desk, "make her wink", changes, picked)
    own = [each for each in planning.changed_plan(desk, changes, *KNOBS) if each.own]
    assert [(each.row.params["instruction"], each.kept) for each in own] == [
        ("make her cry", False),
        ("make her sleep", True),
        ("make her wink", True),
    ]


@pytest.mark.parametrize(
    ("there", "back"),
    [
        ({"act": "tick", "value": False}, {"act": "tick", "value": True}),
        ({"act": "words", "value": "make her laugh"}, {"act": "words", "value": " "}),
    ],
)
def test_changes_that_are_taken_back_are_none(
    studio: Workplace, anna: Character, source: ImageRecord, there: dict[str, Any], back: dict[str, Any]
) -> None:
    """The button that undoes all changes stands under a changed plan alone."""
    desk = studio.desk(anna.id)
    row = planning.changed_plan(desk, "{}", *KNOBS)[0].key
    changed = planning.plan_act(desk, {**there, "row": row}, "{}", *KNOBS)
    assert "As planned" in planning.draw_plan(desk, changed, *KNOBS)[1]
    restored = planning.plan_act(desk, {**back, "row": row}, changed, *KNOBS)
    assert "As planned" not in planning.draw_plan(desk, restored, *KNOBS)[1]


def test_all_rows_left_out_is_refused(studio: Workplace, anna: Character, source: ImageRecord) -> None:
    """Nothing is queued, and the words say what to do."""
    desk = studio.desk(anna.id)
    keys = tuple(each.key for each in planning.changed_plan(desk, "{}", *KNOBS))
    with pytest.raises(UserError, match="The plan is empty"):
        planning.run_plan(desk, json.dumps({"skipped": keys}), *KNOBS)
    assert studio.jobs.list() == []


def test_the_sources_are_pictures(studio: Workplace, anna: Character, source: ImageRecord) -> None:
    """A click chooses one, another takes it out; the plan then starts from those alone."""
    desk = studio.desk(anna.id)
    picked = planning.pick_source(desk, {"act": "source", "id": source.id}, "[]")
    assert json.loads(picked) == [source.id]
    assert 'aria-pressed="true"' in planning.draw_sources(desk, picked)
    assert json.loads(planning.pick_source(desk, {"act": "source", "id": source.id}, picked)) == []
    assert json.loads(planning.pick_source(desk, {"act": "all"}, picked)) == []


def test_a_plan_can_be_drawn_once_more(studio: Workplace, anna: Character, source: ImageRecord) -> None:
    """While it is queued the same click is refused; the other button asks for it with seeds that nobody drew."""
    desk = studio.desk(anna.id)
    planning.run_plan(desk, "{}", *KNOBS)
    with pytest.raises(UserError, match="queued already"):
        planning.run_plan(desk, "{}", *KNOBS)
    assert planning.offer_more(desk)["visible"]
    assert "6 edits more" in planning.run_again(desk, "{}", *KNOBS).words
    seeds = [row.params["seed"] for job in studio.jobs.list() for row in EnrichPayload.of(job).rows]
    edits = [row.params["instruction"] for job in studio.jobs.list() for row in EnrichPayload.of(job).rows]
    assert len(set(zip(edits, seeds, strict=True))) == 12


def test_the_choice_says_what_each_editor_is_worth(studio: Workplace, anna: Character, source: ImageRecord) -> None:
    """The one in use first, then each version with its rates before and after, then each model alone."""
    store = studio.store(anna.id)
    edits = Comparison(n=9, originals=3, before=Side(accepted=0.56, judged=9), after=Side(accepted=0.89, judged=9))
    made = Version(id="e1", name="v1", role=Role.EDITOR, model=anna.editor, adapter="a", metrics=Metrics(edits=edits))
    store.versions.put(made)
    labels = [label for label, _ in planning.fill_editors(studio.desk(anna.id), None)["choices"]]
    assert labels[0].startswith("in use: ")
    assert labels[1].startswith("own v1 (56 → 89 %) + ")
    assert planning.editor_of(studio.desk(anna.id), "e1") == (anna.editor, "e1")
    assert planning.editor_of(studio.desk(anna.id), anna.editor) == (anna.editor, "")
    assert planning.editor_of(studio.desk(anna.id), planning.IN_USE) == (anna.editor, None)


def test_a_version_of_another_kind_is_refused(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A character's version edits nothing."""
    add(Kind.SOURCE)
    store = studio.store(anna.id)
    store.versions.put(Version(id="c1", name="v1", role=Role.CHARACTER, model=anna.generator, adapter="a"))
    with pytest.raises(UserError, match="v1 is no editor version"):
        planning.enrich.submit(
            studio.desk(anna.id),
            [each.row for each in planning.changed_plan(studio.desk(anna.id), "{}", *KNOBS)],
            version="c1",
        )
    assert studio.jobs.list() == []
