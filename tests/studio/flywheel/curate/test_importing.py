"""Importing through the queue: everything good comes in, everything else is named, and a kill costs nothing."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engines.api.errors import BadInput
from studio.flywheel.curate import importing
from studio.flywheel.curate.intake import Limits
from studio.records.image import Kind, Verdict
from studio.records.job import Artifacts, Job, JobState
from studio.records.payload import ImportPayload
from studio.store import Store
from tests.studio.conftest import World, present
from tests.studio.drops import animated, encoded, huge_png, photo, turned


def imported(store: Store) -> dict[str, str]:
    """Name -> id of what this store's imports took in."""
    return {image.name: image.id for image in store.select(Kind.SOURCE) if image.job}


def refused(job: Job) -> dict[str, str]:
    """File -> reason."""
    return {item.file: item.reason for item in present(job.artifacts.refused)}


@pytest.fixture
def mess(tmp_path: Path) -> Path:
    """A folder with one of everything that goes wrong."""
    folder = tmp_path / "mess"
    (folder / "sub").mkdir(parents=True)
    good = photo(1)
    cmyk = Image.open(io.BytesIO(photo(3))).convert("CMYK")
    files = {
        "good.png": good,
        "good.txt": b"ohwx person, smiling, half-left view",
        "same.png": good,
        "phone.jpg": photo(2, (120, 80), "JPEG", exif=turned()),
        "print.tif": encoded(cmyk, "TIFF"),
        "cut.jpg": photo(4, (300, 300), "JPEG")[:-2000],
        "words.jpg": b"these are words\n",
        "huge.png": huge_png(30_000, 30_000),
        "moving.gif": animated("GIF"),
        "nothing.png": b"",
        "song.mp3": b"ID3\x04\0\0\0\0\0\x23TSSE" + bytes(200),
        "lonely.txt": b"nobody's words",
        ".DS_Store": b"\0\0",
        "sub/deep.png": photo(5),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("../../escape.png", photo(6))
        archive.writestr("inside/zipped.png", photo(7))
        archive.writestr("inside/zipped.txt", "ohwx person, sad, front view")
    return folder


def test_a_messy_folder_brings_in_what_is_good(world: World, mess: Path) -> None:
    """Every good picture of the folder, its subfolder and its zip is there, each file that is not is named."""
    job = importing.submit_import(world.desk, [mess])
    assert job.state is JobState.DONE
    names = imported(world.store)
    assert set(names) == {"good.png", "phone.jpg", "print.tif", "deep.png", "zipped.png"}
    assert sorted(present(job.artifacts.imported)) == sorted(names.values())
    reasons = refused(job)
    assert set(reasons) == {
        f"mess/{name}"
        for name in (
            "cut.jpg", "words.jpg", "huge.png", "moving.gif", "nothing.png", "song.mp3", "lonely.txt",
            "more.zip/../../escape.png",
        )
    }  # fmt: skip
    for file, word in {"cut.jpg": "cut short", "words.jpg": "text", "huge.png": "30000×30000"}.items():
        assert word in reasons[f"mess/{file}"]
    assert all(item.hint for item in present(job.artifacts.refused))


def test_duplicates_are_named_and_not_added_again(world: World, mess: Path) -> None:
    """The same bytes under another name, and a whole folder dropped twice, add nothing."""
    first = importing.submit_import(world.desk, [mess])
    assert [item.file for item in present(first.artifacts.duplicates)] == ["mess/same.png"]
    before = len(world.store.images.all())
    again = importing.submit_import(world.desk, [mess])
    assert again.artifacts.imported == ()
    assert len(present(again.artifacts.duplicates)) == 6
    assert len(world.store.images.all()) == before


def test_a_duplicate_in_the_trash_says_so(world: World, tmp_path: Path) -> None:
    """A picture that was thrown away is restored by its owner, not by an import."""
    (tmp_path / "a.png").write_bytes(photo(1))
    first = importing.submit_import(world.desk, [tmp_path / "a.png"])
    world.store.trash(present(first.artifacts.imported))
    again = importing.submit_import(world.desk, [tmp_path / "a.png"])
    assert "trash" in present(again.artifacts.duplicates)[0].hint


def test_originals_are_kept_byte_for_byte(world: World, mess: Path) -> None:
    """JPEG and PNG files lie in the store as they came; a phone's turn is applied on reading."""
    importing.submit_import(world.desk, [mess])
    names = imported(world.store)
    assert world.store.path(names["phone.jpg"]).read_bytes() == (mess / "phone.jpg").read_bytes()
    assert world.store.open_image(names["phone.jpg"]).size == (80, 120)
    with Image.open(world.store.path(names["print.tif"])) as converted:
        assert (converted.format, converted.mode) == ("PNG", "RGB")


def test_sidecars_become_captions_and_tags(world: World, mess: Path) -> None:
    """A .txt beside a picture is its caption, in a zip too, and the tags are read from it."""
    importing.submit_import(world.desk, [mess])
    names = imported(world.store)
    good, zipped = (world.store.images.get(names[name]) for name in ("good.png", "zipped.png"))
    assert (good.caption, good.caption_by) == ("ohwx person, smiling, half-left view", "sidecar")
    assert good.tags == {"angle": "half-left", "expression": "smiling"}
    assert zipped.tags == {"angle": "front", "expression": "sad"}


def test_a_broken_sidecar_costs_only_the_words(world: World, tmp_path: Path) -> None:
    """The picture comes in without a caption, and the file with the words is named."""
    (tmp_path / "a.png").write_bytes(photo(1))
    (tmp_path / "a.txt").write_bytes(b"\0\1\2")
    job = importing.submit_import(world.desk, [tmp_path / "a.png", tmp_path / "a.txt"])
    assert len(present(job.artifacts.imported)) == 1
    assert set(refused(job)) == {"a.txt"}


def test_look_alikes_and_blur_are_advice(world: World, tmp_path: Path) -> None:
    """A mirrored or blurred copy comes in, with words about it."""
    picture = Image.open(io.BytesIO(photo(1, (256, 256))))
    picture.save(tmp_path / "a.png")
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "b.png")
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "c.png")
    job = importing.submit_import(world.desk, sorted(tmp_path.glob("?.png")))
    assert len(present(job.artifacts.imported)) == 3
    advice = {world.store.images.get(item.id).name: item.words for item in present(job.artifacts.advice)}
    assert "mirror image of a.png" in advice["b.png"]
    assert "blurred" in advice["c.png"]


def test_sources_wait_for_nobody(world: World, tmp_path: Path) -> None:
    """Imported pictures are usable at once and don't enter the review queue."""
    (tmp_path / "a.png").write_bytes(photo(1))
    job = importing.submit_import(world.desk, [tmp_path / "a.png"])
    image = world.store.images.get(present(job.artifacts.imported)[0])
    assert (image.kind, image.state, image.job) == (Kind.SOURCE, Verdict.PENDING, job.id)
    assert world.store.pending() == []


def test_an_interrupted_import_goes_on_from_its_inbox(world: World, tmp_path: Path) -> None:
    """Once copied, an import needs the user's files no more: what is in stays in, the rest follows."""
    paths = [tmp_path / f"{n}.png" for n in range(5)]
    for n, path in enumerate(paths):
        path.write_bytes(photo(n + 1))
    asked = ImportPayload(paths=tuple(map(str, paths)), limits=vars(Limits()))
    job = Job(id="import-killed", kind="import", character=world.id, payload=json.loads(json.dumps(asked.to_json())))
    ctx = Killed(world, job, at=2)
    with pytest.raises(Killed.Now):
        importing.run_import(ctx)  # type: ignore[arg-type]  # it has what an import asks of a context
    assert len(imported(world.store)) == 2
    for path in paths:
        path.unlink()
    ctx = Killed(world, job, at=99)
    importing.run_import(ctx)  # type: ignore[arg-type]  # it has what an import asks of a context
    assert len(imported(world.store)) == 5
    assert len(present(ctx.artifacts.imported)) == 5
    assert (ctx.artifacts.duplicates, ctx.artifacts.refused) == ((), ())
    assert not (world.store.run_dir(job.id) / "inbox").exists()


class Killed:
    """A job's context that dies at a step, as a process would."""

    class Now(BaseException):
        """The end."""

    def __init__(self, world: World, job: Job, at: int) -> None:
        self.job, self.store, self.workplace = job, world.store, world.studio
        self.artifacts = Artifacts()
        self._at = at

    def step(self, step: int, total: int, message: str = "") -> None:
        """Die at the step."""
        if step == self._at:
            raise Killed.Now

    def keep(self, **artifacts: Any) -> None:
        """Remember."""
        self.artifacts = self.artifacts.replace(**artifacts)


def test_a_half_copied_slot_is_copied_again(world: World, tmp_path: Path) -> None:
    """A kill while copying leaves a draft that the next run throws away."""
    (tmp_path / "a.png").write_bytes(photo(1))
    asked = ImportPayload(paths=(str(tmp_path / "a.png"),), limits=vars(Limits()))
    job = Job(id="import-half", kind="import", character=world.id, payload=asked.to_json())
    draft = world.store.run_dir(job.id) / "inbox" / "00000.part"
    draft.mkdir(parents=True)
    (draft / "a.png").write_bytes(b"half")
    ctx = Killed(world, job, at=99)
    importing.run_import(ctx)  # type: ignore[arg-type]  # it has what an import asks of a context
    assert len(present(ctx.artifacts.imported)) == 1
    assert ctx.artifacts.refused == ()


def test_what_is_not_there_is_named(world: World, tmp_path: Path) -> None:
    """A path that vanished costs itself alone."""
    (tmp_path / "a.png").write_bytes(photo(1))
    job = importing.submit_import(world.desk, [tmp_path / "gone.png", tmp_path / "a.png"])
    assert len(present(job.artifacts.imported)) == 1
    assert refused(job) == {"gone.png": "It is not there."}


def test_files_too_large_are_named_uncopied(world: World, tmp_path: Path) -> None:
    """A file beyond the limit is refused by its size alone."""
    (tmp_path / "film.mov").write_bytes(bytes(5000))
    (tmp_path / "a.png").write_bytes(photo(1, (8, 8)))
    paths = [tmp_path / "film.mov", tmp_path / "a.png"]
    job = importing.submit_import(world.desk, paths, limits=Limits(file_bytes=2000))
    assert len(present(job.artifacts.imported)) == 1
    assert "MiB" in refused(job)["film.mov"]


def test_too_much_at_once_is_an_error_before_anything_is_copied(world: World, tmp_path: Path) -> None:
    """A total beyond the limit is refused with the figures."""
    (tmp_path / "in").mkdir()
    for n in range(4):
        (tmp_path / "in" / f"{n}.png").write_bytes(photo(n))
    with pytest.raises(BadInput, match="4 files"):
        importing.submit_import(world.desk, [tmp_path / "in"], limits=Limits(files=3))
    with pytest.raises(BadInput, match="nothing to import"):
        importing.submit_import(world.desk, [])
    assert world.studio.jobs.list() == []


def test_a_key_makes_an_import_happen_once(world: World, tmp_path: Path) -> None:
    """The same key again answers the first job, also when the file is gone by then."""
    (tmp_path / "a.png").write_bytes(photo(1))
    first = importing.submit_import(world.desk, [tmp_path / "a.png"], key="k")
    (tmp_path / "a.png").unlink()
    assert importing.submit_import(world.desk, [tmp_path / "a.png"], key="k").id == first.id


def _mask(size: tuple[int, int] = (96, 72)) -> bytes:
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return encoded(mask, "PNG")


def test_masks_come_with_their_pictures(world: World, tmp_path: Path) -> None:
    """As OneTrainer, as people and as ai-toolkit name them; none of them becomes a picture of its own."""
    folder = tmp_path / "in"
    (folder / "masks").mkdir(parents=True)
    for n, name in enumerate(("a.png", "b.jpg", "c.png", "bare.png")):
        (folder / name).write_bytes(photo(n))
    for name in ("a-masklabel.png", "b.mask.png", "masks/c.png"):
        (folder / name).write_bytes(_mask())
    job = importing.submit_import(world.desk, [folder])
    taken = imported(world.store)
    assert set(taken) == {"a.png", "b.jpg", "c.png", "bare.png"}
    assert sorted(present(job.artifacts.masked)) == sorted(taken[name] for name in ("a.png", "b.jpg", "c.png"))
    masks = {name: world.store.images.get(image).mask for name, image in taken.items()}
    assert not masks["bare.png"]
    with Image.open(world.store.file(masks["a.png"])) as kept:
        assert (kept.mode, kept.size, kept.getpixel((0, 0)), kept.getpixel((95, 0))) == ("L", (96, 72), 255, 0)


def test_a_mask_may_come_later(world: World, tmp_path: Path) -> None:
    """Imported once more with a mask beside it, the picture that is here already has it."""
    (tmp_path / "a.png").write_bytes(photo(1))
    importing.submit_import(world.desk, [tmp_path / "a.png"])
    (tmp_path / "a-masklabel.png").write_bytes(_mask())
    job = importing.submit_import(world.desk, [tmp_path / "a.png", tmp_path / "a-masklabel.png"])
    assert [item.file for item in present(job.artifacts.duplicates)] == ["a.png"]
    assert world.store.images.get(imported(world.store)["a.png"]).mask


def test_a_white_mask_is_none(world: World, tmp_path: Path) -> None:
    """Where all counts there is no mask: none is kept, and one that is here already stays."""
    for n, name in enumerate(("a", "b")):
        (tmp_path / f"{name}.png").write_bytes(photo(n))
    (tmp_path / "b-masklabel.png").write_bytes(_mask())
    importing.submit_import(world.desk, sorted(tmp_path.glob("b*")))
    for name in ("a", "b"):
        (tmp_path / f"{name}-masklabel.png").write_bytes(encoded(Image.new("L", (96, 72), 255), "PNG"))
    job = importing.submit_import(world.desk, sorted(tmp_path.glob("*.png")))
    taken = imported(world.store)
    assert (set(taken), present(job.artifacts.masked), job.artifacts.refused) == ({"a.png", "b.png"}, (), ())
    assert not world.store.images.get(taken["a.png"]).mask
    assert world.store.images.get(taken["b.png"]).mask


def test_a_mask_that_does_not_fit_is_named(world: World, tmp_path: Path) -> None:
    """Of another size, or of nothing: it is refused, and the pictures come in. A folder of masks alone is pictures."""
    folder = tmp_path / "in"
    (folder / "masks").mkdir(parents=True)
    (folder / "a.png").write_bytes(photo(1))
    (folder / "a-masklabel.png").write_bytes(_mask((48, 36)))
    (folder / "gone-masklabel.png").write_bytes(_mask())
    (folder / "masks" / "carnival.png").write_bytes(photo(2))
    job = importing.submit_import(world.desk, [folder])
    taken = imported(world.store)
    assert set(taken) == {"a.png", "carnival.png"}
    assert "48×36, its picture 96×72" in refused(job)["in/a-masklabel.png"]
    assert "No picture of this name" in refused(job)["in/gone-masklabel.png"]
    assert not world.store.images.get(taken["a.png"]).mask
