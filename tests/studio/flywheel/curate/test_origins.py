"""Pictures that the studio drew and that come back: drawn still, to be reviewed, never an original."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from studio.flywheel import review
from studio.flywheel.curate import coverage as curate
from studio.flywheel.curate import importing
from studio.flywheel.curate.captions import RECIPE, uncaptioned
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.export.export import export_dataset
from studio.flywheel.train import character as train
from studio.judging.gallery import gallery
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Job
from tests.engines.metadata.pictures_of_others import PROMPT, WRITTEN, png, with_comment
from tests.studio.conftest import World, present
from tests.studio.drops import encoded, photo

PARAMS = {"prompt": "photo of ohwx person, smiling", "steps": 7, "seed": 3, "width": 64, "height": 64}


def ours(**said: Any) -> bytes:
    """A picture with our chunk in it."""
    return chunk(json.dumps(said))


def chunk(text: str) -> bytes:
    """A picture whose chunk holds any text."""
    info = PngInfo()
    info.add_text("flenwheel", text)
    return encoded(Image.effect_noise((64, 64), 90).convert("RGB"), "PNG", pnginfo=info)


def bring(world: World, folder: Path, data: bytes) -> tuple[Job, ImageRecord]:
    """Import one picture; answers the job and its record."""
    (folder / "x.png").write_bytes(data)
    job = importing.submit_import(world.desk, [folder / "x.png"])
    return job, world.store.images.get(present(job.artifacts.imported)[0])


@pytest.mark.parametrize("kind", [Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION, Kind.CARD, Kind.PREVIEW])
def test_what_was_drawn_comes_back_as_drawn(world: World, tmp_path: Path, kind: Kind) -> None:
    """Drawn by one character and brought to another, it has its kind and parameters, and waits for a human."""
    other = world.studio.library.create("Other", editor="fake-edit", scorer="fake-identity").id
    edited = kind in (Kind.ENRICHED, Kind.CORRECTION)
    params: Any = {"instruction": "smile", "seed": 3} if edited else PARAMS
    made = {"params": params, "params_kind": "EditParams" if edited else "GenerateParams", "seed": 3}
    image = world.picture(kind, 77, model="fake-flux", asked={"expression": "smiling"}, caption="", **made)
    drawn = world.store.path(image)
    job = importing.submit_import(world.studio.desk(other), [drawn])
    store = world.studio.store(other)
    back = store.images.get(present(job.artifacts.imported)[0])
    shown = kind if kind in (Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION) else Kind.SYNTHETIC
    assert (back.kind, back.params, back.seed, back.model) == (shown, params, 3, "fake-flux")
    assert (back.asked, back.state) == ({"expression": "smiling"}, Verdict.PENDING)
    assert [each.id for each in review.next(world.studio.desk(other))] == [back.id]
    assert store.select(Kind.SOURCE) == curate.usable(store) == []
    assert any(str(shown) in each.words and "review" in each.words for each in present(job.artifacts.advice))


def test_a_drawn_picture_is_neither_trained_nor_compared_with(world: World, tmp_path: Path) -> None:
    """Without a human's verdict it is in no training set, and it is no original to be like."""
    _, image = bring(world, tmp_path, ours(kind="synthetic", params=PARAMS, params_kind="GenerateParams"))
    assert image.caption == PARAMS["prompt"]
    assert image.id not in {entry.image for entry in train.dataset(world.desk)}
    world.store.decide(image.id, Verdict.GOOD)
    entries = {entry.image: entry.kind for entry in train.dataset(world.desk)}
    assert entries[image.id] == "synthetic"
    assert gallery(world.desk).ids == tuple(world.sources)


@pytest.mark.parametrize(
    "data",
    [
        ours(kind="from the future"),
        ours(kind="synthetic", params=[1], params_kind="GenerateParams"),
        ours(kind="synthetic", params={"steps": "many"}, params_kind="GenerateParams"),
        ours(kind="synthetic", params={"knob": 1}, params_kind="GenerateParams"),
        ours(kind="synthetic", params={"instruction": "smile"}, params_kind="EditParams"),
        ours(kind="synthetic", params={"loras": 5}, params_kind="GenerateParams"),
        ours(kind="synthetic", params={}, params_kind="__doc__", seed="x", asked=["y"], model=7, parent=None),
        chunk("{broken"),
        chunk("[1]"),
        chunk("[" * 100_000),
    ],
)
def test_a_chunk_that_says_nonsense_is_still_ours(world: World, tmp_path: Path, data: bytes) -> None:
    """Only the studio writes the chunk: such a picture is drawn, and what cannot be used of it is left out."""
    _, image = bring(world, tmp_path, data)
    assert (image.kind, image.params, image.params_kind, image.seed) == (Kind.SYNTHETIC, {}, "", 0)


@pytest.mark.parametrize("kind", [Kind.SYNTHETIC, Kind.ENRICHED])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_what_another_program_saved_again_is_still_ours(world: World, tmp_path: Path, kind: Kind, form: str) -> None:
    """Where only the text that programs exchange is left, it says that the picture is no original."""
    edited = kind is Kind.ENRICHED
    made: Any = {"params": {"instruction": "smile"}, "params_kind": "EditParams"} if edited else {"params": PARAMS}
    made = {"params_kind": "GenerateParams", "model": "mini-qwen-edit" if edited else "mini-flux", **made}
    text = str(Image.open(world.store.path(world.picture(kind, 78, caption="", **made))).info["parameters"])
    _, image = bring(world, tmp_path, png(parameters=text) if form == "PNG" else with_comment(form, text.encode()))
    assert (image.kind, image.caption) == (kind, "" if edited else PARAMS["prompt"])


@pytest.mark.parametrize("program", WRITTEN)
def test_a_prompt_of_another_program_is_a_first_caption(world: World, tmp_path: Path, program: str) -> None:
    """The picture is an original, and captioning replaces the words."""
    _, image = bring(world, tmp_path, WRITTEN[program]())
    assert (image.kind, image.caption, image.caption_by) == (Kind.SOURCE, PROMPT, RECIPE)
    assert image.id in {each.id for each in uncaptioned(world.store)}


def test_a_stranger_is_no_parent(world: World, tmp_path: Path) -> None:
    """A picture or version that this character does not have is not named; approving such an edit teaches nothing."""
    _, image = bring(world, tmp_path, ours(kind="enriched", parent="f" * 32, version="v9"))
    assert (image.kind, image.parent, image.version) == (Kind.ENRICHED, "", "")
    world.store.decide(image.id, Verdict.GOOD)
    assert image.id not in world.store.triplets
    lesson = {"params": {"instruction": "smile"}, "params_kind": "EditParams"}
    for known, made in ((world.sources[0], lesson), ("", {}), ("", {**lesson, "params_kind": "GenerateParams"})):
        _, image = bring(world, tmp_path, ours(kind="enriched", parent=world.sources[0], **made))
        assert image.parent == known
    assert enrich.plan(world.desk).rows


def test_an_exported_original_stays_one(world: World, tmp_path: Path) -> None:
    """Our own zip brings originals back as originals and drawn pictures as drawn, each with its words."""
    drawn = world.picture(Kind.SYNTHETIC, 5, params=PARAMS, params_kind="GenerateParams")
    world.store.decide(drawn, Verdict.GOOD)
    (tmp_path / "photo.jpg").write_bytes(photo(1, form="JPEG"))
    importing.submit_import(world.desk, [tmp_path / "photo.jpg"])
    entries = train.dataset(world.desk)
    path = export_dataset(world.desk, "onetrainer", Role.CHARACTER, entries)
    other = world.studio.library.create("Other", editor="fake-edit", scorer="fake-identity").id
    importing.submit_import(world.studio.desk(other), [path])
    back = {image.id: image for image in world.studio.store(other).images.all()}
    assert {image: each.kind.value for image, each in back.items()} == {e.image: e.kind for e in entries}
    assert {image: each.caption for image, each in back.items()} == {e.image: e.caption for e in entries}
