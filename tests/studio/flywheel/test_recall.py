"""What was drawn before: prompts, the settings of a picture, and pictures to compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engines.api.errors import BadInput
from engines.api.params import GenerateParams, LoraUse
from studio.flywheel import generate, recall
from studio.flywheel.train import character as train
from studio.flywheel.train.checkpoints import keep_at
from studio.records.image import ImageRecord, Kind
from studio.records.version import Version
from studio.store.lora_names import version_lora_name
from tests.engines.metadata.pictures_of_others import PROMPT, WRITTEN, png
from tests.studio.conftest import World, present


@pytest.fixture
def trained(world: World) -> Version:
    """A version of the character."""
    world.finish(train.submit(world.desk))
    return world.store.versions.all()[-1]


@pytest.fixture
def draw(world: World) -> Callable[..., list[ImageRecord]]:
    """Draws pictures of one prompt."""

    def draw_some(prompt: str, n: int = 1, version: str = "", **knobs: object) -> list[ImageRecord]:
        items = generate.prompt_items(world.desk, [prompt], n, version, **knobs)
        job = world.finish(generate.submit(world.desk, items, version))
        return [world.store.images.get(each) for each in present(job.artifacts.images)]

    return draw_some


def foreign(file: Path, text: str) -> Path:
    """A PNG with the text of another program."""
    told = PngInfo()
    told.add_text("parameters", text)
    Image.new("RGB", (64, 64)).save(file, pnginfo=told)
    return file


def test_earlier_prompts_are_distinct_and_the_newest_comes_first(
    world: World, draw: Callable[..., list[ImageRecord]]
) -> None:
    """Each with its newest picture and how many there are."""
    draw("ohwx a", 2)
    draw("ohwx b")
    (newest,) = draw("ohwx a", seed=9)

    found = recall.prompts(world.store)

    assert [(each.prompt, each.count) for each in found] == [("ohwx a", 3), ("ohwx b", 1)]
    assert found[0].image.id == newest.id
    assert len(recall.prompts(world.store, 1)) == 1


def test_pictures_that_differ_in_their_loras_alone_stand_together(
    world: World, trained: Version, draw: Callable[..., list[ImageRecord]]
) -> None:
    """By strength, too; another seed or another size is another picture. What is queued is awaited."""
    base = draw("ohwx a", 2, seed=3)
    own = draw("ohwx a", 1, trained.id, seed=3)
    weak = draw("ohwx a", 1, trained.id, seed=3, strength=0.5)
    draw("ohwx a", 1, trained.id, seed=4, width=48)

    (found,) = recall.side_by_side(world.desk)

    shown = [(each.drawn_by, each.image and each.image.id) for each in found.shots]
    assert shown == [("base model", base[0].id), ("v1", own[0].id), ("v1 × 0.5", weak[0].id)]
    assert (found.prompt, found.seed) == ("ohwx a", 3)

    generate.submit(world.desk, generate.prompt_items(world.desk, ["ohwx a"], 1, trained.id, seed=4), trained.id)
    first, _ = recall.side_by_side(world.desk)
    assert [(each.drawn_by, each.image is None) for each in first.shots] == [("base model", False), ("v1", True)]


def test_pictures_of_two_models_do_not_stand_together(
    world: World, trained: Version, draw: Callable[..., list[ImageRecord]]
) -> None:
    """After a change of the generator neither is shown as differing from the other in its LoRAs alone."""
    base = draw("ohwx a", seed=3)[0]
    world.picture(Kind.SYNTHETIC, 1, params=base.params, params_kind=base.params_kind, model="former-flux")
    assert recall.side_by_side(world.desk) == []
    own = draw("ohwx a", 1, trained.id, seed=3)[0]

    (found,) = recall.side_by_side(world.desk)

    assert [present(shot.image).id for shot in found.shots] == [base.id, own.id]


def test_a_strength_draws_another_picture_and_is_told_to_other_programs(
    world: World, trained: Version, draw: Callable[..., list[ImageRecord]]
) -> None:
    """In the LoRA's tag, where they look for it."""
    (full,), (weak,) = (draw("ohwx a", 1, trained.id, strength=strength) for strength in (1.0, 0.25))
    assert world.store.open_whole(full.id).tobytes() != world.store.open_whole(weak.id).tobytes()
    name = version_lora_name(world.store.character.trigger, trained)
    assert f"<lora:{name}:0.25>".encode() in world.store.path(weak.id).read_bytes()


def test_a_picture_gives_back_what_drew_it(
    world: World, trained: Version, draw: Callable[..., list[ImageRecord]]
) -> None:
    """The same from its record and from its file; a LoRA that is a version is found by its name in the file."""
    file = str(world.store.adapter_path(trained.id))
    (image,) = draw(
        "ohwx a", 1, trained.id, seed=5, strength=0.5, width=48, height=80, loras=[{"file": file, "weight": 0.3}]
    )

    for found in (
        recall.of_picture(world.desk, image.id),
        recall.of_file(world.desk, world.store.path(image.id)),
    ):
        assert found.params == GenerateParams.kept(image.params)
        assert (found.version, found.lost) == (trained.id, ())
        assert found.params.loras == (LoraUse(file=file, weight=0.3),)


def test_every_setting_comes_back(
    world: World, trained: Version, draw: Callable[..., list[ImageRecord]], tmp_path: Path
) -> None:
    """All ten fields, each at another value than its default, from the file as drawn and as another program saved it
    with its texts; `negative` is the one that this model does not take.
    """
    file = str(world.store.adapter_path(trained.id))
    knobs = {"steps": 3, "guidance": 2.25, "width": 48, "height": 80, "first_block_cache": 0.05, "seed": 5}
    loras = [{"file": file, "weight": 0.3}]
    (image,) = draw('ohwx "a", b: c\n小红', 1, trained.id, strength=0.5, loras=loras, **knobs)
    drawn = world.store.path(image.id)
    with Image.open(drawn) as opened:
        kept = PngInfo()
        for name, text in opened.info.items():
            kept.add_itxt(name, text)
        opened.rotate(180).save(tmp_path / "again.png", pnginfo=kept)

    asked, plain = GenerateParams.kept(image.params), GenerateParams()
    changed = [each.name for each in fields(asked) if getattr(asked, each.name) != getattr(plain, each.name)]
    assert sorted(changed) == sorted({each.name for each in fields(asked)} - {"negative"})
    for each in (drawn, tmp_path / "again.png"):
        found = recall.of_file(world.desk, each)
        assert (found.params, found.version, found.lost) == (asked, trained.id, ())


def test_a_training_sample_names_the_version_that_came_of_it(world: World, trained: Version) -> None:
    """The checkpoint itself is no version, which is said."""
    sample = world.store.select(Kind.PREVIEW)[0]
    found = recall.of_picture(world.desk, sample.id)
    assert found.version == trained.id
    assert "checkpoint" in found.lost[0]


def test_a_version_in_the_trash_is_not_chosen(
    world: World, trained: Version, draw: Callable[..., list[ImageRecord]], tmp_path: Path
) -> None:
    """The one in use takes its place, which is said: of a picture, of its text alone, and of a training's sample."""
    (image,) = draw("ohwx a", 1, trained.id, seed=5)
    text = str(Image.open(world.store.path(image.id)).info["parameters"])
    sample = world.store.select(Kind.PREVIEW)[0]
    world.finish(train.submit(world.desk, world.train_params(seed=7)))
    other = world.store.adopt(world.store.versions.all()[-1].id)
    world.store.trash_version(trained.id)

    for found in (
        recall.of_picture(world.desk, image.id),
        recall.of_picture(world.desk, sample.id),
        recall.of_file(world.desk, foreign(tmp_path / "x.png", text)),
    ):
        assert found.version == other.id
        assert "its version: v1 is in the trash, so the one in use is chosen" in found.lost


def test_a_sample_of_a_training_with_two_versions_chooses_the_one_that_is_kept(world: World) -> None:
    """One of them may have gone into the trash."""
    job = world.finish(train.submit(world.desk, world.train_params(steps=4, save_every=2, sample_every=2)))
    keep_at(world.studio, job.id, 2)
    first, second = world.store.versions.all()
    world.store.trash_version(second.id)

    found = recall.of_picture(world.desk, world.store.select(Kind.PREVIEW)[0].id)

    assert (found.version, found.lost) == (
        first.id,
        (f"the checkpoint that drew it; {first.name} came of that training",),
    )


def test_the_text_of_our_own_pictures_is_read_without_our_chunk(
    world: World, trained: Version, draw: Callable[..., list[ImageRecord]], tmp_path: Path
) -> None:
    """As another program writes it again: a LoRA named as a version is exported is that version, with its strength."""
    (image,) = draw("ohwx a, b", 1, trained.id, seed=5, strength=0.5, steps=3)
    text = str(Image.open(world.store.path(image.id)).info["parameters"])

    found = recall.of_file(world.desk, foreign(tmp_path / "again.png", text))

    assert found.params == GenerateParams.kept(image.params)
    assert (found.version, found.lost) == (trained.id, ())


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("a\nSteps: 5000, Seed: 1, Size: 64x64", "steps 5000"),
        ("a\nSteps: x, Seed: 1, Size: 64x64", "steps 'x'"),
        ("a\nSteps: 5, Seed: 1, Size: 64x64, Hires upscale: 2", "Hires upscale"),
        ("a <lora:film>\nSteps: 5, Seed: 1, Size: 64x64", "LoRA film"),
        ("a\nSteps: 5, Seed: 1, Size: 100x64", "100 × 64: 96 × 64"),
    ],
)
def test_what_cannot_be_set_is_named(world: World, tmp_path: Path, text: str, lost: str) -> None:
    """And everything else is set."""
    found = recall.of_file(world.desk, foreign(tmp_path / "x.png", text))
    assert found.params.prompt == "a"
    assert any(lost in each for each in found.lost), found.lost


@pytest.mark.parametrize("program", WRITTEN)
def test_a_picture_of_another_program_restores_its_prompt(world: World, tmp_path: Path, program: str) -> None:
    """Prompt, steps, seed and size are set; a LoRA that is not here is named."""
    file = tmp_path / "x"
    file.write_bytes(WRITTEN[program]())

    found = recall.of_file(world.desk, file)

    assert (found.params.prompt, found.params.steps, found.params.seed) == (PROMPT, 20, 7)
    assert (found.params.width, found.params.height) == (768, 1024)
    assert any("film" in each for each in found.lost) == (program != "NovelAI")


@pytest.mark.parametrize(
    "told",
    [
        {"prompt": "a \ud800 fox"},
        {"steps": "1" * 5000, "seed": -5, "cfgscale": "NaN"},
        {"width": "²", "height": 64},
        {"width": "9" * 5000, "height": 64},
        {"loras": ["film", 5, None], "loraweights": ["Infinity", {}]},
        {"model": ["x"] * 1000, "seed": {"a": 1}},
    ],
)
def test_nonsense_in_a_file_stops_nothing(world: World, tmp_path: Path, told: dict[str, object]) -> None:
    """What cannot be used is left out or named, and the settings stay within their bounds."""
    said = {"prompt": "a fox", "steps": 5, "seed": 1, "width": 64, "height": 64} | told
    (tmp_path / "x.png").write_bytes(png(parameters=json.dumps({"sui_image_params": said})))

    found = recall.of_file(world.desk, tmp_path / "x.png").params

    assert GenerateParams.from_json(found.to_json()) == found
    assert found.prompt == "a fox" or "prompt" in told


def test_a_workflow_without_words_is_named(world: World, tmp_path: Path) -> None:
    """What to do instead is said."""
    (tmp_path / "x.png").write_bytes(png(workflow="{}", prompt="{}"))
    with pytest.raises(BadInput, match="no prompt leads to a sampler"):
        recall.of_file(world.desk, tmp_path / "x.png")


def test_words_alone_are_a_prompt(world: World, tmp_path: Path) -> None:
    """A text without three pairs has none."""
    found = recall.of_file(world.desk, foreign(tmp_path / "x.png", "a cat: black, white"))
    assert (found.params.prompt, found.lost) == ("a cat: black, white", ())


def test_an_original_has_no_settings(world: World) -> None:
    """What to do is said."""
    with pytest.raises(BadInput, match="carries no settings"):
        recall.of_picture(world.desk, world.store.select(Kind.SOURCE)[0].id)
