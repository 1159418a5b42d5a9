"""Originals that are almost the same picture: the best stays free of the advice."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageFilter, ImageOps

from engines.pictures import open_picture
from studio.flywheel.curate import bulk, importing, twins
from studio.flywheel.curate.twins import TWIN
from tests.studio.conftest import World, present
from tests.studio.drops import photo
from tests.studio.flywheel.curate.test_importing import imported


def soft(data: bytes) -> bytes:
    """The same picture, out of focus."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").filter(ImageFilter.GaussianBlur(2)).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_sharp_one_is_kept_whatever_its_name(world: World, tmp_path: Path) -> None:
    """The soft twin comes first and is called a duplicate when the sharp one is there; the report says so."""
    sharp = photo(1, (256, 256))
    (tmp_path / "a_soft.png").write_bytes(soft(sharp))
    (tmp_path / "b_sharp.png").write_bytes(sharp)
    job = importing.submit_import(world.desk, [tmp_path])
    ids = imported(world.store)
    images = world.store.images
    assert TWIN not in images.get(ids["b_sharp.png"]).advice
    assert images.get(ids["a_soft.png"]).advice[TWIN].endswith("b_sharp.png")
    told = {each.file: each.words for each in present(job.artifacts.advice)}
    assert "b_sharp.png" in told["a_soft.png"]


def test_the_advice_goes_with_the_twin(world: World, tmp_path: Path) -> None:
    """The one that is left is no duplicate; when the other comes back, it is again."""
    sharp = photo(1, (256, 256))
    (tmp_path / "a_soft.png").write_bytes(soft(sharp))
    (tmp_path / "b_sharp.png").write_bytes(sharp)
    importing.submit_import(world.desk, [tmp_path])
    ids, images = imported(world.store), world.store.images
    bulk.throw(world.desk, [ids["b_sharp.png"]])
    assert TWIN not in images.get(ids["a_soft.png"]).advice
    assert bulk.undo_throw(world.desk) == [ids["b_sharp.png"]]
    assert TWIN in images.get(ids["a_soft.png"]).advice
    bulk.throw(world.desk, [ids["b_sharp.png"]])
    bulk.restore(world.desk, [ids["b_sharp.png"]])
    assert TWIN in images.get(ids["a_soft.png"]).advice


@pytest.fixture
def cut(world: World, photos: Path, tmp_path: Path) -> World:
    """A character with three photographs, a fifth cut off one and another inside a screenshot."""
    for name in ("astronaut.png", "coffee.png", "grace_hopper.jpg"):
        (tmp_path / name).write_bytes((photos / name).read_bytes())
    open_picture(photos / "astronaut.png").crop((100, 0, 512, 412)).save(tmp_path / "cut.png")
    screen = Image.new("RGB", (585, 1266), "white")
    screen.paste(ImageOps.contain(open_picture(photos / "coffee.png"), (585, 800)), (0, 210))
    screen.save(tmp_path / "screen.jpg")
    importing.submit_import(world.desk, [tmp_path])
    return world


def test_a_part_of_a_photograph_and_a_screenshot_are_copies(cut: World) -> None:
    """What a perceptual hash cannot see is found by local features, and different photographs are left in peace."""
    ids, images = imported(cut.store), cut.store.images
    told = {name: images.get(each).advice.get(TWIN, "").rpartition(" ")[2] for name, each in ids.items()}
    pairs = {frozenset((name, twin)) for name, twin in told.items() if twin}
    assert pairs == {frozenset(("cut.png", "astronaut.png")), frozenset(("screen.jpg", "coffee.png"))}


def test_a_pair_is_compared_once(cut: World) -> None:
    """What was found is kept, goes with the trash and comes back; damaged files of it are made anew."""
    ids = imported(cut.store)
    folder = cut.store.folder / "runs" / "copies"
    found = folder / "found.json"
    before = found.read_bytes()
    (folder / f"{ids['cut.png']}.npz").write_bytes(b"half")
    twins.compare(cut.store)
    assert (found.read_bytes(), (folder / f"{ids['cut.png']}.npz").read_bytes()) == (before, b"half")
    bulk.throw(cut.desk, [ids["astronaut.png"], ids["screen.jpg"]])
    assert not any(TWIN in image.advice for image in cut.store.images.all() if not image.trashed)
    bulk.undo_throw(cut.desk)
    found.write_bytes(b"{}")
    twins.compare(cut.store)
    assert found.read_bytes() == before
