"""Whatever a script sends, it is answered at once and in words; nothing is queued that must fail."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from engines.api.params import EditParams, GenerateParams, Params, TrainParams
from studio.api.api import API_NAMES, Api
from studio.records.job import JobState

_LONG = "x" * 1_000_000
ABSURD: dict[str, Any] = {
    "nothing": None,
    "true": True,
    "minus one": -1,
    "nought": 0,
    "a fraction": 1.5,
    "2^64": 2**64,
    "10^30": 10**30,
    "10^5000": 10**5000,
    "nan": float("nan"),
    "inf": float("inf"),
    "empty text": "",
    "a blank": " ",
    "a megabyte": _LONG,
    "a NUL": "a\0b",
    "[]": [],
    "{}": {},
    "[None]": [None],
    "[nan]": [float("nan")],
    "[2^64]": [2**64],
    "a long list": [-1] * 100_000,
    "nested": [[{"a": [None]}]],
    "[empty text]": [""],
    "[a NUL]": ["a\0b"],
    "[a megabyte]": [_LONG],
    "an object of nothing": {"steps": None},
    "an object of nested": {"steps": {"a": []}, "loras": [[]]},
    "a number as a name": {1: 2},
}
_PROMPTLY_S = 60.0  # what never ends, on however busy a machine; what is wrong is told in milliseconds


def usual(world: Any) -> dict[str, Any]:
    """An argument of each name with which its call would do something."""
    (row, *_) = Api(world.studio).enrich_plan(world.id, limit=1)["rows"]
    return {
        "character_id": world.id,
        "image_id": world.sources[0],
        "image_ids": [world.sources[0]],
        "text": "ohwx person",
        "name": "Ada",
        "files": ["/nowhere/a.png"],
        "file": "/nowhere/a.png",
        "box": [0.0, 0.0, 1.0, 1.0],
        "rows": [row],
        "verdict": "good",
        "job_id": "no-job",
        "version_id": "no-version",
        "steps": 5,
        "step": 5,
        "layout": "kohya",
        "find": "ohwx",
        "tags": {"light": "soft"},
        "program": "comfyui",
        "folder": "/nowhere",
        "lora_id": "own-nothing",
        "place": "/nowhere/a.safetensors",
        "plan_id": "no-plan",
        "task": "outfit",
        "value": "cape",
        "words": "Dress the person in a cape",
        "tasks": [{"task": "expression"}],
        "contestants": [{"few_steps": True}],
        "stack": [{"lora": "own-a"}, {"lora": "own-b", "weight": 0.5}],
        "rank": 4,
    }


def arguments() -> Iterator[tuple[str, str]]:
    """Every argument of every call."""
    for name in API_NAMES:
        for argument in inspect.signature(getattr(Api, name)).parameters:
            if argument != "self":
                yield name, argument


@pytest.mark.parametrize(("name", "argument"), list(arguments()))
def test_an_absurd_argument_is_answered_at_once_and_in_words(world: Any, name: str, argument: str) -> None:
    """It is refused as no bug and by a short message, or it is taken and its job does not fail; nothing is raised."""
    api, given = Api(world.studio), usual(world)
    needed = [
        each.name
        for each in inspect.signature(getattr(Api, name)).parameters.values()
        if each.default is each.empty and each.name != "self"
    ]
    for label, value in ABSURD.items():
        began = time.perf_counter()
        answer = getattr(api, name)(**{**{each: given[each] for each in needed}, argument: value})
        told = answer.get("error") or {}
        assert time.perf_counter() - began < _PROMPTLY_S, label
        assert answer["ok"] or told["code"] != "bug", label
        assert len(str(told)) < 3000, label
    world.studio.jobs.start()
    for job in world.studio.jobs.list():
        if job.state is JobState.QUEUED:
            world.studio.jobs.cancel(job.id) if job.total > 1000 else world.finish(job)
    assert [job.error for job in world.studio.jobs.list() if job.error.code == "bug"] == []


PARAMS: dict[str, type[Params]] = {
    "train_submit": TrainParams,
    "train_preflight": TrainParams,
    "refine_submit": TrainParams,
    "refine_preflight": TrainParams,
    "generate_submit": GenerateParams,
    "card_submit": GenerateParams,
    "enrich_plan": EditParams,
    "enrich_submit": EditParams,
}


@pytest.mark.parametrize("name", PARAMS)
def test_every_knob_is_checked_when_it_is_submitted(world: Any, name: str) -> None:
    """Nothing but a value of its kind and within its bounds is taken; a refusal names the knob and makes no job."""
    world.review(approved=3, corrected=1)
    api, kind = Api(world.studio), PARAMS[name]
    (row, *_) = api.enrich_plan(world.id, limit=1)["rows"]
    for knob in fields(kind):
        for label, value in ABSURD.items():
            before = len(world.studio.jobs.list())
            if name == "enrich_submit":
                changed = {**row, "params": {**row["params"], knob.name: value}}
                answer = api.enrich_submit(world.id, [row, changed])
            else:
                answer = getattr(api, name)(world.id, params={knob.name: value})
            if not answer["ok"]:
                assert answer["error"]["code"] == "bad_input", (knob.name, label)
                assert knob.name.removesuffix("s") in str(answer["error"]), (knob.name, label, answer)
                assert len(world.studio.jobs.list()) == before
            elif knob.name != "loras":
                kept = kind.from_json({knob.name: value})  # raises where it should have been refused
                assert value != 0 or getattr(kept, knob.name) == value
        if name.endswith("_submit"):
            _drop_all(world)


@pytest.mark.parametrize("place", ["source", "asked", "task", "params"])
def test_every_value_of_a_plans_row_is_checked(world: Any, place: str) -> None:
    """A row of a wrong kind is refused by its place, and so is all that came with it."""
    api = Api(world.studio)
    first, second = api.enrich_plan(world.id, limit=2)["rows"]
    wrong = {label: value for label, value in ABSURD.items() if not isinstance(value, str)}
    for label, value in wrong.items():
        answer = api.enrich_submit(world.id, [first, {**second, place: value}])
        if place == "asked" and value == {}:
            continue
        assert not answer["ok"] and "rows[1]" in str(answer["error"]), (label, answer)
    assert [job for job in world.studio.jobs.list() if job.total > 1 and place != "asked"] == []


def _drop_all(world: Any) -> None:
    for job in world.studio.jobs.list():
        world.studio.jobs.cancel(job.id)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_every_seed_of_64_bits_passes(world: Any, seed: int) -> None:
    """By every call that takes one; after the last seed comes the first."""
    api = Api(world.studio)
    (row,) = api.enrich_plan(world.id, limit=1, params={"seed": seed})["rows"]
    answers = [
        api.generate_submit(world.id, ["ohwx person"], count=2, seed=seed),
        api.generate_submit(world.id, count=2, seed=seed),
        api.card_submit(world.id, seeds=[seed]),
        api.train_submit(world.id, {"seed": seed}),
        api.enrich_submit(world.id, [row]),
    ]

    assert row["params"]["seed"] == seed
    assert [answer["ok"] for answer in answers] == [True] * len(answers), answers
    drawn = world.studio.jobs.get(answers[0]["job_id"]).payload["items"]
    assert [item["seed"] for item in drawn] == [seed, (seed + 1) % 2**64]


@pytest.mark.parametrize("seed", [2**64, -1, 1.5, True, "x", None])
def test_what_is_no_seed_is_refused_everywhere(world: Any, seed: Any) -> None:
    """In words that name it, and with no job."""
    api = Api(world.studio)
    (row,) = api.enrich_plan(world.id, limit=1)["rows"]
    answers = [
        api.generate_submit(world.id, ["ohwx person"], seed=seed),
        api.generate_submit(world.id, seed=seed),
        api.generate_submit(world.id, ["ohwx person"], params={"seed": seed}),
        api.card_submit(world.id, seeds=[seed]),
        api.train_submit(world.id, {"seed": seed}),
        api.enrich_plan(world.id, params={"seed": seed}),
        api.enrich_submit(world.id, [{**row, "params": {**row["params"], "seed": seed}}]),
    ]

    assert [answer["error"]["code"] for answer in answers] == ["bad_input"] * len(answers)
    assert all("seed" in answer["error"]["message"] for answer in answers)
    assert world.studio.jobs.list() == []


@pytest.mark.parametrize("count", [10**30, 300_000, 10_001, -1])
def test_a_number_that_no_job_can_do_is_refused_before_anything_is_built(world: Any, count: int) -> None:
    """However large it is, the answer comes at once and makes no job."""
    api, began = Api(world.studio), time.perf_counter()
    answers = [
        api.generate_submit(world.id, ["a"], count=count),
        api.generate_submit(world.id, count=count),
        api.generate_submit(world.id, ["a"] * 100, count=abs(count) // 90),
        api.enrich_plan(world.id, seeds=count),
        api.enrich_plan(world.id, limit=count),
        api.practice_plan(world.id, limit=count),
    ]

    assert [answer["ok"] for answer in answers[:2] + answers[3:]] == [False] * 5
    assert answers[2]["ok"] is False
    assert time.perf_counter() - began < _PROMPTLY_S
    assert world.studio.jobs.list() == []


@pytest.mark.parametrize("words", ["", "  \n"])
def test_empty_words_are_refused(world: Any, words: str) -> None:
    """A prompt and an edit's words say something."""
    api = Api(world.studio)
    (row,) = api.enrich_plan(world.id, limit=1)["rows"]
    drawn = api.generate_submit(world.id, ["fine", words])
    edited = api.enrich_submit(world.id, [{**row, "params": {**row["params"], "instruction": words}}])

    assert "prompt is empty" in drawn["error"]["message"]
    assert "rows[0]" in edited["error"]["message"] and "instruction is empty" in edited["error"]["message"]
    assert world.studio.jobs.list() == []


def test_a_model_that_is_not_here_is_told_at_submit(world: Any) -> None:
    """With the command that fetches it, by every call that would need it, and the pre-flight is not ok either."""
    api = Api(world.studio)
    (row,) = api.enrich_plan(world.id, limit=1)["rows"]
    found = api.train_preflight(world.id, model="far-away")["preflight"]
    world.studio.library.update(world.id, generator="far-away")
    answers = [
        api.train_submit(world.id),
        api.generate_submit(world.id, ["a"]),
        api.card_submit(world.id),
        api.enrich_submit(world.id, [row], model="far-edit"),
        api.caption_submit(world.id, world.sources, model="far-edit", overwrite_human=True),
    ]

    assert {answer["error"]["code"] for answer in answers} == {"model_missing"}
    assert all("python launch.py pull far-" in answer["error"]["hint"] for answer in answers)
    assert world.studio.jobs.list() == [] and not found["ok"]
    assert any("python launch.py pull far-away" in check["hint"] for check in found["checks"])


def test_a_model_of_another_kind_is_refused(world: Any) -> None:
    """A generator edits nothing and captions nothing; those that do are named."""
    api = Api(world.studio)
    (row,) = api.enrich_plan(world.id, limit=1)["rows"]
    answers = [
        api.enrich_plan(world.id, model="fake-flux"),
        api.enrich_plan(world.id, model="far-away"),
        api.enrich_submit(world.id, [row], model="fake-flux"),
        api.caption_submit(world.id, world.sources, model="fake-flux", overwrite_human=True),
        api.train_submit(world.id, model="fake-edit"),
    ]

    assert [answer["error"]["code"] for answer in answers] == ["bad_input"] * 5
    assert all("fake-edit" in str(answer["error"]) for answer in answers)
    assert world.studio.jobs.list() == []


def test_a_character_without_a_trigger_is_not_worked_for(world: Any) -> None:
    """Earlier versions could make one; no job is queued for it, and the pre-flight agrees."""
    characters = world.studio.library._characters
    characters.put(characters.get(world.id).replace(trigger=" "))
    api = Api(world.studio)
    answers = [
        api.train_submit(world.id),
        api.card_submit(world.id),
        api.generate_submit(world.id, count=1),
        api.caption_submit(world.id, world.sources, overwrite_human=True),
    ]

    assert all("trigger word" in answer["error"]["message"] for answer in answers)
    assert world.studio.jobs.list() == []
    assert not api.train_preflight(world.id)["preflight"]["ok"]


def test_knobs_that_do_not_go_together_are_refused_at_submit(world: Any) -> None:
    """The pre-flight says the same."""
    api = Api(world.studio)
    for params in (
        {"optimizer": "prodigy", "learning_rate": 1e-4},
        {"resolution": 64, "resolutions": [64]},
        {"prior_weight": 1.0, "class_word": " "},
        {"prior_weight": 1.0, "prior_pictures": 0},
    ):
        assert api.train_submit(world.id, params)["error"]["code"] == "bad_input"
        assert not api.train_preflight(world.id, params)["preflight"]["ok"]
    assert world.studio.jobs.list() == []


@pytest.mark.parametrize("name", API_NAMES)
def test_a_wrong_number_of_arguments_is_told(world: Any, name: str) -> None:
    """One that is not known is named with those that are, one too many by place is counted."""
    call = getattr(Api(world.studio), name)
    unknown, many = call(colour="red"), call(*["x"] * 30)

    assert not unknown["ok"] and not many["ok"]
    assert unknown["error"]["code"] == many["error"]["code"] == "bad_input"
    known = [each for each in inspect.signature(getattr(Api, name)).parameters if each != "self"]
    assert "missing" in unknown["error"]["message"] or "colour" in unknown["error"]["message"]
    assert not known or any(each in str(unknown["error"]) for each in known)
