"""Originals that are almost the same picture: the best stays free of the advice."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageFilter

from studio.flywheel.curate import bulk, importing
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
