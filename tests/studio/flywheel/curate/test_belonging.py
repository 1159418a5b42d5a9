"""What belongs together in an import: a picture, its words and its mask, by more than a name."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from studio.flywheel.curate import importing
from studio.records.image import ImageRecord, Kind
from studio.records.job import Job
from tests.studio.conftest import World, present
from tests.studio.drops import encoded, photo, turned


def mask(size: tuple[int, int] = (96, 72)) -> bytes:
    """Half of it counts."""
    picture = Image.new("L", size)
    picture.paste(255, (0, 0, size[0] // 2, size[1]))
    return encoded(picture, "PNG")


Files = dict[str, bytes | str]


def lay(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files below a folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def came(world: World, job: Job) -> dict[str, ImageRecord]:
    """Caption or else name -> the pictures that an import took in."""
    images = [world.store.images.get(each) for each in present(job.artifacts.imported)]
    return {image.caption or image.name: image for image in images}


def refused(job: Job) -> dict[str, str]:
    """File -> reason."""
    return {item.file: item.reason for item in present(job.artifacts.refused)}


TWINS = {
    "two folders": {"front/01": 1, "side/01": 2},
    "case": {"IMG_1": 1, "img_1": 2},
    "Unicode form": {unicodedata.normalize("NFC", "Zoë"): 1, unicodedata.normalize("NFD", "Zoë"): 2},
}


@pytest.mark.parametrize("alone", [False, True], ids=["as a folder", "file by file"])
@pytest.mark.parametrize("twins", TWINS.values(), ids=TWINS)
def test_twins_keep_their_own_words(world: World, tmp_path: Path, twins: dict[str, int], alone: bool) -> None:
    """Two pictures of nearly one name have each its own words, dropped as a folder or file by file."""
    files: Files = {f"{name}.png": photo(n) for name, n in twins.items()}
    files |= {f"{name}.txt": f"ohwx person, words {n}" for name, n in twins.items()}
    folder = lay(tmp_path / "in", files)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    job = importing.submit_import(world.desk, paths if alone else [folder])
    found = came(world, job)
    for name, n in twins.items():
        data = (folder / f"{name}.png").read_bytes()
        assert world.store.path(found[f"ohwx person, words {n}"].id).read_bytes() == data
    assert job.artifacts.refused == ()


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("IMG_1.PNG", "img_1.txt"),
        (unicodedata.normalize("NFD", "Zoë.png"), unicodedata.normalize("NFC", "Zoë.txt")),
        ("a.png", "a.caption"),
        ("a.png", "a.png.txt"),
        ("a.jpg.png", "a.jpg.txt"),
    ],
)
def test_one_picture_and_its_words_find_each_other(world: World, tmp_path: Path, picture: str, words: str) -> None:
    """Where nothing else has the name, systems' spellings of it and trainers' endings are one."""
    folder = lay(tmp_path / "in", {picture: photo(1), words: "ohwx person, found"})
    job = importing.submit_import(world.desk, [folder])
    assert (set(came(world, job)), job.artifacts.refused) == ({"ohwx person, found"}, ())


def upload(world: World, files: list[tuple[str, bytes | str]]) -> Job:
    """Import files as a page gets them: each in a folder of its own, below the studio's cache."""
    cache = world.studio.settings.data_root / "cache" / "pages"
    for index, (name, data) in enumerate(files):
        lay(cache / f"{index}", {name: data})
    return importing.submit_import(world.desk, [cache / f"{n}" / name for n, (name, _) in enumerate(files)])


def test_uploads_of_one_name_pair_in_turn(world: World) -> None:
    """`smile!` and `smile` become one name at upload; in the order of their names each has its own words."""
    pictures = [photo(1), photo(2)]
    words = ["ohwx person, one", "ohwx person, two"]
    job = upload(world, [("s.png", pictures[0]), ("s.txt", words[0]), ("s.png", pictures[1]), ("s.txt", words[1])])
    found = came(world, job)
    assert [world.store.path(found[each].id).read_bytes() for each in words] == pictures


@pytest.mark.parametrize("order", ["P P T T", "P T T P", "P P T", "P T T"])
def test_what_could_be_anyones_is_nobodys(world: World, order: str) -> None:
    """Uploads of one name in another order get no words at all, and the words are named."""
    kinds = order.split()
    files: list[tuple[str, bytes | str]] = [
        ("01.png", photo(n)) if kind == "P" else ("01.txt", f"ohwx person, {n}") for n, kind in enumerate(kinds)
    ]
    job = upload(world, files)
    assert len(present(job.artifacts.imported)) == kinds.count("P")
    assert set(came(world, job)) == {"01.png"}
    assert [item.file for item in present(job.artifacts.refused)] == ["01.txt"] * kinds.count("T")
    assert "01.png" in refused(job)["01.txt"]


def test_zips_of_one_name_keep_their_own_words(world: World) -> None:
    """Two uploaded zips of one name are two folders."""
    zips: list[tuple[str, bytes | str]] = []
    for n in (1, 2):
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            archive.writestr("01.png", photo(n))
            archive.writestr("01.txt", f"ohwx person, {n}")
        zips.append(("set.zip", held.getvalue()))
    job = upload(world, zips)
    assert (set(came(world, job)), job.artifacts.refused) == ({"ohwx person, 1", "ohwx person, 2"}, ())


def test_uploads_of_names_of_their_own_pair_in_any_order(world: World) -> None:
    """Uploads lose their folders; a name that only one picture has is enough."""
    job = upload(
        world, [("b.txt", "ohwx person, b"), ("a.png", photo(1)), ("a.txt", "ohwx person, a"), ("b.png", photo(2))]
    )
    assert set(came(world, job)) == {"ohwx person, a", "ohwx person, b"}


def test_words_of_one_folder_serve_all_forms_of_a_picture(world: World, tmp_path: Path) -> None:
    """`a.png` and `a.jpg` read one `a.txt`, as trainers do; a second file of words is named."""
    files: Files = {
        "a.png": photo(1),
        "a.jpg": photo(2, form="JPEG"),
        "a.txt": "ohwx person, a",
        "a.caption": "ohwx, b",
    }
    job = importing.submit_import(world.desk, [lay(tmp_path / "in", files)])
    captions = {world.store.images.get(each).caption for each in present(job.artifacts.imported)}
    assert (captions, set(refused(job))) == ({"ohwx person, a"}, {"in/a.caption"})


def test_a_file_within_a_dropped_folder_comes_once(world: World, tmp_path: Path) -> None:
    """A folder and a file of it, chosen together, are one picture with its words."""
    folder = lay(tmp_path / "in", {"a.png": photo(1), "a.txt": "ohwx person, a"})
    job = importing.submit_import(world.desk, [folder / "a.png", folder, folder / "a.png"])
    assert (set(came(world, job)), job.artifacts.duplicates) == ({"ohwx person, a"}, ())


# ── masks ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "place",
    [
        *("in/masks/a.png", "in/images/masks/a.png", "in/imgs_mask/a.png", "in/Mask/A.PNG", "in/_masks/a.png"),
        *("in/images/a_mask.png", "in/images/a-MASK.png", "in/images/a-masklabel.png", "in/images/mask_a.png"),
        *("in/mask_path_0/a.png", "in/masks/a_mask.png", "in/images/a_masks.png", "in/images/a_mask_0.png"),
    ],
)
def test_a_mask_is_found_where_trainers_put_it(world: World, tmp_path: Path, place: str) -> None:
    """Beside its picture by an ending, or in a folder of masks above or beside its picture's."""
    folder = lay(tmp_path, {"in/images/a.png": photo(1), "in/images/b.png": photo(2), place: mask()})
    job = importing.submit_import(world.desk, [folder / "in"])
    found = came(world, job)
    assert (set(found), job.artifacts.refused) == ({"a.png", "b.png"}, ())
    assert found["a.png"].mask and not found["b.png"].mask


def test_folders_of_pictures_and_masks_may_be_dropped_side_by_side(world: World, tmp_path: Path) -> None:
    """`images` and `masks` belong together as two drops, too, and as two zips."""
    files = {"images/a.png": photo(1), "masks/a.png": mask()}
    lay(tmp_path, files)
    job = importing.submit_import(world.desk, [tmp_path / "images", tmp_path / "masks"])
    assert came(world, job)["a.png"].mask
    for name, data in {"pics": photo(2), "masks": mask()}.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("b.png", data)
    job = importing.submit_import(world.desk, [tmp_path / "pics.zip", tmp_path / "masks.zip"])
    assert came(world, job)["b.png"].mask


def test_photos_of_a_mask_are_photos(world: World, tmp_path: Path) -> None:
    """In colour, or of another size, what lies in `mask` is a picture with its own words, and nobody's mask."""
    grey = encoded(Image.open(lay(tmp_path, {"g.png": photo(4, (64, 64))}) / "g.png").convert("L"), "PNG")
    files: Files = {
        "01.png": photo(1),
        "mask/01.png": photo(2),
        "mask/01.txt": "ohwx person, in a mask",
        "02.png": photo(3),
        "02_mask.png": grey,
    }
    job = importing.submit_import(world.desk, [lay(tmp_path / "in", files)])
    assert len(present(job.artifacts.imported)) == 4
    assert (job.artifacts.masked, job.artifacts.refused) == ((), ())
    assert "ohwx person, in a mask" in came(world, job)
    assert not any(image.mask for image in came(world, job).values())


def test_a_mask_is_as_large_as_its_picture_is_shown(world: World, tmp_path: Path) -> None:
    """A phone's picture stands upright, and so does its mask."""
    files = {"a.jpg": photo(1, (120, 80), "JPEG", exif=turned()), "masks/a.png": mask((80, 120))}
    job = importing.submit_import(world.desk, [lay(tmp_path / "in", files)])
    assert present(job.artifacts.masked) == present(job.artifacts.imported) != ()


def test_masks_without_a_place_never_become_pictures(world: World, tmp_path: Path) -> None:
    """Black and white, called a mask: of another size, of two pictures or of none, it is refused by name."""
    files: Files = {
        "x/a.png": photo(1),
        "x/a_mask.png": mask((48, 36)),
        "y/a.png": photo(2),
        "masks/a.png": mask(),
        "masks/gone.png": mask(),
        "masks/gone.txt": "words of a mask",
    }
    job = importing.submit_import(world.desk, [lay(tmp_path / "in", files)])
    assert len(present(job.artifacts.imported)) == 2
    assert set(refused(job)) >= {"in/x/a_mask.png", "in/masks/a.png", "in/masks/gone.png"}
    assert "48×36" in refused(job)["in/x/a_mask.png"]


def test_a_coloured_masklabel_is_named(world: World, tmp_path: Path) -> None:
    """OneTrainer's ending can mean nothing else, so a picture in colour under it is a mistake to tell."""
    files = {"a.png": photo(1), "a-masklabel.png": photo(2)}
    job = importing.submit_import(world.desk, [lay(tmp_path / "in", files)])
    assert (len(present(job.artifacts.imported)), list(refused(job))) == (1, ["in/a-masklabel.png"])
    assert "in colour" in refused(job)["in/a-masklabel.png"]


# ── what is no picture of the character ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "place",
    [
        *("control", "Control", "control_path_0", "conditioning_images", "conditioningImages", "depth", "canny_maps"),
        *("reg", "1_person_reg", "regularisation_images", "reg/1_person", "class_images", "REG"),
    ],
)
def test_control_and_regularisation_pictures_stay_out(world: World, tmp_path: Path, place: str) -> None:
    """Beside the character's pictures they are left out, each named with what it is; alone they are pictures."""
    files: Files = {"images/a.png": photo(1), f"{place}/a.png": photo(2), f"{place}/a.txt": "a person"}
    folder = lay(tmp_path / "in", files)
    job = importing.submit_import(world.desk, [folder])
    assert set(came(world, job)) == {"a.png"}
    assert set(refused(job)) == {f"in/{place}/a.png", f"in/{place}/a.txt"}
    assert any(word in refused(job)[f"in/{place}/a.png"] for word in ("control picture", "regularisation"))
    alone = importing.submit_import(world.desk, [folder / place.split("/")[0]])
    assert set(came(world, alone)) == {"a person"}


def test_a_control_picture_beside_its_picture_stays_out(world: World, tmp_path: Path) -> None:
    """`a-condlabel` and `a_depth` belong to `a`; without one of that name they are pictures."""
    files = {"a.png": photo(1), "a-condlabel.png": photo(2), "a_depth.png": photo(3), "in_depth.png": photo(4)}
    job = importing.submit_import(world.desk, [lay(tmp_path / "in", files)])
    assert set(came(world, job)) == {"a.png", "in_depth.png"}
    assert set(refused(job)) == {"in/a-condlabel.png", "in/a_depth.png"}


@pytest.mark.parametrize("folder", ["control room", "depth of field", "Regina", "mask", "masked ball", "images"])
def test_folders_that_only_sound_alike_hold_pictures(world: World, tmp_path: Path, folder: str) -> None:
    """A word within a longer name says nothing about what is in a folder."""
    job = importing.submit_import(world.desk, [lay(tmp_path / "in", {"a.png": photo(1), f"{folder}/b.png": photo(2)})])
    assert (len(came(world, job)), job.artifacts.refused) == (2, ())


@pytest.mark.parametrize(
    "name", ["a.xmp", "train.arrow", "train.parquet", "other.json", "b/train.yaml", "b/train.toml"]
)
def test_words_in_other_forms_are_told(world: World, tmp_path: Path, name: str) -> None:
    """A file beside pictures that may hold words is named for what it is, with the form that is read."""
    folder = lay(tmp_path / "in", {"a.png": photo(1), name: '{"x": {"words": "ohwx person"}}'})
    job = importing.submit_import(world.desk, [folder])
    (line,) = present(job.artifacts.refused)
    assert line.file == f"in/{name}"
    assert (
        "not read here" in line.reason
        and "words" in line.reason
        and (".txt" in line.hint or "metadata.csv" in line.hint)
    )
    assert world.store.select(Kind.SOURCE)[-1].caption == ""
