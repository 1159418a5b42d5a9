"""The page and a script refuse the same value by the same sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engines.api.errors import UserError
from studio.api.api import Api
from studio.records.character import Character
from studio.records.image import ImageRecord
from studio.workplace.desk import Workplace
from tabs import app, generate, planning, train
from tabs.common import adding, cropping, wording
from tabs.sharing import ReviewLink

LONG = "x" * 20_000


def by_page(call: Callable[[], Any]) -> dict[str, str]:
    """Returns how the page refuses what a handler is given."""
    with pytest.raises(UserError) as found:
        call()
    return found.value.to_json()


def by_script(answer: dict[str, Any]) -> dict[str, str]:
    """Returns how a script is refused."""
    assert answer["ok"] is False, answer
    return dict(answer["error"])


@pytest.mark.parametrize(
    "given",
    [
        {"name": ""},
        {"name": " \n"},
        {"name": "a\nb"},
        {"name": "Bea\ud800"},
        {"name": LONG},
        {"name": None},
        {"name": 5},
        {"trigger": ""},
        {"trigger": "\u200b"},
        {"trigger": "a\0b"},
        {"trigger": LONG},
        {"trigger": ["ohwx"]},
        {"subject": "a\nb"},
        {"subject": True},
        {"generator": "nobody"},
        {"generator": "fake-edit"},
        {"editor": "fake-flux"},
        {"scorer": LONG},
        {"scorer": 1.5},
        {"editor": {"a": 1}},
    ],
    ids=lambda given: f"{given!r:.40}",
)
def test_a_character_is_refused_alike(studio: Workplace, given: dict[str, Any]) -> None:
    """Name, words and models; no character is made."""
    values = {"name": "Bea", "trigger": "ohwx", "subject": "person", **given}
    models = {role: value for role, value in given.items() if role in ("generator", "editor", "scorer")}
    words = {name: values[name] for name in ("name", "trigger", "subject")}
    picked = [models.get(role) for role, _, _ in app.ROLES]
    before = studio.library.characters()

    page = by_page(lambda: app.create_character(studio, *words.values(), *picked))
    script = by_script(Api(studio).character_create(**words, params=models))

    assert page == script
    assert studio.library.characters() == before


def test_a_character_is_made_alike(studio: Workplace) -> None:
    """An empty kind is a person, models that are not named are the registry's first."""
    made = app.create_character(studio, " Bea ", "ohwx", "", None, "", None, medium="drawing")
    page = studio.library.open(made).character
    script = Api(studio).character_create("Bea", "ohwx", "", {"editor": "", "medium": "drawing"})["character"]

    same = ("name", "medium", "trigger", "subject", "generator", "editor", "scorer", "notes")
    assert {name: page.to_json()[name] for name in same} == {name: script[name] for name in same}


@pytest.mark.parametrize("hours", [0, -1, 0.001, 72.5, 1e300])
def test_the_length_of_a_review_link_is_refused_alike(studio: Workplace, anna: Character, hours: float) -> None:
    """Nought is no empty field."""
    link = ReviewLink(studio)
    page = by_page(lambda: app.open_link(link, studio.desk(anna.id), hours))
    assert page == by_script(Api(studio, link).share_start(anna.id, hours))
    assert not link.live()


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (10_001, 0), (1, -1), (1, 2**64)])
def test_numbers_of_pictures_and_seeds_are_refused_alike(
    studio: Workplace, anna: Character, count: int, seed: int
) -> None:
    """Of a prompt and of scenes."""
    desk, api = studio.desk(anna.id), Api(studio)
    for what, prompts in ((generate.OWN, ["ohwx"]), (generate.SCENES, None)):
        asked = generate.Asked(what=what, prompt="ohwx", count=count, seed=seed)
        page = by_page(lambda asked=asked: generate.draw_pictures(desk, *asked.values()))
        assert page == by_script(api.generate_submit(anna.id, prompts, count, seed=seed))
    assert studio.jobs.list() == []


@pytest.mark.parametrize(
    ("prompt", "steps", "guidance"), [(" ", 0, 0), ("ohwx", -1, 0), ("a", 1001, 0), ("a", 5, -1.0)]
)
def test_a_picture_is_refused_alike(
    studio: Workplace, anna: Character, prompt: str, steps: float, guidance: float
) -> None:
    """Words, steps and guidance."""
    params = {name: value for name, value in (("steps", steps), ("guidance", guidance)) if value}
    desk = studio.desk(anna.id)
    asked = generate.Asked(prompt=prompt, count=1, steps=steps, guidance=guidance)
    page = by_page(lambda: generate.draw_pictures(desk, *asked.values()))
    assert page == by_script(Api(studio).generate_submit(anna.id, [prompt], params=params))


@pytest.mark.parametrize(
    "given",
    [{"seeds": 0}, {"seeds": 1001}, {"limit": -1}, {"limit": 10_001}, {"steps": -1}, {"true_cfg": 101}],
    ids=str,
)
def test_a_plan_is_refused_alike(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord], given: dict[str, Any]
) -> None:
    """Its numbers, and the knobs of its rows."""
    add()
    values = {"limit": 6, "seeds": 1, "steps": 0, "true_cfg": 0, **given}
    knobs = (["pose"], values["limit"], values["seeds"], planning.GAPS, "[]", None, values["steps"], values["true_cfg"])
    params = {name: value for name, value in given.items() if name in ("steps", "true_cfg")}
    asked = {"limit": values["limit"], "seeds": values["seeds"], "params": params}

    page = by_page(lambda: planning.run_plan(studio.desk(anna.id), "{}", *knobs))

    assert page == by_script(Api(studio).enrich_plan(anna.id, tasks=["pose"], **asked))


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("steps", -1),
        ("rank", 1025),
        ("alpha", -1.0),
        ("learning_rate", -1.0),
        ("max_grad_norm", -1.0),
        ("prior_pictures", -1),
        ("batch_size", 257),
        ("resolution", 5),
        ("seed", -1),
    ],
)
def test_a_training_is_refused_alike(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord], knob: str, value: float
) -> None:
    """Its knobs; 0 is what Gradio sends for an empty field."""
    add()
    values = [value if name == knob else None for name in train.KNOBS]
    page = by_page(lambda: train.start_training(studio.desk(anna.id), "all", "best", "", None, *values))
    assert page == by_script(Api(studio).train_submit(anna.id, {knob: value}))


@pytest.mark.parametrize("edges", [(60, 0, 50, 100), (0, 50, 100, 50), (-5, 0, 100, 100), (0, 0, 2, 100)], ids=str)
def test_a_crop_is_refused_alike(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord], edges: tuple[float, ...]
) -> None:
    """The page takes percents, a script shares."""
    image = add().id
    page = by_page(lambda: cropping.save(studio.desk(anna.id), image, *edges))
    assert page == by_script(Api(studio).crop_set(anna.id, image, [edge / 100 for edge in edges]))


@pytest.mark.parametrize("words", [LONG, "a\0b", "half \ud800", "y" * 4001], ids=["long", "NUL", "half", "4001"])
def test_a_caption_is_refused_alike(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord], words: str
) -> None:
    """Too many letters, and letters that are no text."""
    image = add().id
    page = by_page(lambda: wording.keep(studio, {"of": anna.id, "id": image, "caption": words}))
    assert page == by_script(Api(studio).caption_set(anna.id, image, words))


@pytest.mark.parametrize("folder", ["", "  ", "''", "~nobody-at-all/x"])
def test_a_path_is_refused_alike(studio: Workplace, anna: Character, folder: str) -> None:
    """An empty one, and one of a user whom this machine does not know."""
    page = by_page(lambda: adding.import_folder(studio.desk(anna.id), folder))
    assert page == by_script(Api(studio).image_import(anna.id, [folder]))
