"""A model is a row: one more, and every place that lists or takes models has it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import ModelMissing
from engines.catalogue.registry import Registry
from engines.fake import FAKE_MODELS
from studio.api.api import Api
from studio.open import open_workplace
from studio.records.image import Kind
from studio.settings import Settings
from studio.workplace.desk import Workplace
from tabs import app, card, generate, planning, train
from tabs.common import knobs, versions
from tests.tabs.colour_blocks import picture
from tests.tabs.conftest import ASSETS

KNOBS = {"GenerateParams": {"steps": 7, "guidance": 1.25, "width": 64, "height": 64}}
FAR = tuple(
    dataclasses.replace(row, name=f"far-{row.name}", label="Far away", source="nobody/far-away") for row in FAKE_MODELS
)
NEW = dataclasses.replace(FAKE_MODELS[0], name="brand-new", label="Brand new", licence="Brand-1.0", defaults=KNOBS)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Workplace]:
    """A studio whose registry has one row more."""
    settings = Settings(data_root=tmp_path / "home", assets=ASSETS, device="fake", models_dir=tmp_path / "models")
    made = open_workplace(settings, registry=Registry(ASSETS, settings.models_dir, (*FAKE_MODELS, NEW)))
    yield made
    made.close()


def test_the_pages_offer_it(studio: Workplace) -> None:
    """It can be chosen for a new character and for a training; Generate says what it is, with its licence."""
    offered = [choice for part in app.build(studio).config["components"] for choice in _choices(part)]
    assert (NEW.label, NEW.name) in offered
    made = app.create_character(studio, "Mira", "ohwx", "person", NEW.name)
    assert (NEW.label, NEW.name) in train.fill_models(studio.desk(made), "", None)[1]["choices"]
    about = generate.draw_cost(studio.desk(made), *generate.Asked().values())
    assert all(word in about for word in (NEW.name, NEW.licence, "7 steps"))


def test_scripts_draw_with_it(studio: Workplace) -> None:
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


def test_it_is_taken_for_nothing_else(studio: Workplace) -> None:
    """A generator is no editor: its role is the row's."""
    answer = Api(studio).character_create("Mira", params={"editor": NEW.name})
    assert answer["error"]["message"] == "brand-new is no editor: its kind is generator."


def _choices(part: dict[str, object]) -> list[tuple[str, str]]:
    props = part.get("props")
    found = props.get("choices") if isinstance(props, dict) else None
    return [tuple(each) for each in found or ()]


def test_a_model_whose_weights_are_missing_is_marked_and_refused_at_the_click(tmp_path: Path) -> None:
    """Every drop-down says so; Train, Run plan, Generate and the card answer with the command and queue nothing."""
    settings = Settings(data_root=tmp_path / "home", assets=ASSETS, device="fake", models_dir=tmp_path / "models")
    with open_workplace(settings, registry=Registry(ASSETS, settings.models_dir, (*FAKE_MODELS, *FAR))) as studio:
        offered = [choice for part in app.build(studio).config["components"] for choice in _choices(part)]
        marked = f"Far away · {knobs.MISSING}"
        assert {value for label, value in offered if label == marked} == {row.name for row in FAR}
        made = app.create_character(studio, "Mira", "ohwx", "person", FAR[0].name)
        studio.store(made).add_image(picture(1), kind=Kind.SOURCE, caption="ohwx person", caption_by="human")
        assert (marked, FAR[0].name) in train.fill_models(studio.desk(made), "", None)[1]["choices"]
        alone = f"Far away alone · {knobs.MISSING}"
        assert (alone, FAR[1].name) in planning.fill_editors(studio.desk(made), None)["choices"]
        assert versions.version_choices(studio.desk(made))[0][0].endswith(knobs.MISSING)

        plan: tuple[Any, ...] = (list(planning.TASKS), 4, 1, planning.GAPS, "[]", FAR[1].name, 0, 0)
        clicks: list[Callable[[], object]] = [
            lambda: train.start_training(studio.desk(made), "all", "best", "", None),
            lambda: planning.run_plan(studio.desk(made), "{}", *plan),
            lambda: generate.draw_pictures(studio.desk(made), *generate.Asked(prompt="ohwx person").values()),
            lambda: card.start(studio.desk(made), None),
        ]
        for click in clicks:
            with pytest.raises(ModelMissing, match=r"python launch\.py pull far-fake-(flux|edit)"):
                click()
        assert studio.jobs.list() == []
