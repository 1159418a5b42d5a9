"""The words of each kind of edit: changed, added and taken back by a person, and used by the next plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.api.errors import BadInput
from engines.api.params import EditParams
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import templates
from tests.studio.conftest import World


def asked(world: World) -> dict[str, dict[str, str]]:
    """The instructions for outfits that a plan has, with the tags that they ask for."""
    rows = enrich.plan(world.desk, tasks=["outfit"], limit=40, fill_gaps=False).rows
    return {EditParams.kept(row.params).headline(): dict(row.asked) for row in rows}


def test_words_are_changed_added_and_taken_back(world: World) -> None:
    """The next plan asks with them, and expects the value as the tag; they outlive a restart."""
    spec, before = world.studio.registry.spec("fake-edit"), asked(world)
    templates.say(world.studio, spec, "outfit", "red shirt", "put a crimson shirt on the person")
    found = templates.say(world.studio, spec, "outfit", " cape ", "give the person a cape")
    assert found.own == ("red shirt", "cape")
    world.reopen()
    assert asked(world)["give the person a cape"] == {"outfit": "cape"}
    assert asked(world)["put a crimson shirt on the person"] == {"outfit": "red shirt"}
    assert "dress the person in a red shirt" not in asked(world)
    for value in ("cape", "red shirt"):
        templates.say(world.studio, spec, "outfit", value, "")
    assert asked(world) == before


def test_what_lets_the_person_go_is_warned_about(world: World) -> None:
    """The sentence on what stays can be changed; without such words each task says which edits may lose the person."""
    spec = replace(world.studio.registry.spec("fake-edit"), wording="photographs")
    assert not any(each.warning for each in templates.worded(world.studio, spec))
    found = templates.keep(world.studio, spec, "outfit", "Keep the pose.")
    assert (found.keep, found.own_keep) == ("Keep the pose", True)
    assert "red shirt" in found.warning
    words = templates.wording(world.studio, spec).edit_tasks()
    assert any(edit.words == "Dress the person in a plain red shirt. Keep the pose." for edit in words)
    assert templates.keep(world.studio, spec, "outfit", "").warning == ""


@pytest.mark.parametrize(
    ("task", "value", "words", "cause"),
    [
        ("dance", "x", "y", "no task"),
        ("outfit", " ", "y", "no name"),
        ("outfit", "x" * 61, "y", "61 letters"),
        ("outfit", "x", "y" * 2001, "2,001 letters"),
        ("outfit", "x\0", "y", "value"),
    ],
)
def test_what_cannot_be_words_is_refused(world: World, task: str, value: str, words: str, cause: str) -> None:
    """Nothing is stored."""
    spec = world.studio.registry.spec("fake-edit")
    with pytest.raises(BadInput, match=cause):
        templates.say(world.studio, spec, task, value, words)
    assert not any(each.own for each in templates.worded(world.studio, spec))
