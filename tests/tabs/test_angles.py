"""The picker of views: words before anything is added, one row a view, and the view changed in its row."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from engines.api.errors import UserError
from studio.records.character import Character
from studio.records.image import ImageRecord
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Desk, Workplace
from tabs import angles, planning
from tests.tabs.test_planning import KNOBS

FIELDS = {"back": True, "front": False, "half-left": True, "elevation": "high", "framing": "head", "lora": ""}


@pytest.fixture
def desk(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> Desk:
    """Anna's, with one original."""
    add(tags={"angle": "front"})
    return studio.desk(anna.id)


def test_words_are_shown_before_a_row_is_added(desk: Desk) -> None:
    """One line a view, in the order of the ring, in the grammar of what is asked."""
    said = angles.preview(desk, {"act": "look", "fields": FIELDS}, None)
    assert said.index("half-left, high, close-up") < said.index("back, high, close-up")
    assert "only the back of the head is seen. Look steeply down" in said and "Add 2 rows" in said
    record = LoraLibrary(desk.workplace.library).get("fal-angles")
    LoraLibrary(desk.workplace.library).folder(record.id).mkdir(parents=True)
    (LoraLibrary(desk.workplace.library).folder(record.id) / "angles.safetensors").write_bytes(b"x")
    LoraLibrary(desk.workplace.library).put(record.replace(file="angles.safetensors"))
    said = angles.preview(desk, {"act": "look", "fields": {**FIELDS, "lora": record.id}}, None)
    assert "&lt;sks&gt; back view high-angle shot close-up" in said
    picker, note = angles.draw(desk, None), angles.preview(desk, {"fields": {}}, None)
    assert picker.count('type="checkbox"') == 8 + 1 and picker.count('type="radio"') == 7 and "Tick one" in note
    assert record.name not in picker, "a toy cannot use it"


def test_each_view_becomes_a_row(desk: Desk) -> None:
    """Whose words are the view's; in the row the view is changed, and what there is not is refused."""
    views = json.dumps([vars(each) for each in angles.chosen(FIELDS)])
    added = angles.add(desk, {"act": "own-views", "views": views, "lora": ""}, "{}", "[]")
    assert added.words == "2 rows added to the plan."
    first = json.loads(added.values)["own"][0]
    assert first["view"] == {"angle": "half-left", "elevation": "high", "framing": "head"}
    _, shown = planning.draw_plan(desk, added.values, *KNOBS)
    assert "→ Turn the head to half-left" in shown and '<option value="head" selected>close-up' in shown
    act = {"act": "own-view", "name": "angle", "row": first["key"]}
    changed = planning.plan_act(desk, {**act, "value": "back-right"}, added.values, *KNOBS)
    assert json.loads(changed)["own"][0]["view"]["angle"] == "back-right"
    with pytest.raises(UserError, match="cannot be so"):
        planning.plan_act(desk, {**act, "value": "upside down"}, changed, *KNOBS)


def test_a_picker_without_an_angle_adds_nothing(desk: Desk) -> None:
    """It says what to do; a view that there is not is refused."""
    with pytest.raises(UserError, match="No angle is chosen"):
        angles.add(desk, {"act": "own-views", "views": "[]"}, "{}", "[]")
    with pytest.raises(UserError, match="no such view"):
        angles.preview(desk, {"fields": {**FIELDS, "elevation": "underground"}}, None)
    with pytest.raises(UserError, match="not on this machine"):
        angles.preview(desk, {"fields": {**FIELDS, "lora": "fal-angles"}}, None)
