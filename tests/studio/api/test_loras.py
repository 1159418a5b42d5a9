"""A script looks at the LoRA library, adds to it, and draws a saved plan with a stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.api.api import Api
from studio.records.job import JobState
from studio.records.lora import LibraryLora
from studio.store.lora_library import LoraLibrary
from tests.studio.conftest import World, present
from tests.studio.flywheel.enrich.test_own_words import kept_lora
from tests.studio.housekeeping.test_loras import lora_file


def test_the_library_is_told_with_words_licence_and_reason(world: World) -> None:
    """For the editor that is asked for; an unknown editor is refused."""
    api = Api(world.studio)
    found = {each["id"]: each for each in api.lora_library("fake-edit")["loras"]}
    angles = found["fal-angles"]
    assert angles["published"]["slots"]["distance"] == ["medium shot", "close-up", "wide shot"]
    assert (angles["licence"], angles["here"], angles["published"]["page"]) == (
        "Apache-2.0",
        False,
        "https://huggingface.co/fal/Qwen-Image-Edit-2511-Multiple-Angles-LoRA",
    )
    assert "fake-edit" in angles["why_not"] and "ControlNet" in found["controlnet-union"]["why_not"]
    assert not api.lora_library("fake-flux")["ok"]


def test_notes_and_removal(world: World) -> None:
    """A note and a star are kept; a file that is removed is gone."""
    api, library = Api(world.studio), LoraLibrary(world.studio.library)
    path = kept_lora(world, "own-a")
    assert api.lora_note("own-a", "good at noses")["lora"]["notes"] == "good at noses"
    assert api.lora_note("own-a", star=True)["lora"]["notes"] == "good at noses"
    assert api.lora_remove("own-a")["lora"]["file"] == path.name and not path.exists()
    assert api.lora_remove("own-a")["error"]["code"] == "not_found"
    assert library.all() == []


@pytest.mark.slow
def test_a_stack_is_merged_by_script(world: World, tmp_path: Path) -> None:
    """Added from files, merged, and listed with its parts and licences; one LoRA alone is refused."""
    api, made = Api(world.studio), []
    for name, module in (("a", "attn.to_q"), ("b", "attn.to_v")):
        added = api.lora_add(str(lora_file(tmp_path / f"{name}.safetensors", module)), licence=f"of {name}")
        world.finish(world.studio.jobs.get(added["job_id"]))
        made.append(added["lora_id"])
    assert api.lora_merge([{"lora": made[0]}])["error"]["code"] == "bad_input"
    queued = api.lora_merge([{"lora": made[0], "weight": 0.5}, {"lora": made[1]}], name="both")
    job = world.finish(world.studio.jobs.get(queued["job_id"]))
    assert job.state is JobState.DONE, job.error
    found = {each["id"]: each for each in api.lora_library("fake-edit")["loras"]}[queued["lora_id"]]
    assert (found["here"], found["licence"], found["facts"]["modules"]) == (True, "of a + of b", 2)
    assert [(each["lora"], each["weight"]) for each in found["parts"]] == [(made[0], 0.5), (made[1], 1.0)]


def test_a_saved_plan_is_drawn_with_its_stack(world: World, tmp_path: Path) -> None:
    """Saved, listed, turned into rows, queued; what cannot be drawn is told beside the rest; shared and taken in."""
    api = Api(world.studio)
    kept_lora(world, "own-a")
    stack = [{"lora": "own-a", "weight": 0.5}]
    rows = [
        {
            "words": "make the {subject} {mood}",
            "fills": {"mood": "laugh"},
            "sources": world.sources[:2],
            "loras": stack,
        },
        {"words": "{what}"},
        {"words": "wave", "on": False},
    ]
    assert api.plan_save("faces", rows)["ok"]
    assert [each["name"] for each in api.plan_list()["plans"]] == ["faces"]
    planned = api.plan_rows(world.id, "faces")
    assert (planned["count"], [each["row"] for each in planned["troubles"]]) == (2, [1])
    job = world.finish(world.studio.jobs.get(api.enrich_submit(world.id, planned["rows"])["job_id"]))
    made = [world.store.images.get(image) for image in present(job.artifacts.images)]
    assert {(each.params["instruction"], each.params["loras"][0]["weight"]) for each in made} == {
        ("make the person laugh", 0.5)
    }
    shared = api.plan_share(world.id, "faces")["file_path"]
    assert api.plan_delete("faces")["plan"]["name"] == "faces"
    assert api.plan_import(shared)["plan"]["rows"][0]["loras"][0]["sha256"]
    assert api.plan_rows(world.id, "faces")["count"] == len(world.sources)


def test_an_old_home_opens_without_a_library(world: World) -> None:
    """Nothing is stored before something is added, and records of before have no new fields."""
    assert world.studio.library.records(LibraryLora).all() == []
    assert all("references" not in image.to_json() for image in world.store.images.all())
