"""Plans in own words are saved, shared as a file, and loaded by another character or another studio."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.api.errors import BadInput, NotFound
from studio.flywheel.enrich import saved_plans
from studio.records.plan import OwnEdit, StackedLora
from studio.store.lora_library import LoraLibrary
from tests.studio.conftest import World
from tests.studio.flywheel.enrich.test_own_words import kept_lora


def rows(world: World) -> list[OwnEdit]:
    """Two rows, one of them with a LoRA and pictures of this character."""
    stack = (StackedLora(lora="own-a", weight=0.6),)
    return [
        OwnEdit(key="a", words="make the {subject} {mood}", fills={"mood": "laugh"}, seeds=2, on=False),
        OwnEdit(key="b", words="wave", sources=(world.sources[0],), second=world.sources[1], loras=stack),
    ]


def bare(edits: tuple[OwnEdit, ...] | list[OwnEdit]) -> list[OwnEdit]:
    """Rows without their keys, which are new after each loading."""
    return [each.replace(key="") for each in edits]


def test_a_plan_is_saved_and_loaded(world: World) -> None:
    """All its rows come back under new keys; the same name replaces it; deleted it is gone."""
    kept_lora(world, "own-a")
    plan = saved_plans.save(world.studio, " Faces ", rows(world))
    assert saved_plans.save(world.studio, "Faces", rows(world)).id == plan.id
    world.reopen()
    found = saved_plans.get(world.studio, "Faces")
    loaded = saved_plans.load(world.desk, found)
    assert (bare(loaded.rows), loaded.notes) == (bare(rows(world)), ())
    assert {each.key for each in loaded.rows}.isdisjoint({"a", "b"})
    saved_plans.forget(world.studio, found.id)
    with pytest.raises(NotFound):
        saved_plans.get(world.studio, "Faces")


def test_a_shared_plan_tells_no_picture_and_finds_its_lora_by_hash(world: World) -> None:
    """In another studio the LoRA has another id; a plan of the same name stays beside it."""
    path = kept_lora(world, "own-a", 77)
    file = saved_plans.share(world.desk, saved_plans.save(world.studio, "My plan!", rows(world)))
    text = file.read_text()
    assert file.name == "My-plan.plan.json" and str(path.parent) not in text
    assert not any(image in text for image in world.sources)

    LoraLibrary(world.studio.library).remove("own-a")
    assert (
        "own-a is not on this machine"
        in saved_plans.load(world.desk, saved_plans.get(world.studio, "My plan!")).notes[0]
    )
    kept_lora(world, "own-b", 77)
    taken = saved_plans.take_in(world.studio, file)
    assert taken.name == "My plan! 2"
    loaded = saved_plans.load(world.desk, taken)
    assert loaded.rows[1].loras == (StackedLora(lora="own-b", weight=0.6),)
    assert (loaded.notes, loaded.rows[1].sources, loaded.rows[1].second) == ((), (), "")


def test_another_characters_pictures_are_left_out(world: World) -> None:
    """The row takes all originals instead, and a note says so."""
    plan = saved_plans.save(world.studio, "x", [OwnEdit(key="a", words="wave", sources=("of-another",), second="gone")])
    loaded = saved_plans.load(world.desk, plan)
    assert (loaded.rows[0].sources, loaded.rows[0].second, len(loaded.notes)) == ((), "", 2)


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ("nothing", "is no plan"),
        ([], "is no plan"),
        ({"format": "other", "version": 1, "name": "x", "rows": []}, "is no plan"),
        ({"format": "flenwheel-plan", "version": 9, "name": "x", "rows": []}, "another FLENwheel"),
        ({"format": "flenwheel-plan", "version": 1, "name": "x", "rows": []}, "no rows"),
        ({"format": "flenwheel-plan", "version": 1, "name": " ", "rows": [{"words": "x"}]}, "no name"),
        ({"format": "flenwheel-plan", "version": 1, "name": "x", "rows": [{"wrong": 1}]}, r"rows\[0\]"),
        ({"format": "flenwheel-plan", "version": 1, "name": "x", "rows": [{"seeds": 0}]}, r"rows\[0\].*seeds"),
        ({"format": "flenwheel-plan", "version": 1, "name": "x", "rows": [5]}, r"rows\[0\]"),
        (
            {
                "format": "flenwheel-plan",
                "version": 1,
                "name": "x",
                "rows": [{"loras": [{"lora": "a", "weight": 1e9}]}],
            },
            r"rows\[0\].*weight",
        ),
    ],
)
def test_a_file_that_is_no_plan_is_refused(world: World, tmp_path: Path, told: object, cause: str) -> None:
    """Nothing of it is saved."""
    file = tmp_path / "x.plan.json"
    file.write_text(json.dumps(told))
    with pytest.raises(BadInput, match=cause):
        saved_plans.take_in(world.studio, file)
    assert saved_plans.plans(world.studio) == []
