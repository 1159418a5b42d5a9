"""Datasets of other tools: every form of words, pairs, masks and folders comes in, or is named with the reason."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from engines.api.errors import BadInput
from studio.flywheel.curate import importing
from studio.records.image import Kind
from studio.records.job import Job
from tests.studio.conftest import World, present
from tests.studio.drops import encoded, photo


def lay(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files below a folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def words(world: World, ids: tuple[str, ...] | None) -> dict[str, str]:
    """Name -> caption of pictures."""
    return {image.name: image.caption for image in map(world.store.images.get, present(ids))}


def refused(job: Job) -> dict[str, str]:
    """File -> reason."""
    return {item.file: item.reason for item in present(job.artifacts.refused)}


def noted(job: Job) -> str:
    """All that is worth knowing, in one text, but that a picture is small or unlike others."""
    return " | ".join(f"{item.file}: {item.words}" for item in present(job.artifacts.advice))


def a(size: tuple[int, int] = (96, 72)) -> bytes:
    """A cut-out: half of it is transparent."""
    picture = Image.new("RGBA", size, (200, 90, 40, 255))
    picture.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    return encoded(picture, "PNG")


def mask() -> bytes:
    """Half of it counts."""
    picture = Image.new("L", (96, 72))
    picture.paste(255, (0, 0, 48, 72))
    return encoded(picture, "PNG")


def lines(*records: Mapping[str, object]) -> str:
    """JSON lines."""
    return "\n".join(json.dumps(record) for record in records) + "\n"


P, Q = photo(1), photo(2)


@dataclass(frozen=True)
class Row:
    """What lies in a folder, and what is to come of it: pictures with their words, edits, masks, and the report."""

    files: Mapping[str, bytes | str]
    pictures: Mapping[str, str]
    edits: Mapping[str, str] = field(default_factory=dict)
    masks: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)  # file -> a part of the reason
    noted: tuple[str, ...] = ()


ROWS = {
    "kohya: N_name with .txt": Row(
        {"10_ohwx/a.png": P, "10_ohwx/a.txt": "ohwx, hat"}, {"a.png": "ohwx, hat"}, noted=("10_ohwx", "10 times an")
    ),
    "kohya: 1_name says nothing": Row({"1_ohwx/a.png": P, "1_ohwx/a.txt": "ohwx, hat"}, {"a.png": "ohwx, hat"}),
    **{
        f"regularisation: {name}": Row(
            {"4_ohwx/a.png": P, f"{name}/b.png": Q},
            {"a.png": ""},
            refused={f"in/{name}/b.png": "regularisation"},
            noted=("4 times",),
        )
        for name in ("reg", "class", "1_person_reg", "class_images")
    },
    "regularisation: is_reg in kohya's dataset.toml": Row(
        {
            "ohwx/a.png": P,
            "people/b.png": Q,
            "dataset.toml": '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "ohwx"\nnum_repeats = 3\n'
            '[[datasets.subsets]]\nimage_dir = "people"\nis_reg = true\n',
        },
        {"a.png": ""},
        refused={"in/people/b.png": "regularisation"},
        noted=("in/ohwx: ", "3 times"),
    ),
    "kohya: .caption": Row({"a.png": P, "a.caption": "ohwx, hat"}, {"a.png": "ohwx, hat"}),
    "kohya: meta_cap.json by stem": Row(
        {"a.png": P, "b.png": Q, "meta_cap.json": '{"a": {"caption": "ohwx", "tags": "hat, sea"}, "b": {"tags": "y"}}'},
        {"a.png": "ohwx, hat, sea", "b.png": "y"},
    ),
    "kohya: meta_lat.json by path of another machine": Row(
        {
            "1/a.png": P,
            "2/a.png": Q,
            "meta_lat.json": json.dumps(
                {
                    "C:\\data\\1\\a.png": {"caption": "one", "train_resolution": [96, 64]},
                    "C:\\data\\2\\a.png": {"caption": "two", "train_resolution": [96, 64]},
                }
            ),
        },
        {"a.png": "two"},  # both have this name; see below
    ),
    "kohya: both meta files agree": Row(
        {"a.png": P, "meta_cap.json": '{"a": {"caption": "ohwx"}}', "meta_lat.json": '{"a": {"caption": "ohwx"}}'},
        {"a.png": "ohwx"},
    ),
    "lists that disagree": Row(
        {"a.png": P, "meta_cap.json": '{"a": {"caption": "ohwx"}}', "metadata.csv": "file_name,text\na.png,other\n"},
        {"a.png": "ohwx"},
        refused={"in/metadata.csv": "1 of its 1 rows give other words"},
    ),
    "a file of its own goes before a list": Row(
        {"a.png": P, "a.txt": "ohwx, own", "metadata.jsonl": lines({"file_name": "a.png", "text": "listed"})},
        {"a.png": "ohwx, own"},
        refused={"in/metadata.jsonl": "1 of its 1 rows are about pictures that have a file of words of their own"},
    ),
    "ai-toolkit: .json beside a picture": Row(
        {"a.png": P, "a.json": '{"caption": "ohwx, hat", "caption_short": "hat", "poi": []}'}, {"a.png": "ohwx, hat"}
    ),
    "ai-toolkit: its .txt goes before its .json": Row(
        {"a.png": P, "a.txt": "ohwx, t", "a.json": '{"caption": "ohwx, j"}'},
        {"a.png": "ohwx, t"},
        refused={"in/a.json": "taken from in/a.txt"},
    ),
    "ai-toolkit: a .json without caption": Row(
        {"a.png": P, "a.json": '{"poi": []}'}, {"a.png": ""}, refused={"in/a.json": "without captions"}
    ),
    "ai-toolkit: a caption that is no text": Row(
        {"a.png": P, "a.json": '{"caption": 7}'}, {"a.png": ""}, refused={"in/a.json": "no text"}
    ),
    "ai-toolkit: [trigger]": Row(
        {"a.png": P, "a.txt": "[trigger] with a hat"}, {"a.png": "ohwx with a hat"}, noted=("replaced by ohwx",)
    ),
    "[trigger] in a list": Row(
        {"a.png": P, "metadata.csv": 'file_name,text\na.png,"[trigger], a hat"\n'},
        {"a.png": "ohwx, a hat"},
        noted=("in/metadata.csv, row 2", "replaced by ohwx"),
    ),
    "musubi: .jsonl": Row(
        {"img/a.png": P, "m.jsonl": lines({"image_path": "/elsewhere/img/a.png", "caption": "ohwx, hat"})},
        {"a.png": "ohwx, hat"},
    ),
    "HF: metadata.jsonl": Row(
        {"train/a.png": P, "train/metadata.jsonl": lines({"file_name": "a.png", "text": "ohwx, hat", "label": 3})},
        {"a.png": "ohwx, hat"},
    ),
    "HF: metadata.csv": Row(
        {"a.png": P, "s/b.png": Q, "metadata.csv": '\ufefffile_name,prompt\na.png,"ohwx, hat"\ns/b.png,sea\n'},
        {"a.png": "ohwx, hat", "b.png": "sea"},
    ),
    "HF: metadata.csv of a European Excel": Row(
        {"a.png": P, "metadata.csv": 'file_name;caption\r\na.png;"ohwx; a, b"\r\n'}, {"a.png": "ohwx; a, b"}
    ),
    "a list's rows without pictures, pictures without rows, and wrong rows": Row(
        {
            "a.png": P,
            "b.png": Q,
            "metadata.jsonl": lines({"file_name": "a.png", "text": "ohwx"}, {"file_name": "gone.png", "text": "x"})
            + '{"file_name": "b.png", "text": [1]}\n{broken\n[]\n',
        },
        {"a.png": "ohwx", "b.png": ""},
        noted=("in/metadata.jsonl: It has no words for 1 of the pictures",),
        refused={"in/metadata.jsonl": "3 of its 5 rows name no picture, or their words are no text: line 3, line 4"},
    ),
    "a table without the columns": Row(
        {"a.png": P, "metadata.csv": "name,age\nx,3\n"}, {"a.png": ""}, refused={"in/metadata.csv": "No row of it"}
    ),
    "a damaged list": Row(
        {"a.png": P, "meta_cap.json": '{"a": {"cap'}, {"a.png": ""}, refused={"in/meta_cap.json": "damaged"}
    ),
    "HF: metadata.parquet": Row(
        {"a.png": P, "metadata.parquet": b"PAR1" + bytes(40) + b"PAR1"},
        {"a.png": ""},
        refused={"in/metadata.parquet": "a table (Parquet)"},
    ),
    "OneTrainer: -masklabel": Row({"a.png": P, "a-masklabel.png": mask()}, {"a.png": ""}, masks=1),
    "images and masks": Row({"images/a.png": P, "masks/a.png": mask()}, {"a.png": ""}, masks=1),
    "a_mask": Row({"a.png": P, "a_mask.png": mask()}, {"a.png": ""}, masks=1),
    "imgs_mask": Row({"imgs/a.png": P, "imgs_mask/a.png": mask()}, {"a.png": ""}, masks=1),
    "a list beside images and masks": Row(
        {"images/a.png": P, "masks/a.png": mask(), "metadata.csv": "file_name,text\nimages/a.png,ohwx\n"},
        {"a.png": "ohwx"},
        masks=1,
    ),
    "alpha channel": Row({"a.png": a()}, {"a.png": ""}, noted=("a.png: Its transparent parts", "no mask here")),
    "edits: images and control": Row(
        {"images/a.png": P, "images/a.txt": "add a hat", "control/a.jpg": photo(3, form="JPEG")},
        {},
        {"a.png": "add a hat"},
    ),
    "edits: a_control beside its result": Row(
        {"a.png": P, "a.txt": "add a hat", "a_control.png": Q, "b.png": photo(3)}, {"b.png": ""}, {"a.png": "add a hat"}
    ),
    "edits: musubi's control_path_0": Row(
        {
            "after/a.png": P,
            "before/a.png": Q,
            "m.jsonl": lines(
                {"image_path": "/x/after/a.png", "control_path_0": "/x/before/a.png", "caption": "add a hat"},
                {"image_path": "/x/after/a.png", "control_path": "/x/gone.png", "caption": "add a hat"},
            ),
        },
        {},
        {"a.png": "add a hat"},
        refused={"in/m.jsonl": "1 of its 2 rows name pictures that did not come in: /x/gone.png"},
    ),
    "edits: musubi's control_directory": Row(
        {
            "after/a.png": P,
            "after/a.txt": "add a hat",
            "before/a.png": Q,
            "dataset.toml": '[[datasets]]\nimage_directory = "/x/after"\ncontrol_directory = "/x/before"\n',
        },
        {},
        {"a.png": "add a hat"},
    ),
    "edits without an instruction are pictures": Row(
        {"images/a.png": P, "control/a.png": Q}, {"a.png": ""}, refused={"in/control/a.png": "control picture"}
    ),
    "edits of two pictures": Row(
        {"images/a.png": P, "images/a.txt": "both", "control/a_0.png": Q, "control/a_1.png": photo(3), "b.png": a()},
        {"b.png": ""},
        noted=("transparent",),
        refused={
            "in/images/a.png": "an edit of 2 pictures",
            "in/control/a_0.png": "control picture",
            "in/control/a_1.png": "control picture",
        },
    ),
    "a depth map is no edit's source": Row(
        {"images/a.png": P, "images/a.txt": "ohwx", "depth/a.png": Q},
        {"a.png": "ohwx"},
        refused={"in/depth/a.png": "control picture"},
    ),
    "captions of several lines": Row(
        {"a.png": P, "a.txt": "ohwx person,\nsmiling\n"}, {"a.png": "ohwx person, smiling"}, noted=("2 lines", "joined")
    ),
    "captions, one a line": Row(
        {"a.png": P, "a.txt": "ohwx one\nohwx two\n"}, {"a.png": "ohwx one"}, noted=("2 captions", "first was kept")
    ),
    "taggui": Row({"a.png": P, "a.txt": "ohwx, hat, sea"}, {"a.png": "ohwx, hat, sea"}),
    "LoRA Dataset Studio": Row(
        {"a.png": P, "a.txt": "ohwx, hat", "manifest.json": '{"name": "Mira", "version": 1, "images": 1}'},
        {"a.png": "ohwx, hat"},
        refused={"in/manifest.json": "without captions"},
    ),
    "HEIC and broken WebP": Row(
        {"a.png": P, "b.heic": b"\0\0\0\x18ftypheic" + bytes(20), "c.webp": b"RIFF\x10\0\0\0WEBPVP8 "},
        {"a.png": ""},
        refused={"in/b.heic": "HEIC", "in/c.webp": "damaged"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_every_tools_dataset_comes_in_or_is_told(world: World, tmp_path: Path, row: Row) -> None:
    """Each picture with its words, each mask and edit is taken, and the report names what was not, with the reason."""
    job = importing.submit_import(world.desk, [lay(tmp_path / "in", row.files)])
    assert not job.error, job.error
    assert words(world, job.artifacts.imported) == row.pictures
    assert words(world, job.artifacts.paired) == row.edits
    assert len(present(job.artifacts.masked)) == row.masks
    told = refused(job)
    assert set(told) == set(row.refused), told
    assert all(part in " ".join(each.reason for each in present(job.artifacts.refused) if each.file == file)
               for file, part in row.refused.items()), told  # fmt: skip
    assert all(part in noted(job) for part in row.noted), noted(job)
    assert row.noted or not [part for part in ("epoch", "replaced", "joined", "transparent") if part in noted(job)]


def test_a_path_tells_pictures_of_one_name_apart(world: World, tmp_path: Path) -> None:
    """Two pictures of one name in two folders get each its own words, by a path of another machine."""
    row = ROWS["kohya: meta_lat.json by path of another machine"]
    job = importing.submit_import(world.desk, [lay(tmp_path / "in", row.files)])
    found = {world.store.path(image).read_bytes(): world.store.images.get(image).caption
             for image in present(job.artifacts.imported)}  # fmt: skip
    assert found == {P: "one", Q: "two"}


def test_an_edit_is_a_lesson_and_no_picture_of_the_character(world: World, tmp_path: Path) -> None:
    """The editor learns it from its source by its words; the character's own pictures stay as they were."""
    files = ROWS["edits: images and control"].files
    originals, pending = len(world.store.select(Kind.SOURCE)), len(world.store.pending())
    job = importing.submit_import(world.desk, [lay(tmp_path / "in", files)])
    (lesson,) = world.store.triplets.all()
    assert (lesson.id, lesson.params["instruction"]) == (present(job.artifacts.paired)[0], "add a hat")
    assert world.store.path(lesson.source).read_bytes() == files["control/a.jpg"]
    assert world.store.path(lesson.result).read_bytes() == files["images/a.png"]
    assert (lesson.golden, lesson.held_out) == (False, False)
    assert (len(world.store.select(Kind.SOURCE)), len(world.store.pending())) == (originals, pending)
    with pytest.raises(BadInput, match="imported edit"):
        world.store.correct(lesson.result, Image.new("RGB", (96, 72)), reviewer="owner")
    world.store.trash([lesson.result])
    assert len(world.store.triplets) == 0
    again = importing.submit_import(world.desk, [tmp_path / "in"])
    assert (again.artifacts.paired, "trash" in present(again.artifacts.duplicates)[0].hint) == ((), True)
    world.store.undo_trash()
    assert [each.id for each in world.store.triplets.all()] == [lesson.id]


@pytest.mark.parametrize(
    "name", ["kohya: meta_cap.json by stem", "HF: metadata.jsonl", "ai-toolkit: .json beside a picture"]
)
def test_words_find_their_pictures_among_uploads_and_in_zips(world: World, tmp_path: Path, name: str) -> None:
    """Uploaded file by file, where folders are lost, or as a zip, a list's words come to the same pictures."""
    row = ROWS[name]
    cache = world.studio.settings.data_root / "cache" / "pages"
    paths = [lay(cache / f"{n}", {Path(file).name: data}) / Path(file).name
             for n, (file, data) in enumerate(row.files.items())]  # fmt: skip
    job = importing.submit_import(world.desk, paths)
    assert (words(world, job.artifacts.imported), job.artifacts.refused) == (row.pictures, ())
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file, data in row.files.items():
            archive.writestr(f"set/{file}", data)
    world.store.trash(present(job.artifacts.imported))
    other = world.studio.library.create("Ada", editor="fake-edit")
    job = importing.submit_import(world.studio.desk(other.id), [tmp_path / "set.zip"])
    found = map(world.studio.store(other.id).images.get, present(job.artifacts.imported))
    assert ({image.name: image.caption for image in found}, job.artifacts.refused) == (row.pictures, ())
