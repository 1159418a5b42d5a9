"""LoRA files that a submit names: looked at at once, by every way in, and nothing queued that cannot run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from engines.api.params import EditParams, LoraUse
from studio.api.api import Api
from studio.flywheel.enrich import edits as enrich
from tests.studio.conftest import World, present


@pytest.fixture
def lora(tmp_path: Path) -> str:
    """A LoRA of the fake family."""
    save_file({"fake.mean": np.zeros((4, 4, 3), dtype=np.uint8)}, tmp_path / "mine.safetensors")
    return str(tmp_path / "mine.safetensors")


def _generate(api: Api, world: World, loras: Any) -> Any:
    return api.generate_submit(world.id, ["ohwx"], params={"loras": loras})


def _scenes(api: Api, world: World, loras: Any) -> Any:
    return api.generate_submit(world.id, params={"loras": loras})


def _card(api: Api, world: World, loras: Any) -> Any:
    return api.card_submit(world.id, params={"loras": loras})


def _enrich(api: Api, world: World, loras: Any) -> Any:
    (row,) = api.enrich_plan(world.id, limit=1)["rows"]
    return api.enrich_submit(world.id, [{**row, "params": {**row["params"], "loras": loras}}])


_WAYS = (_generate, _scenes, _card, _enrich)


def _strange(folder: Path) -> str:
    save_file({"other.tensor": np.zeros(3)}, folder / "strange.safetensors")
    return str(folder / "strange.safetensors")


def _no_weights(folder: Path) -> str:
    (folder / "page.safetensors").write_text("<html>")
    return str(folder / "page.safetensors")


_FILES: dict[str, tuple[Callable[[Path], str], str]] = {
    "gone": (lambda folder: str(folder / "gone.safetensors"), "gone.safetensors"),
    "a folder": (str, "pytest"),
    "no safetensors": (_no_weights, "page.safetensors"),
    "another family": (_strange, "strange.safetensors"),
}


@pytest.mark.parametrize("submit", _WAYS)
@pytest.mark.parametrize("what", _FILES)
def test_a_file_that_cannot_be_used_is_refused_when_it_is_asked_for(
    what: str, submit: Any, world: World, tmp_path: Path
) -> None:
    """The error names the file and what to do; the queue stays empty."""
    make, named = _FILES[what]
    answer = submit(Api(world.studio), world, [{"file": make(tmp_path)}])

    assert not answer["ok"] and answer["error"]["code"] in ("not_found", "bad_input", "lora_mismatch")
    assert named in answer["error"]["message"] and answer["error"]["hint"]
    assert world.studio.jobs.list() == []


_WRONG: tuple[Any, ...] = (
    "x.safetensors", 5, {"file": "x"}, ["x.safetensors"], [5], [None], [{}], [{"where": "x"}], [{"file": 5}],
    [{"file": None}], [{"file": ""}], [{"file": ["x"]}], [{"file": "x", "weight": "y"}],
    [{"file": "x", "weight": True}], [{"file": "x", "weight": None}], [{"file": "x", "scale": 1}],
    [{"file": "x", "for_this_model": "yes"}], [{"file": "x", "for_this_model": 1}],
)  # fmt: skip


@pytest.mark.parametrize("loras", _WRONG)
@pytest.mark.parametrize("submit", _WAYS)
def test_a_wrong_shape_is_answered_in_words(submit: Any, loras: Any, world: World) -> None:
    """What `loras` looks like is shown; no Python leaks out, and nothing is queued."""
    answer = submit(Api(world.studio), world, loras)

    assert not answer["ok"] and answer["error"]["code"] == "bad_input"
    assert "loras" in answer["error"]["message"] and answer["error"]["hint"]
    assert world.studio.jobs.list() == []


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("submit", _WAYS)
def test_a_strength_that_draws_black_is_refused_at_once(submit: Any, weight: float, lora: str, world: World) -> None:
    """The weight is a number that a picture survives."""
    answer = submit(Api(world.studio), world, [{"file": lora, "weight": weight}])

    assert not answer["ok"] and "mine.safetensors" in answer["error"]["message"]
    assert world.studio.jobs.list() == []


@pytest.mark.parametrize("submit", _WAYS)
def test_a_good_file_is_drawn_with(submit: Any, lora: str, world: World) -> None:
    """What the job keeps is what was asked for; there is nothing to tell."""
    answer = submit(Api(world.studio), world, [{"file": lora, "weight": 0.5}])

    assert answer["ok"] and answer["notes"] == []
    job = world.finish(world.studio.jobs.get(answer["job_id"]))
    drawn = world.store.images.get(present(job.artifacts.images)[0])
    assert list(drawn.params["loras"]) == [{"file": lora, "weight": 0.5}]


@pytest.mark.parametrize("submit", _WAYS)
def test_who_says_that_a_file_is_for_the_model_says_so_to_the_engine(submit: Any, lora: str, world: World) -> None:
    """`for_this_model` is kept with the job and its pictures, and only where it was said."""
    answer = submit(Api(world.studio), world, [{"file": lora, "for_this_model": True}])

    assert answer["ok"]
    job = world.finish(world.studio.jobs.get(answer["job_id"]))
    drawn = world.store.images.get(present(job.artifacts.images)[0])
    assert list(drawn.params["loras"]) == [{"file": lora, "weight": 1.0, "for_this_model": True}]


def test_what_a_file_holds_in_vain_is_told(lora: str, world: World) -> None:
    """Words of the engine's check reach who submits, and who follows the job."""
    (row,) = enrich.plan(world.desk, limit=1, loras=[LoraUse(file=lora)]).rows
    engine = world.studio.engine("fake-edit")
    engine.check_loras = lambda uses: [f"{len(uses)} file: its text encoder is not used."]
    answer = Api(world.studio).enrich_submit(world.id, [{"source": row.source, "params": row.params}])

    assert answer["notes"] == ["1 file: its text encoder is not used."]
    world.finish(world.studio.jobs.get(answer["job_id"]))
    assert world.warnings(answer["job_id"]) == answer["notes"]


def test_a_plan_keeps_the_loras_of_its_knobs(world: World) -> None:
    """Those among the knobs come first, then those that the plan is given; neither is dropped."""
    first, second = {"file": "a.safetensors", "weight": 0.5}, LoraUse(file="b.safetensors")
    answer = Api(world.studio).enrich_plan(world.id, limit=2, params={"loras": [first]})
    assert [list(row["params"]["loras"]) for row in answer["rows"]] == [[first], [first]]

    both = enrich.plan(world.desk, limit=1, knobs={"loras": [first]}, loras=[second])
    stack = EditParams.from_json(both.rows[0].params).loras
    assert stack == (LoraUse(file="a.safetensors", weight=0.5), second)
