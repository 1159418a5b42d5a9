"""A new try in a painted area alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engines.api.errors import BadInput, NotFound
from studio.flywheel.enrich import area
from studio.flywheel.enrich import edits as enrich
from studio.records.image import Kind, Verdict
from studio.records.payload import PlanRow
from tests.studio.conftest import World


def painted(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """An area that is one box."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle(box, fill=255)
    return mask


def test_outside_the_area_nothing_changes_and_its_edge_is_soft() -> None:
    """To the bit outside, the new picture in the middle, between the two at the edge; a thin stroke counts, too."""
    wrong, redone = Image.new("RGB", (200, 200), (10, 20, 30)), Image.new("RGB", (200, 200), (210, 220, 230))
    mask = painted((200, 200), (50, 50, 149, 149))
    made = np.asarray(area.within(wrong, redone, mask))
    outside = np.asarray(mask) == 0
    assert (made[outside] == (10, 20, 30)).all()
    assert tuple(made[100, 100]) == (210, 220, 230)
    assert 10 < made[100, 51, 0] < 210
    thin = np.asarray(area.within(wrong, redone, painted((200, 200), (99, 0, 101, 199))))
    assert tuple(thin[100, 100]) == (210, 220, 230)
    assert (thin[:, :99] == (10, 20, 30)).all()


def test_a_whole_picture_and_another_size_fit() -> None:
    """The picture's border is no edge of the area, and the result has the wrong picture's size."""
    wrong, redone = Image.new("RGB", (60, 40)), Image.new("RGB", (120, 80), (200, 200, 200))
    made = area.within(wrong, redone, Image.new("L", (60, 40), 255))
    assert made.size == (60, 40)
    assert made.getextrema() == ((200, 200),) * 3


def test_only_the_painted_area_of_a_wrong_edit_is_redone(world: World) -> None:
    """The result keeps every pixel outside the area, and says which edit it mends and where."""
    world.finish(enrich.submit(world.desk, enrich.plan(world.desk, limit=1).rows))
    (wrong,) = world.store.select(Kind.ENRICHED)
    world.store.decide(wrong.id, Verdict.NEEDS_CORRECTION)
    mask = painted((wrong.width, wrong.height), (0, 0, wrong.width // 2, wrong.height // 2))
    world.finish(enrich.retry(world.desk, wrong.id, {"instruction": "other words"}, mask))
    made = next(each for each in world.store.select(Kind.ENRICHED) if each.id != wrong.id)
    assert (made.mends, made.parent, bool(made.area)) == (wrong.id, wrong.parent, True)
    before, after = (np.asarray(world.store.open_whole(each.id)) for each in (wrong, made))
    outside = np.asarray(mask) == 0
    assert (before[outside] == after[outside]).all()
    assert (before != after).any()


def test_a_row_names_no_file_of_its_own(world: World) -> None:
    """An area is a stored mask of a result that is known: nothing else of the disk is opened for it."""
    (row,) = enrich.plan(world.desk, limit=1).rows
    image = world.picture(Kind.ENRICHED, 50, parent=world.sources[0])
    for mends, file in ((image, "../../secret.png"), (image, "images/x.png"), ("", "masks/ab/abcd.png")):
        with pytest.raises(BadInput, match="stored mask"):
            enrich.submit(world.desk, [row.replace(mends=mends, area=file)])


def test_an_area_is_looked_at_before_it_is_queued(world: World) -> None:
    """A mask that is missing or has another size, and a result whose file is gone, cost no time of the editor."""
    (row,) = enrich.plan(world.desk, limit=1).rows
    image = world.picture(Kind.ENRICHED, 50, parent=world.sources[0])
    mask = world.store.keep_area(image, Image.new("L", (64, 64), 255))
    other = world.store.add_image(Image.new("RGB", (32, 64)), kind=Kind.ENRICHED).id
    with pytest.raises(NotFound, match=r"rows\[0\]: .*masks/ab/abcd\.png is missing"):
        enrich.submit(world.desk, [row.replace(mends=image, area="masks/ab/abcd.png")])
    with pytest.raises(BadInput, match=r"rows\[0\]: The area is 64×64, the result that the row mends 32×64"):
        enrich.submit(world.desk, [row.replace(mends=other, area=mask)])
    world.store.path(image).unlink()
    with pytest.raises(NotFound, match="is missing"):
        enrich.submit(world.desk, [row.replace(mends=image, area=mask)])
    assert world.studio.jobs.list() == []


def test_two_areas_of_one_edit_are_two_rows_of_a_resumed_job(world: World) -> None:
    """Source, words and seed are the same; the one that is done does not stand for the other."""
    world.finish(enrich.submit(world.desk, enrich.plan(world.desk, limit=1).rows))
    (wrong,) = world.store.select(Kind.ENRICHED)
    boxes = ((0, 0, 20, 20), (40, 40, 60, 60))
    areas = [world.store.keep_area(wrong.id, painted((wrong.width, wrong.height), box)) for box in boxes]
    row = PlanRow(source=wrong.parent, params={**wrong.params, "instruction": "other words"}, mends=wrong.id)
    job = enrich.submit(world.desk, [row.replace(area=area) for area in areas])
    world.cancel_when(job, lambda job: len(job.artifacts.images or ()) == 1)

    done = world.finish(world.studio.jobs.resume(job.id))

    assert [world.store.images.get(image).area for image in done.artifacts.images or ()] == areas
