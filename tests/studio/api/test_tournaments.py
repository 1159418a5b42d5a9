"""Tournaments and routes by script: planned, held, read, exported, routed, overruled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from studio.api.api import Api
from studio.api.surface import calls
from tests.studio.conftest import World

SCHEMAS = {call.name: Draft202012Validator(call.returns) for call in calls()}


def ask(world: World, name: str, **arguments: Any) -> dict[str, Any]:
    """What a call answers, checked against what is said of it."""
    found: dict[str, Any] = json.loads(json.dumps(getattr(Api(world.studio), name)(world.id, **arguments)))
    SCHEMAS[name].validate(found)
    return found


def test_a_script_holds_a_tournament_and_routes_its_task(world: World) -> None:
    """It learns the looks before, judges blind, reads the matrix, and the plan takes the winner until overruled."""
    given = {
        "tasks": [{"task": "expression"}],
        "contestants": [{"few_steps": True, "key": "few"}],
        "originals": world.sources[:3],
    }
    planned = ask(world, "tournament_plan", **given)
    assert planned["looks_expected"] < planned["looks_most"] == 18
    queued = ask(world, "tournament_submit", **given, key="x")
    assert ask(world, "tournament_submit", **given, key="x")["job_id"] == queued["job_id"]
    world.finish(world.studio.jobs.get(queued["job_id"]))
    while images := ask(world, "review_next")["images"]:
        (image,) = images
        assert (image["model"], image["scores"], image["trial"]["contestant"]) == ("", {}, "")
        assert image["params"].keys() == {"instruction"}
        good = world.store.images.get(image["id"]).params["few_steps"]
        ask(world, "review_decide", image_id=image["id"], verdict="good" if good else "reject")
    found = ask(world, "tournament_get")
    assert (found["tasks"][0]["winner"], found["tasks"][0]["looks"]) == ("few", 14)
    assert found["others"] == [queued["tournament_id"]] and found["job_id"] == queued["job_id"]
    for form in ("csv", "png"):
        assert Path(ask(world, "tournament_export", format=form)["file_path"]).suffix == f".{form}"
    (route,) = ask(world, "route_get")["routes"]
    assert route["task"] == "expression" and route["contestant"]["few_steps"] and "p = 0.031" in route["why"]
    assert ask(world, "enrich_plan", tasks=["expression"], limit=2)["rows"][0]["params"]["few_steps"]
    assert ask(world, "route_set", task="expression")["route"]["contestant"] is None
    assert not ask(world, "enrich_plan", tasks=["expression"], limit=2)["rows"][0]["params"]["few_steps"]
    assert ask(world, "route_set", task="expression", follow=True)["route"]["contestant"]["key"] == "few"
    chosen = ask(world, "route_set", task="pose", tournament_id=queued["tournament_id"], contestant="few")["route"]
    assert chosen["overruled"] and chosen["name"].endswith("few steps")


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("tournament_submit", {"tasks": [{"task": 1}], "contestants": []}, "tasks[0] cannot be used"),
        ("tournament_submit", {"tasks": [{"task": "pose"}], "contestants": [{"x": 1}]}, "contestants[0] cannot be"),
        ("tournament_get", {}, "There is no tournament"),
        ("tournament_export", {"format": "pdf"}, "It is one of: csv, png"),
        ("route_set", {"task": "pose", "contestant": "b"}, "There is no tournament"),
        ("route_set", {"task": "pose", "follow": True}, "There is no RouteChoice"),
        ("route_set", {"task": " "}, "has no task"),
    ],
)
def test_what_a_script_gets_wrong_is_named(world: World, name: str, arguments: dict[str, Any], words: str) -> None:
    """And nothing is queued."""
    found = ask(world, name, **arguments)
    assert not found["ok"] and words in f"{found['error']['message']} {found['error']['hint']}"
    assert not world.studio.jobs.list(world.id)
