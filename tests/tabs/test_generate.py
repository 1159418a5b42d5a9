"""The Generate tab's handlers."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engines.api.errors import UserError
from engines.catalogue.registry import Registry
from engines.fake import FAKE_MODELS
from studio.api.api import Api
from studio.flywheel import generate as drawing
from studio.flywheel.train import character as train
from studio.open import open_workplace
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind
from studio.records.version import Version
from studio.settings import Settings
from studio.workplace.desk import Desk, Workplace
from tabs import generate
from tabs.common import asking
from tabs.common.asking import FIELDS, GAPS, KEPT, OWN, SCENES, Asked
from tests.tabs.conftest import ASSETS, character_on_fakes
from tests.tabs.waiting import ended


def ticked(desk: Desk, asked: Asked) -> Asked:
    """The same with every scene of the list ticked, as the page does."""
    plan = asking.draw_plan(desk, "", *asked.values())[-1]
    return dataclasses.replace(asked, plan=plan["value"] if isinstance(plan, dict) and "value" in plan else ())


def filled(updates: list[Any]) -> dict[str, Any]:
    """What use_settings fills, by the names of the fields; of a field with choices its value."""
    values = [each.get("value") if isinstance(each, dict) and "choices" in each else each for each in updates]
    return dict(zip((*FIELDS, "restored"), values, strict=True))


@pytest.fixture
def trained(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> Version:
    """Anna's first version, in use."""
    add()
    add()
    studio.jobs.start()
    ended(studio, train.submit(studio.desk(anna.id)))
    (version,) = studio.store(anna.id).versions.all()
    return version


def test_each_way_of_asking_makes_items_with_seeds_of_their_own(studio: Workplace, anna: Character) -> None:
    """A prompt, scenes, or the card's gaps."""
    desk = studio.desk(anna.id)
    for what in (OWN, SCENES, GAPS):
        asked = ticked(desk, Asked(what=what, prompt="ohwx person", count=3, seed=5))
        (found,) = asking.drawings(desk, asked)
        assert [each.seed for each in found.items] == [5, 6, 7]
        assert all("ohwx" in each.prompt for each in found.items)


def test_every_knob_goes_with_each_picture_and_is_the_models_own_unless_set(
    studio: Workplace, anna: Character, trained: Version
) -> None:
    """Whichever way pictures are asked for: skipping, size, steps, guidance, strength, a second LoRA."""
    desk = studio.desk(anna.id)
    for what in (OWN, SCENES, GAPS):
        plain = ticked(desk, Asked(what=what, prompt="ohwx person", count=1))
        told = dataclasses.replace(
            plain, first_block_cache=0.1, size="portrait · 48 × 80", steps=3, guidance=1.5, strength=0.8,
            extra=trained.id, extra_weight=0.5, extra_sure=True,
        )  # fmt: skip
        own, item = (asking.drawings(desk, each)[0].items[0] for each in (plain, told))
        assert (own.first_block_cache, own.width, own.height, own.strength, own.loras) == (0, 64, 64, 1, ())
        assert (item.first_block_cache, item.width, item.height, item.steps) == (0.1, 48, 80, 3)
        assert (item.guidance, item.strength) == (1.5, 0.8)
        (use,) = item.loras
        assert (Path(use.file).stem, use.weight, use.for_this_model) == (trained.id, 0.5, True)


def test_scenes_are_listed_before_they_are_drawn_and_only_ticked_ones_are(studio: Workplace, anna: Character) -> None:
    """The list stays as it is ticked until something is asked for that changes it; none ticked is refused."""
    desk = studio.desk(anna.id)
    asked = Asked(what=SCENES, count=4, seed=9)
    planned, own, _, listed, plan = asking.draw_plan(desk, "", *asked.values())
    assert (own["visible"], listed["visible"]) == ("hidden", True)
    assert [value for _, value in plan["choices"]] == plan["value"] == ["9", "10", "11", "12"]
    assert all("ohwx" in words for words, _ in plan["choices"])
    assert "choices" not in str(asking.draw_plan(desk, planned, *asked.values())[-1])

    generate.draw_pictures(desk, *dataclasses.replace(asked, plan=["10", "12"]).values())
    (job,) = studio.jobs.list()
    assert [item["seed"] for item in job.payload["items"]] == [10, 12]
    assert [item["prompt"] for item in job.payload["items"]] == [plan["choices"][at][0] for at in (1, 3)]

    with pytest.raises(UserError, match="No scene is ticked"):
        generate.draw_pictures(desk, *dataclasses.replace(asked, plan=[]).values())


def test_the_cost_is_told_before_anything_starts(studio: Workplace, anna: Character) -> None:
    """Pictures, what draws, memory of each stage, and time once measured; nothing is queued by looking."""
    shown = generate.draw_cost(studio.desk(anna.id), *Asked(count=3, size="48 × 80").values())
    assert "3 pictures" in shown
    assert "base model on fake-flux" in shown and "48 × 80" in shown
    assert "encode 0.8 GiB · denoise 0.8 GiB · decode 0.7 GiB" in shown
    assert "not measured yet" in shown
    assert studio.jobs.list() == []


@pytest.mark.parametrize("typed", ["~nobody-here/film.safetensors", "~nobody-here", '""'])
def test_a_lora_that_cannot_be_a_path_is_refused(studio: Workplace, anna: Character, typed: str) -> None:
    """Also while it is being typed: the cost says so."""
    with pytest.raises(UserError):
        asking.drawings(studio.desk(anna.id), Asked(prompt="ohwx", extra=typed))


def test_a_lora_that_does_not_fit_is_told_before_the_click(studio: Workplace, anna: Character, tmp_path: Path) -> None:
    """By the words with which the click is refused."""
    desk, file = studio.desk(anna.id), tmp_path / "film.safetensors"
    file.write_bytes(b"no adapter")
    asked = Asked(prompt="ohwx", extra=str(file))
    assert "cannot be read as an adapter" in generate.draw_cost(desk, *asked.values())
    with pytest.raises(UserError, match="cannot be read as an adapter"):
        generate.draw_pictures(desk, *asked.values())


@pytest.mark.parametrize(("size", "words"), [("60 × 64", "cannot draw 60 × 64"), ("big", "size cannot be 'big'")])
def test_a_size_that_cannot_be_drawn_is_refused(studio: Workplace, anna: Character, size: str, words: str) -> None:
    """With the way out."""
    with pytest.raises(UserError, match=words):
        generate.draw_pictures(studio.desk(anna.id), *Asked(prompt="ohwx", size=size).values())


@pytest.mark.parametrize(
    ("asked", "params"),
    [
        ({"strength": 3}, {"strength": 3.0}),
        ({"size": "60 × 64"}, {"width": 60, "height": 64}),
        ({"extra": "/nowhere/film.safetensors"}, {"loras": [{"file": "/nowhere/film.safetensors"}]}),
        ({"extra": "", "first_block_cache": 2}, {"first_block_cache": 2}),
    ],
    ids=str,
)
def test_a_script_is_refused_by_the_same_sentence(
    studio: Workplace, anna: Character, trained: Version, asked: dict[str, Any], params: dict[str, Any]
) -> None:
    """Strength, size and LoRAs are given there by name."""
    with pytest.raises(UserError) as page:
        generate.draw_pictures(studio.desk(anna.id), *Asked(prompt="ohwx", **asked).values())
    script = Api(studio).generate_submit(anna.id, ["ohwx"], version=trained.id, params=params)
    assert script["error"] == page.value.to_json()


def test_a_script_gives_them_by_name(studio: Workplace, anna: Character, trained: Version) -> None:
    """And they are in the queued pictures as they were given."""
    params = {"strength": 0.5, "width": 48, "height": 80, "loras": [{"file": str(adapter(studio, anna, trained))}]}
    told = Api(studio).generate_submit(anna.id, ["ohwx"], version=trained.id, params=params)
    (item,) = studio.jobs.get(told["job_id"]).payload["items"]
    assert (item["strength"], item["width"], item["height"], len(item["loras"])) == (0.5, 48, 80, 1)
    refused = Api(studio).generate_submit(anna.id, ["ohwx"], params={"negative": "blurry"})
    assert "takes no negative prompt" in refused["error"]["message"]


def adapter(studio: Workplace, anna: Character, version: Version) -> Path:
    """A version's LoRA file."""
    return studio.store(anna.id).adapter_path(version.id)


def test_shapes_fit_the_model(studio: Workplace, anna: Character) -> None:
    """Every choice can be drawn, and has about the model's own area."""
    desk = studio.desk(anna.id)
    spec = drawing.model_spec(desk, "")
    for _, value in asking.size_choices(spec)[1:]:
        size = asking.read_size(value)
        assert drawing.nearest_size(spec, size["width"], size["height"]) == (size["width"], size["height"])
        assert abs(size["width"] * size["height"] / (64 * 64) - 1) < 0.2


def test_an_empty_prompt_is_refused(studio: Workplace, anna: Character) -> None:
    """With the way out."""
    with pytest.raises(UserError, match="empty"):
        generate.draw_pictures(studio.desk(anna.id), *Asked(prompt="  ").values())


def test_the_seed_shown_is_drawn_and_another_comes_unless_it_is_kept(studio: Workplace, anna: Character) -> None:
    """And the last one can be taken back."""
    desk = studio.desk(anna.id)
    with pytest.raises(UserError, match="Nothing was drawn yet"):
        asking.take_last_seed(desk)
    new, views, _ = generate.draw_pictures(desk, *Asked(prompt="ohwx", seed=7).values()).values
    assert isinstance(new, int) and new != 7
    assert views.selected == generate.PICTURES
    kept, *_ = generate.draw_pictures(desk, *Asked(prompt="ohwx", seed=8, keep_seed=True).values()).values
    assert not isinstance(kept, int)
    seeds = {item["seed"] for job in studio.jobs.list() for item in job.payload["items"]}
    assert seeds == {7, 8, 9, 10, 11}
    assert asking.take_last_seed(desk) == (8, True)


def test_two_versions_draw_the_same_and_stand_side_by_side(
    studio: Workplace, anna: Character, trained: Version
) -> None:
    """Also before they are drawn; a version beside itself is refused, and then nothing is queued."""
    desk = studio.desk(anna.id)
    asked = Asked(prompt="ohwx", count=2, seed=5, against=generate.BASE)
    before = studio.jobs.list()
    with pytest.raises(UserError, match="same version"):
        generate.draw_pictures(desk, *dataclasses.replace(asked, against=trained.id).values())
    assert studio.jobs.list() == before

    _, views, _ = generate.draw_pictures(desk, *asked.values()).values
    assert views.selected == generate.PAIRS
    for job in studio.jobs.list():
        ended(studio, job)

    shown = generate.draw_pairs(desk)
    assert shown.count("fl-same") == 2 and shown.count("<img") == 4
    assert shown.count(">v1<") == 2 and shown.count(">base model<") == 2
    assert "being drawn" not in shown


def test_a_checkpoint_can_be_compared_with(studio: Workplace, anna: Character, trained: Version) -> None:
    """It draws on the base model with its own LoRA, and is named by its step."""
    desk = studio.desk(anna.id)
    (label, choice), *_ = asking.checkpoint_choices(desk)
    assert label == f"v1 at step {trained.checkpoints[0].step}"

    first, other = asking.drawings(desk, Asked(prompt="ohwx", against=choice, strength=0.5))

    assert (first.version, other.version, other.items[0].loras[0].weight) == (trained.id, "", 0.5)
    assert f"v1 step {trained.checkpoints[0].step} × 0.5" in generate.draw_cost(
        desk, *Asked(against=choice, strength=0.5).values()
    )


def test_a_negative_prompt_is_shown_and_sent_only_where_the_model_takes_one(tmp_path: Path) -> None:
    """The row decides, not a name."""
    settings = Settings(data_root=tmp_path / "home", assets=ASSETS, device="fake", models_dir=tmp_path / "models")
    for true_guidance in (True, False):
        rows = [dataclasses.replace(row, true_guidance=true_guidance) for row in FAKE_MODELS]
        folder = dataclasses.replace(settings, data_root=tmp_path / str(true_guidance))
        with open_workplace(folder, registry=Registry(ASSETS, settings.models_dir, tuple(rows))) as studio:
            desk = studio.desk(character_on_fakes(studio, "Anna").id)
            asked = Asked(prompt="ohwx", negative="blurry", guidance=2)
            _, _, column, *_ = asking.draw_plan(desk, "", *asked.values())
            assert column["visible"] == (True if true_guidance else "hidden")
            (found,) = asking.drawings(desk, asked)
            assert found.items[0].negative == ("blurry" if true_guidance else "")


# ── what the fields hold ────────────────────────────────────────────────────────────────────────


def test_fields_hold_what_they_held_before_a_reload(studio: Workplace, anna: Character) -> None:
    """Of each character its own; what the page still shows of another one is not kept for this one."""
    desk, bea = studio.desk(anna.id), studio.desk(character_on_fakes(studio, "Bea").id)
    whose, *first = asking.fill_fields(desk, "", *([None] * len(KEPT)))
    at = {name: index for index, name in enumerate(KEPT)}
    assert whose == anna.id and "ohwx person" in first[at["prompt"]] and first[at["seed"]] > 0

    held = {**dict.fromkeys(KEPT), **dataclasses.asdict(Asked(prompt="mine", count=7, strength=0.4, size="48 × 80"))}
    held |= asking.GALLERY
    values = [held[name] for name in KEPT]
    asking.keep_fields(desk, anna.id, *values)
    asking.keep_fields(bea, anna.id, *values)

    _, *again = asking.fill_fields(desk, "", *([None] * len(KEPT)))
    assert (again[at["prompt"]], again[at["count"]], again[at["strength"]]) == ("mine", 7, 0.4)
    assert again[at["size"]]["value"] == "48 × 80"
    _, *other = asking.fill_fields(bea, anna.id, *values)
    assert other[at["prompt"]] != "mine"
    _, *same = asking.fill_fields(desk, anna.id, *values)
    assert "value" not in str(same[at["prompt"]])  # what is being typed stays


def test_a_drawn_picture_gives_its_settings_back(studio: Workplace, anna: Character, trained: Version) -> None:
    """By its record, by the history of prompts, and by its file; what is the model's own stays so."""
    desk = studio.desk(anna.id)
    asked = Asked(prompt="ohwx, red hat", count=1, seed=77, size="48 × 80", strength=0.7, steps=3, extra=trained.id)
    generate.draw_pictures(desk, *asked.values())
    ended(studio, studio.jobs.list()[0])
    (image,) = desk.store.select(Kind.SYNTHETIC)

    for updates in (
        generate.use_settings(desk, image.id),
        generate.history_act(desk, {"act": "use", "id": image.id}),
        generate.read_file(desk, str(desk.store.path(image.id)))[:-1],
    ):
        found = filled(updates)
        assert (found["what"], found["prompt"], found["seed"], found["keep_seed"]) == (OWN, asked.prompt, 77, True)
        assert (found["version"], found["strength"], found["steps"], found["guidance"]) == (generate.IN_USE, 0.7, 3, 0)
        assert (found["size"], found["extra"]) == ("48 × 80", trained.id)
        assert "All settings are put back" in found["restored"]

    assert "ohwx, red hat" in generate.draw_history(desk)
    assert len(generate.SETTINGS_WIDGETS) == len(generate.use_settings(desk, image.id))


def test_a_picture_of_another_program_says_what_could_not_be_put_back(
    studio: Workplace, anna: Character, tmp_path: Path
) -> None:
    """As AUTOMATIC1111 writes it: words, seed, steps and size are ours; sampler, CFG, model and LoRA are named."""
    told = PngInfo()
    told.add_text(
        "parameters",
        "a cat <lora:film:0.6>\nNegative prompt: blurry\n"
        "Steps: 30, Sampler: DPM++ 2M, CFG scale: 7, Seed: 42, Size: 60x64, Model: dreamer, Clip skip: 2",
    )
    Image.new("RGB", (60, 64)).save(tmp_path / "cat.png", pnginfo=told)

    *updates, emptied = generate.read_file(studio.desk(anna.id), str(tmp_path / "cat.png"))

    found = filled(updates)
    assert (found["prompt"], found["seed"], found["steps"], found["size"]) == ("a cat", 42, 30, "64 × 64"[:0])
    assert emptied is None
    for words in (
        "sampler DPM++ 2M",
        "CFG scale 7",
        "LoRA film",
        "model dreamer",
        "negative prompt",
        "60 × 64",
        "Clip",
    ):
        assert words in found["restored"], words


@pytest.mark.parametrize("texts", [{}, {"workflow": "{}"}, {"flenwheel": "[1"}])
def test_a_picture_without_settings_is_refused(
    studio: Workplace, anna: Character, tmp_path: Path, texts: dict[str, str]
) -> None:
    """With what to do."""
    told = PngInfo()
    for name, words in texts.items():
        told.add_text(name, words)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", pnginfo=told)
    with pytest.raises(UserError, match=r"x\.png carries"):
        generate.read_file(studio.desk(anna.id), str(tmp_path / "x.png"))


# ── the gallery ─────────────────────────────────────────────────────────────────────────────────


def test_what_the_filter_set_aside_stays_visible(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Dim, with its score, and counted."""
    add(Kind.SYNTHETIC, filtered=True, scores={"fake": 0.2})
    add(Kind.SYNTHETIC, scores={"fake": 0.9})
    shown, _ = generate.draw_results(studio.desk(anna.id), 60)
    assert "1 set aside" in shown
    assert shown.count(" dim") == 1


def test_the_gallery_is_ordered_and_filtered(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """By likeness, by star, by version; where nothing is left it says so."""
    desk = studio.desk(anna.id)
    low = add(Kind.SYNTHETIC, scores={"fake": 0.2}, version="v").id
    high = add(Kind.SYNTHETIC, scores={"fake": 0.9}).id
    generate.results_act(desk, {"act": "star", "id": low}, 60)
    assert desk.store.images.get(low).star

    def order(*how: Any) -> list[str]:
        shown, _ = generate.draw_results(desk, 60, *how)
        return sorted((each for each in (low, high) if each in shown), key=shown.index)

    assert order() == [high, low]
    assert order(asking.ALIKE) == [high, low]
    assert order(asking.STARRED) == [low, high]
    assert order(asking.NEWEST, "v") == [low]
    assert order(asking.NEWEST, generate.BASE) == [high]
    assert order(asking.NEWEST, asking.EVERY, True) == [low]
    generate.results_act(desk, {"act": "star", "id": low}, 60)
    assert "No picture fits" in generate.draw_results(desk, 60, asking.NEWEST, asking.EVERY, True)[0]


def test_the_filter_is_kept_also_before_the_first_picture(studio: Workplace, anna: Character) -> None:
    """As it is set; what the page still shows of another character is not set for this one."""
    desk = studio.desk(anna.id)
    generate.move_floor(desk, "somebody else", 0.2)
    assert drawing.chosen_threshold(desk) is None
    generate.move_floor(desk, anna.id, 0.73)
    assert generate.read_floor(desk) == 0.73
