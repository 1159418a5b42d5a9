"""Datasets for other trainers: every picture, its words, its reference, and how often it is seen."""

import ast
import io
import json
import tomllib
import zipfile
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engines.api import GenerateParams
from engines.errors import BadInput
from engines.registry import MODELS
from studio.flywheel import refine, runs, train
from studio.flywheel.choosing import keep_at
from studio.flywheel.exporting import export_dataset, export_hub, snippet
from studio.flywheel.importing import submit_import
from studio.flywheel.layouts import LAYOUTS
from studio.nouns import Kind, Role, Verdict


def exported(world: Any, layout: str, role: Role = Role.CHARACTER) -> dict[str, bytes]:
    """The zip's members by name."""
    of = {Role.CHARACTER: train.dataset, Role.EDITOR: refine.dataset}[role]
    file = export_dataset(world.studio, world.id, layout, role, of(world.studio, world.id))
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def approve(world: Any, count: int) -> None:
    """Edits that a human called good."""
    for index in range(count):
        image = world.picture(Kind.ENRICHED, index, parent=world.sources[0], caption=f"ohwx person, edit {index}")
        world.store.decide(image, Verdict.GOOD)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_picture_lies_beside_its_words(world: Any, layout: str) -> None:
    """A picture and a text of one stem, the picture's bytes unchanged, the words those that we train with."""
    approve(world, 9)
    members = exported(world, layout)

    for entry in train.dataset(world.studio, world.id):
        data = world.store.path(entry["image"]).read_bytes()
        (name,) = [each for each, found in members.items() if found == data]
        assert members[name.rpartition(".")[0] + ".txt"].decode() == entry["caption"] + "\n"
    assert sum(name.endswith(".txt") for name in members) == 13


def test_originals_keep_their_weight(world: Any) -> None:
    """What we show several times, the description shows several times."""
    for index in range(30):
        world.store.decide(world.picture(Kind.ENRICHED, index, caption="ohwx person"), Verdict.GOOD)

    told = tomllib.loads(exported(world, "musubi-tuner")["dataset.toml"].decode())
    listed = json.loads(exported(world, "ai-toolkit")["datasets.yaml"])

    assert sorted(each["num_repeats"] for each in told["datasets"]) == [1, 4]
    assert [each["num_repeats"] for each in listed["datasets"]] == [each["num_repeats"] for each in told["datasets"]]
    assert {name.split("/")[0] for name in exported(world, "kohya")} == {"4_ohwx", "1_ohwx"}


def test_an_edit_lies_beside_what_it_was_made_from(world: Any) -> None:
    """For the editor, result and source share a stem, and the description names both folders."""
    world.review(corrected=1)
    members = exported(world, "musubi-tuner", Role.EDITOR)

    (dataset,) = tomllib.loads(members["dataset.toml"].decode())["datasets"]
    (source,) = [data for name, data in members.items() if name.startswith(dataset["control_directory"] + "/")]
    assert source == world.store.path(world.sources[0]).read_bytes()
    with pytest.raises(BadInput, match="no place"):
        exported(world, "kohya", Role.EDITOR)


def several(world: Any) -> list[dict[str, Any]]:
    """Three edits that start from two, one and three pictures, the first of them cropped."""
    results = [world.picture(Kind.ENRICHED, n, caption=f"edit {n}") for n in range(3)]
    counts = (2, 1, 3)
    entries = [
        {"image": image, "caption": f"edit {n}", "kind": "positive", "references": world.sources[: counts[n]]}
        for n, image in enumerate(results)
    ]
    return [{**entries[0], "crop": [0, 0, 0.5, 1]}, *entries[1:]]


def written(world: Any, layout: str, entries: list[dict[str, Any]]) -> dict[str, bytes]:
    """The zip's members by name, of entries of our own."""
    with zipfile.ZipFile(export_dataset(world.studio, world.id, layout, Role.EDITOR, entries)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_ai_toolkit_gets_every_reference_of_an_edit(world: Any) -> None:
    """Firsts, seconds and thirds in folders of their own, under the picture's name; control_path lists them so."""
    members = written(world, "ai-toolkit", several(world))
    (block,) = json.loads(members["datasets.yaml"])["datasets"]
    sources = [world.store.path(image).read_bytes() for image in world.sources]

    assert block["control_path"] == ["seen-1x-control", "seen-1x-control-2", "seen-1x-control-3"]
    firsts, seconds, thirds = block["control_path"]
    assert members[f"{firsts}/0002.png"] == members[f"{firsts}/0003.png"] == sources[0]
    assert members[f"{seconds}/0001.png"] == members[f"{seconds}/0003.png"] == sources[1]
    assert members[f"{thirds}/0003.png"] == sources[2]
    assert sum("-control" in name for name in members) == 6


def test_musubi_gets_every_reference_of_an_edit(world: Any) -> None:
    """In one folder, numbered after the picture's name where there are several, as its documentation has it."""
    members = written(world, "musubi-tuner", several(world))
    (block,) = tomllib.loads(members["dataset.toml"].decode())["datasets"]
    sources = [world.store.path(image).read_bytes() for image in world.sources]

    controls = {name.rpartition("/")[2]: data for name, data in members.items() if "-control/" in name}
    assert block["control_directory"] == "seen-1x-control"
    assert set(controls) == {"0001_0.png", "0001_1.png", "0002.png", "0003_0.png", "0003_1.png", "0003_2.png"}
    assert [controls[f"0003_{index}.png"] for index in range(3)] == sources[:3]
    assert (controls["0002.png"], controls["0001_1.png"]) == (sources[0], sources[1])


@pytest.mark.parametrize(("layout", "first"), [("ai-toolkit", "0001.png"), ("musubi-tuner", "0001_0.png")])
def test_only_what_an_edit_was_made_from_is_cut_as_it_is(world: Any, layout: str, first: str) -> None:
    """Further references are shown whole, there as in our own training."""
    members = written(world, layout, several(world))

    assert pixels(members[f"seen-1x-control/{first}"]) == pixels_of(world, world.sources[0], (0, 0, 32, 64))


@pytest.mark.parametrize("layout", ["kohya", "onetrainer"])
def test_a_layout_without_references_refuses_edits(world: Any, layout: str) -> None:
    """None is dropped in silence; the answer names the layouts that hold them."""
    with pytest.raises(BadInput, match="no place") as refused:
        written(world, layout, several(world))
    assert "ai-toolkit, musubi-tuner" in str(refused.value.hint)


def pixels_of(world: Any, image: str, box: tuple[int, int, int, int]) -> bytes:
    """A part of a stored picture."""
    return bytes(world.store.open_image(image).convert("RGB").crop(box).tobytes())


def pixels(data: bytes) -> bytes:
    """A file's picture, decoded."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cropped_picture_leaves_cropped(world: Any, layout: str) -> None:
    """Others know no crops: the file is the part that counts."""
    world.store.set_crop(world.sources[0], (0.25, 0, 1, 0.5))
    pictures = [pixels(data) for name, data in exported(world, layout).items() if name.endswith("0001.png")]
    assert pictures == [world.store.open_image(world.sources[0]).crop((16, 0, 64, 32)).tobytes()]


def test_a_cropped_edit_leaves_with_its_source_cut_alike(world: Any) -> None:
    """Else the other trainer would learn to zoom."""
    (edit,) = world.review(approved=1)
    world.store.set_crop(edit, (0, 0, 0.5, 1))
    members = exported(world, "ai-toolkit", Role.EDITOR)
    pictures = {len(pixels(data)) for name, data in members.items() if name.endswith(".png")}
    assert pictures == {32 * 64 * 3}


def left_half(size: tuple[int, int] = (64, 64)) -> Image.Image:
    """A mask whose left half counts."""
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


MASKS = {
    "ai-toolkit": "masks/seen-1x/{}.png",
    "musubi-tuner": "masks/seen-1x/{}.png",
    "kohya": "masks/1_ohwx/{}.png",
    "onetrainer": "seen-1x/{}-masklabel.png",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_lie_where_the_trainer_looks(world: Any, layout: str) -> None:
    """Grey, cut as its picture is, white for a picture without one; where nobody has one there is none."""
    assert not [name for name in exported(world, layout) if "mask" in name]
    world.store.set_mask(world.sources[0], left_half())
    world.store.set_crop(world.sources[0], (0.25, 0, 1, 1))
    members = exported(world, layout)

    with Image.open(io.BytesIO(members[MASKS[layout].format("0001")])) as mask:
        assert (mask.mode, mask.tobytes()) == ("L", left_half().crop((16, 0, 64, 64)).tobytes())
    with Image.open(io.BytesIO(members[MASKS[layout].format("0002")])) as white:
        assert (white.size, white.getextrema()) == ((64, 64), (255, 255))
    assert sum("mask" in name for name in members) == 4


def test_the_description_names_the_masks(world: Any) -> None:
    """By the words that each trainer documents; musubi-tuner, which has no masked loss, is said to have none."""
    assert "dataset.toml" not in exported(world, "kohya")
    world.store.set_mask(world.sources[0], left_half())

    (toolkit,) = json.loads(exported(world, "ai-toolkit")["datasets.yaml"])["datasets"]
    assert (toolkit["mask_path"], toolkit["mask_min_value"]) == ("masks/seen-1x", world.train_params().mask_outside)
    (dataset,) = tomllib.loads(exported(world, "kohya")["dataset.toml"].decode())["datasets"]
    (subset,) = dataset["subsets"]
    assert (subset["image_dir"], subset["conditioning_data_dir"]) == ("1_ohwx", "masks/1_ohwx")
    (concept,) = json.loads(exported(world, "onetrainer")["concepts.json"])
    assert (concept["path"], concept["balancing"]) == ("seen-1x", 1.0)
    assert not concept["image"]["enable_random_flip"]
    assert b"no masked loss" in exported(world, "musubi-tuner")["dataset.toml"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_left_comes_back(world: Any, layout: str) -> None:
    """Another character that imports the zip has pictures, words and masks, and no mask where there was none."""
    world.store.set_mask(world.sources[0], left_half())
    entries = train.dataset(world.studio, world.id)
    file = export_dataset(world.studio, world.id, layout, Role.CHARACTER, entries)
    other = world.studio.store(world.studio.library.create("Ada", editor="fake-edit").id)
    job = submit_import(world.studio, other.character.id, [file])

    assert set(job.artifacts["imported"]) == set(world.sources)
    assert job.artifacts["masked"] == world.sources[:1]
    for image in world.sources:
        mine, theirs = (store.images.get(image) for store in (world.store, other))
        assert (theirs.caption, theirs.mask) == (mine.caption, mine.mask)


def test_nothing_to_save_and_no_such_layout_are_told(world: Any) -> None:
    """Both with what to do."""
    with pytest.raises(BadInput, match="no pictures"):
        export_dataset(world.studio, world.id, "kohya", Role.CHARACTER, [])
    with pytest.raises(BadInput, match="no layout"):
        exported(world, "fluxgym")


def test_a_version_goes_to_the_hub_with_its_card(world: Any) -> None:
    """The zip holds the very LoRA, the newest previews, and a card whose header and links name what is in it."""
    world.finish(train.submit(world.studio, world.id))
    (version,) = world.store.versions.all()

    with zipfile.ZipFile(export_hub(world.studio, world.id, version.id)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    adapter = world.store.adapter_path(version.id)
    assert members["pytorch_lora_weights.safetensors"] == adapter.read_bytes()
    card = members["README.md"].decode()
    header = dict(line.split(": ", 1) for line in card.split("---")[1].strip().splitlines())
    assert json.loads(header["instance_prompt"]) == "ohwx person"
    shown = [each["output"]["url"] for each in json.loads(header["widget"])]
    assert shown and set(shown) == {name for name in members if name.startswith("images/")}
    assert all(f"]({url})" in card for url in shown)
    assert "20" in card and str(version.params["rank"]) in card


def hub(world: Any, version: Any) -> tuple[dict[str, bytes], dict[str, Any], str]:
    """The zip's members, the card's header, and what it says below."""
    with zipfile.ZipFile(export_hub(world.studio, world.id, version.id)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    _, header, said = members["README.md"].decode().split("---\n", 2)
    return (
        members,
        {name: json.loads(v) for name, v in (line.split(": ", 1) for line in header.splitlines() if line)},
        said,
    )


def previews_at(world: Any, job_id: str, step: int) -> set[bytes]:
    """The files of the previews that were drawn at a step."""
    samples = runs.progress(world.studio, job_id).samples
    return {world.store.path(each.image).read_bytes() for each in samples if each.step == step}


def code_of(card: str) -> str:
    """The card's Python."""
    return card.split("```python\n")[1].split("```")[0]


def test_the_card_shows_the_kept_checkpoint(world: Any) -> None:
    """A version that was kept at step 10 ships the pictures of step 10, though the run went on to 20."""
    job = train.submit(world.studio, world.id, world.train_params(steps=20, save_every=10, sample_every=10))
    world.finish(job)
    early = keep_at(world.studio, job.id, 10)
    last = next(version for version in world.store.versions.all() if version.id != early.id)

    for version, step in ((early, 10), (last, 20)):
        members, _, said = hub(world, version)
        shown = {data for name, data in members.items() if name.startswith("images/")}
        assert shown and shown <= previews_at(world, job.id, step)
        assert f"Drawn at step {step}, by the LoRA that is here" in said
    assert not previews_at(world, job.id, 10) & previews_at(world, job.id, 20)


def test_the_card_says_where_its_pictures_are_of_an_earlier_step(world: Any) -> None:
    """Without previews at the kept step the nearest earlier ones are shown, and said to be; without any, none."""
    job = train.submit(world.studio, world.id, world.train_params(steps=20, save_every=5, sample_every=10))
    world.finish(job)
    shipped = {step: hub(world, keep_at(world.studio, job.id, step)) for step in (5, 15)}

    members, _, said = shipped[15]
    assert {data for name, data in members.items() if name.startswith("images/")} <= previews_at(world, job.id, 10)
    assert "Drawn at step 10; the LoRA that is here is of step 15" in said
    members, header, said = shipped[5]
    assert not [name for name in members if name.startswith("images/")] and header["widget"] == []
    assert "no previews" in said


def test_an_editors_card_speaks_of_edits(world: Any) -> None:
    """No trigger and no share of originals: what it learned is edits, its pictures' words are instructions, and its
    code loads an editing pipeline with a picture to change."""
    world.review(approved=30)
    world.finish(refine.submit(world.studio, world.id))
    (version,) = [each for each in world.store.versions.all() if each.role is Role.EDITOR]
    members, header, said = hub(world, version)

    assert "instance_prompt" not in header and "image-to-image" in header["tags"]
    assert "ohwx" not in said and "originals" not in said and "Say `" not in said
    assert f"{version.metrics['pictures']} edits" in said
    words = {triplet.params["instruction"] for triplet in world.store.triplets.all()}
    shown = [each["text"] for each in header["widget"]]
    assert shown and set(shown) <= words and all(text in said for text in shown)
    assert {each["output"]["url"] for each in header["widget"]} == {n for n in members if n.startswith("images/")}
    compile(code_of(said), "card", "exec")
    assert "image=load_image(" in code_of(said) and shown[0] in code_of(said)


def test_an_editors_code_asks_for_an_edit_where_nothing_was_drawn(world: Any) -> None:
    """Without held-out edits there are no previews: the words are those of an edit that it learned, never a trigger."""
    world.review(corrected=1)
    world.finish(refine.submit(world.studio, world.id))
    (version,) = [each for each in world.store.versions.all() if each.role is Role.EDITOR]
    _, header, said = hub(world, version)

    (learned,) = refine.dataset(world.studio, world.id)
    assert header["widget"] == []
    assert json.dumps(learned["caption"]) in code_of(said) and "ohwx" not in said


_SNIPPETS = {
    "FLUX.1-dev": (Role.CHARACTER, "FluxPipeline"),
    "FLUX.2-klein-base-4B": (Role.CHARACTER, "Flux2KleinPipeline"),
    "Qwen-Image-Edit-2511": (Role.EDITOR, "QwenImageEditPlusPipeline"),
    "Qwen-Image-Edit-2509": (Role.EDITOR, "QwenImageEditPlusPipeline"),
    "Qwen-Image-Edit": (Role.EDITOR, "QwenImageEditPipeline"),
    "mini-flux": (Role.CHARACTER, "FluxPipeline"),
    "mini-qwen-edit": (Role.EDITOR, "QwenImageEditPlusPipeline"),
}


@pytest.mark.parametrize("name", _SNIPPETS)
def test_a_cards_code_compiles_and_names_the_pipeline(name: str) -> None:
    """Whole Python, quotes in the words and all, for every row that can be trained."""
    role, pipeline = _SNIPPETS[name]
    spec = next(each for each in MODELS if each.name == name)
    code = snippet(spec, role, {}, 'ohwx "person"', "images/0.png")
    names = {node.attr if isinstance(node, ast.Attribute) else node.id for node in _names(code)}

    compile(code, "card", "exec")
    assert {pipeline, "from_pretrained", "load_lora_weights"} <= names


def _names(code: str) -> list[ast.Attribute | ast.Name]:
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute | ast.Name)]


@pytest.mark.slow
@pytest.mark.parametrize("name", _SNIPPETS)
def test_a_cards_code_calls_what_diffusers_has(name: str) -> None:
    """The pipeline is diffusers', has LoRAs, and takes every argument by that name."""
    import inspect

    import diffusers

    role, pipeline = _SNIPPETS[name]
    code = snippet(next(each for each in MODELS if each.name == name), role, {}, "ohwx person", "images/0.png")
    (call,) = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "pipeline"
    ]
    found = getattr(diffusers, pipeline)

    assert hasattr(found, "load_lora_weights")
    assert {each.arg for each in call.keywords} <= inspect.signature(found.__call__).parameters.keys()


@pytest.mark.slow
def test_a_characters_code_runs_as_it_stands(tmp_path: Path) -> None:
    """In a folder with the LoRA under its name, the card's Python draws the picture."""
    import torch

    from engines.lora.export import Info, write_adapter

    root = Path(__file__).resolve().parents[3]
    spec = next(each for each in MODELS if each.name == "mini-flux")
    (tmp_path / "assets").symlink_to(root / "assets")
    state = {
        "transformer_blocks.0.attn.to_q.lora_A.weight": torch.randn(4, 192),
        "transformer_blocks.0.attn.to_q.lora_B.weight": torch.randn(192, 4),
    }
    facts = {
        "family": "flux",
        "base_model": "mini-flux",
        "trigger": "ohwx",
        "dataset": "",
        "targets": r"transformer_blocks\.0\.attn\.to_q",
    }
    info = Info(**facts, rank=4, alpha=4.0, step=1)
    write_adapter(tmp_path / "pytorch_lora_weights.safetensors", state, info)
    drawn = spec.params(GenerateParams, prompt="ohwx person", steps=2).to_json()

    with chdir(tmp_path):
        exec(compile(snippet(spec, Role.CHARACTER, drawn, "", ""), "card", "exec"), {})
    with Image.open(tmp_path / "drawn.png") as picture:
        assert picture.size == (64, 64)
