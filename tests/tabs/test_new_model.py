"""A model is a row: one more, and every place that lists or takes models has it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.fake import FAKE_MODELS
from engines.registry import Registry
from studio.api import Api
from studio.settings import Settings
from studio.studio import Studio
from tabs import app, generate, train
from tests.tabs.conftest import ASSETS

KNOBS = {"GenerateParams": {"steps": 7, "guidance": 1.25, "width": 64, "height": 64}}
NEW = dataclasses.replace(FAKE_MODELS[0], name="brand-new", label="Brand new", licence="Brand-1.0", defaults=KNOBS)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """A studio whose registry has one row more."""
    settings = Settings(data_root=tmp_path / "home", assets=ASSETS, device="fake", models_dir=tmp_path / "models")
    made = Studio(settings, registry=Registry(ASSETS, settings.models_dir, (*FAKE_MODELS, NEW)))
    yield made
    made.close()


def test_the_pages_offer_it(studio: Studio) -> None:
    """It can be chosen for a new character and for a training; Generate says what it is, with its licence."""
    offered = [choice for part in app.build(studio).config["components"] for choice in _choices(part)]
    assert (NEW.label, NEW.name) in offered
    made = app.create_character(studio, "Mira", "ohwx", "person", NEW.name)
    assert (NEW.label, NEW.name) in train.fill_models(studio, made, None, 1)[0]["choices"]
    about = generate.draw_about(studio, made, None)
    assert all(word in about for word in (NEW.name, NEW.licence, "7 steps"))


def test_scripts_draw_with_it(studio: Studio) -> None:
    """Named at character_create, it is what generate_submit draws with, at the row's own knobs."""
    api = Api(studio)
    made = api.character_create("Mira", params={"generator": NEW.name})["character"]["id"]
    job = api.generate_submit(made, ["ohwx person"], count=2)["job_id"]
    payload = studio.jobs.get(job).payload
    assert payload["model"] == NEW.name
    assert {(item["steps"], item["guidance"]) for item in payload["items"]} == {(7, 1.25)}
    studio.jobs.start()
    while (status := api.job_status(job))["state"] in ("queued", "running"):
        time.sleep(0.005)
    assert status["state"] == "done", status["error"]
    assert [image["model"] for image in api.image_list(made, kind="synthetic")["images"]] == [NEW.name] * 2


def test_it_is_taken_for_nothing_else(studio: Studio) -> None:
    """A generator is no editor: its role is the row's."""
    answer = Api(studio).character_create("Mira", params={"editor": NEW.name})
    assert answer["error"]["message"] == "brand-new is no editor."


def _choices(part: dict[str, object]) -> list[tuple[str, str]]:
    props = part.get("props")
    found = props.get("choices") if isinstance(props, dict) else None
    return [tuple(each) for each in found or ()]
