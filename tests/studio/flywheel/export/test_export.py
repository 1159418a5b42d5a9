"""Datasets for other trainers: every picture, its words, its reference, and how often it is seen."""

import io
import json
import re
import resource
import tomllib
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it ships no type information
from PIL import Image

from engines.api.errors import BadInput, UserError
from studio.flywheel.curate.importing import submit_import
from studio.flywheel.export.export import FORMS, HUB, export_dataset, export_hub, export_version, remarks
from studio.flywheel.export.layouts import LAYOUTS
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.flywheel.train import runs
from studio.records.dataset import Entry, Lesson, Role
from studio.records.image import Kind, Verdict
from tests.studio.conftest import World, present


def exported(world: World, layout: str, role: Role = Role.CHARACTER) -> dict[str, bytes]:
    """The zip's members by name."""
    of = {Role.CHARACTER: train.dataset, Role.EDITOR: refine.dataset}[role]
    file = export_dataset(world.desk, layout, role, of(world.desk))
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def approve(world: World, count: int) -> None:
    """Edits that a human called good."""
    for index in range(count):
        image = world.picture(Kind.ENRICHED, index, parent=world.sources[0], caption=f"ohwx person, edit {index}")
        world.store.decide(image, Verdict.GOOD)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_picture_lies_beside_its_words(world: World, layout: str) -> None:
    """A picture and a text of one stem, the picture's bytes unchanged, the words those that we train with."""
    approve(world, 9)
    members = exported(world, layout)

    for entry in train.dataset(world.desk):
        data = world.store.path(entry.image).read_bytes()
        (name,) = [each for each, found in members.items() if found == data]
        assert members[name.rpartition(".")[0] + ".txt"].decode() == entry.caption + "\n"
    assert sum(name.endswith(".txt") for name in members) == 13


def test_originals_keep_their_weight(world: World) -> None:
    """What we show several times, the description shows several times."""
    for index in range(30):
        world.store.decide(world.picture(Kind.ENRICHED, index, caption="ohwx person"), Verdict.GOOD)

    told = tomllib.loads(exported(world, "musubi-tuner")["dataset.toml"].decode())
    listed = json.loads(exported(world, "ai-toolkit")["datasets.yaml"])

    assert sorted(each["num_repeats"] for each in told["datasets"]) == [1, 4]
    assert [each["num_repeats"] for each in listed["datasets"]] == [each["num_repeats"] for each in told["datasets"]]
    assert {name.split("/")[0] for name in exported(world, "kohya")} == {"4_ohwx", "1_ohwx"}


def test_an_edit_lies_beside_what_it_was_made_from(world: World) -> None:
    """For the editor, result and source share a stem, and the description names both folders."""
    world.review(corrected=1)
    members = exported(world, "musubi-tuner", Role.EDITOR)

    (dataset,) = tomllib.loads(members["dataset.toml"].decode())["datasets"]
    (source,) = [data for name, data in members.items() if name.startswith(dataset["control_directory"] + "/")]
    assert source == world.store.path(world.sources[0]).read_bytes()
    with pytest.raises(BadInput, match="no place"):
        exported(world, "kohya", Role.EDITOR)


def several(world: World) -> list[Entry]:
    """Three edits that start from two, one and three pictures, the first of them cropped."""
    results = [world.picture(Kind.ENRICHED, n, caption=f"edit {n}") for n in range(3)]
    counts = (2, 1, 3)
    entries = [
        Entry(image=image, caption=f"edit {n}", kind=Lesson.POSITIVE, references=tuple(world.sources[: counts[n]]))
        for n, image in enumerate(results)
    ]
    return [entries[0].replace(crop=(0, 0, 0.5, 1)), *entries[1:]]


def written(world: World, layout: str, entries: Sequence[Entry]) -> dict[str, bytes]:
    """The zip's members by name, of entries of our own."""
    with zipfile.ZipFile(export_dataset(world.desk, layout, Role.EDITOR, entries)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_ai_toolkit_gets_every_reference_of_an_edit(world: World) -> None:
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


def test_musubi_gets_every_reference_of_an_edit(world: World) -> None:
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
def test_only_what_an_edit_was_made_from_is_cut_as_it_is(world: World, layout: str, first: str) -> None:
    """Further references are shown whole, there as in our own training."""
    members = written(world, layout, several(world))

    assert pixels(members[f"seen-1x-control/{first}"]) == pixels_of(world, world.sources[0], (0, 0, 32, 64))


@pytest.mark.parametrize("layout", ["kohya", "onetrainer"])
def test_a_layout_without_references_refuses_edits(world: World, layout: str) -> None:
    """None is dropped in silence; the answer names the layouts that hold them."""
    with pytest.raises(BadInput, match="no place") as refused:
        written(world, layout, several(world))
    assert "ai-toolkit, musubi-tuner" in str(refused.value.hint)


def pixels_of(world: World, image: str, box: tuple[int, int, int, int]) -> bytes:
    """A part of a stored picture."""
    return bytes(world.store.open_image(image).convert("RGB").crop(box).tobytes())


def pixels(data: bytes) -> bytes:
    """A file's picture, decoded."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cropped_picture_leaves_cropped(world: World, layout: str) -> None:
    """Others know no crops: the file is the part that counts."""
    world.store.set_crop(world.sources[0], (0.25, 0, 1, 0.5))
    pictures = [pixels(data) for name, data in exported(world, layout).items() if name.endswith("0001.png")]
    assert pictures == [world.store.open_whole(world.sources[0]).crop((16, 0, 64, 32)).tobytes()]


def test_a_cropped_edit_leaves_with_its_source_cut_alike(world: World) -> None:
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
def test_masks_lie_where_the_trainer_looks(world: World, layout: str) -> None:
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


def test_the_description_names_the_masks(world: World) -> None:
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
def test_what_left_comes_back(world: World, layout: str) -> None:
    """Another character that imports the zip has pictures, words and masks, and no mask where there was none."""
    world.store.set_mask(world.sources[0], left_half())
    entries = train.dataset(world.desk)
    file = export_dataset(world.desk, layout, Role.CHARACTER, entries)
    other = world.studio.store(world.studio.library.create("Ada", editor="fake-edit").id)
    job = submit_import(world.studio.desk(other.character.id), [file])

    assert set(present(job.artifacts.imported)) == set(world.sources)
    assert job.artifacts.masked == (world.sources[0],)
    for image in world.sources:
        mine, theirs = (store.images.get(image) for store in (world.store, other))
        assert (theirs.caption, theirs.mask) == (mine.caption, mine.mask)


def test_nothing_to_save_and_no_such_layout_are_told(world: World) -> None:
    """Both with what to do."""
    with pytest.raises(BadInput, match="no pictures"):
        export_dataset(world.desk, "kohya", Role.CHARACTER, [])
    with pytest.raises(BadInput, match="no layout"):
        exported(world, "fluxgym")


def test_pictures_without_words_and_relative_paths_are_told(world: World) -> None:
    """How many texts are empty, and where to start a trainer that takes its file's paths from its working folder."""
    world.store.update_image(world.sources[0], caption="")
    entries = train.dataset(world.desk)
    assert remarks("kohya", entries) == ("1 of 4 pictures have no caption: their .txt files are empty.",)
    assert "concepts.json are relative" in remarks("onetrainer", entries[1:])[0]


def as_stored(data: bytes) -> tuple[tuple[int, int], str, object]:
    """A member as a program opens it that knows of no orientation: size, mode, orientation."""
    with Image.open(io.BytesIO(data)) as image:
        return image.size, image.mode, image.getexif().get(0x0112, 1)


def hidden_files() -> list[bytes]:
    """A phone's picture on its side, a cut-out, and 16 bits; then one that all programs read alike."""
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        (Image.linear_gradient("L").resize((48, 32)), "JPEG", {"exif": exif}),
        (Image.new("RGBA", (32, 48), (200, 30, 40, 0)), "PNG", {}),
        (Image.new("I;16", (32, 48), 100 * 257), "PNG", {}),
        (Image.radial_gradient("L").resize((32, 48)), "JPEG", {}),
    ]
    files = []
    for picture, kind, options in kinds:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


@pytest.mark.parametrize("layout", LAYOUTS)
def test_others_learn_what_the_studio_shows(world: World, layout: str) -> None:
    """What others would read otherwise leaves as a PNG of what is seen, of its mask's size; the rest as it is."""
    ids = [world.store.add_image(data, kind=Kind.SOURCE, caption="ohwx person").id for data in hidden_files()]
    for image in ids:
        world.store.set_mask(image, left_half((32, 48)))
    members = exported(world, layout)
    (folder,) = {name.rpartition("/")[0] for name in members if name.endswith(".txt")}

    for number, image in enumerate(ids[:3], 5):
        data = members[f"{folder}/{number:04d}.png"]
        assert pixels(data) == world.store.open_whole(image).tobytes()
        mask = members[MASKS[layout].format(f"{number:04d}")]
        assert as_stored(data) == ((32, 48), "RGB", 1) and as_stored(mask)[0] == (32, 48)
    assert members[f"{folder}/0008.jpg"] == hidden_files()[3]


def test_a_lessons_source_leaves_as_it_was_edited(world: World) -> None:
    """The part of it that the editor saw, cut as the result is."""
    (edit,) = world.review(approved=1)
    world.store.update_image(edit, source_crop=(0.5, 0.0, 1.0, 1.0))
    world.store.set_crop(edit, (0.0, 0.5, 1.0, 1.0))
    members = exported(world, "ai-toolkit", Role.EDITOR)
    source = next(data for name, data in members.items() if "control" in name)
    assert pixels(source) == pixels_of(world, world.sources[0], (32, 32, 64, 64))


def test_two_may_export_at_once(world: World) -> None:
    """Each writes a file of its own, and the last takes the place of the others: all find a whole one, and no rest."""
    entries = train.dataset(world.desk)
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(export_dataset, world.desk, "kohya", Role.CHARACTER, entries) for _ in range(16)]
        files = {job.result() for job in jobs}

    (file,) = files
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_full_disk_is_told_and_keeps_the_last_export(world: World) -> None:
    """It says to free space; the file of before stays whole, and nothing lies beside it."""
    entries = train.dataset(world.desk)
    file = export_dataset(world.desk, "kohya", Role.CHARACTER, entries)
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(UserError, match="could not be written") as refused:
            export_dataset(world.desk, "kohya", Role.CHARACTER, entries)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert "Free some space" in refused.value.hint
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def as_kept_before(world: World, trigger: str) -> None:
    """Give the character a trigger as an older home may hold it: today's library refuses some of these."""
    characters = world.studio.library._characters
    characters.put(characters.get(world.id).replace(trigger=trigger))


HARD = [
    'my"tok',
    "a/b",
    "C:\\x",
    "a:b",
    "x?",
    "con",
    "../up",
    "new\nline",
    "🙂",
    "Zoë 小美",
    "x" * 500,
    "tab\there.",
]


@pytest.mark.parametrize("trigger", HARD)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_trigger_leaves_whole_files_and_plain_folders(world: World, layout: str, trigger: str) -> None:
    """What describes the pictures can be parsed, and every folder it names is one of the zip's, on any system."""
    as_kept_before(world, trigger)
    world.store.set_mask(world.sources[0], left_half())
    members = exported(world, layout)
    folders = {name.rpartition("/")[0] for name in members if "/" in name}
    parsed = {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load}
    (described,) = [parsed[name.rpartition(".")[2]](data.decode()) for name, data in members.items() if "/" not in name]

    assert all(re.fullmatch(r"(masks/)?[\w-]{1,70}", folder) for folder in folders), folders
    assert named(described) <= folders | {f"cache/{folder}" for folder in folders} and named(described) & folders
    if layout == "kohya":
        assert all(re.fullmatch(r"(masks/)?\d+_[\w-]+", folder) for folder in folders)


def named(described: Any) -> set[str]:
    """Every folder that a trainer's own file names."""
    found = described if isinstance(described, list) else [described]
    names: set[str] = set()
    for each in found:
        for name, value in each.items():
            if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
                names |= named(value)
            elif isinstance(value, str) and (name.endswith(("_dir", "directory", "_path")) or name == "path"):
                names.add(value)
    return names


@pytest.mark.parametrize("trigger", HARD)
def test_any_trigger_leaves_the_hubs_header_whole(world: World, trigger: str) -> None:
    """The card's header is YAML that says the very words, and the LoRA's file has a plain name."""
    world.finish(train.submit(world.desk))
    as_kept_before(world, trigger)
    (version,) = world.store.versions.all()
    with zipfile.ZipFile(export_hub(world.desk, version.id)) as archive:
        card = archive.read("README.md").decode()

    header = yaml.safe_load(card.split("---\n")[1])
    assert header["instance_prompt"].split() == f"{trigger} person".split()
    assert re.fullmatch(r"[\w-]+\.safetensors", runs.export(world.desk, version.id).name)


def test_an_unknown_form_is_refused_with_those_there_are(world: Any) -> None:
    """Also the one that is no file's but a whole repository's."""
    with pytest.raises(BadInput, match="diffusers, kohya, comfyui, hub"):
        export_version(world.desk, "any", "onnx")


@pytest.mark.slow
def test_the_forms_are_those_of_the_engines() -> None:
    """And the hub's, which holds one of them."""
    from engines.training.module_names import FORMS as WRITTEN

    assert (*WRITTEN, HUB) == FORMS
