"""One picture whose file is gone or damaged: the rest is done, and the picture is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from engines.api.errors import BadInput, NotFound
from studio.api.api import Api
from studio.flywheel import card, generate
from studio.flywheel.curate import captions
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.judging import gallery as scoring
from studio.records.image import Kind
from studio.records.job import JobState, Without
from tests.studio.conftest import World, present


def gone(path: Path) -> None:
    """Nothing is there."""
    path.unlink()


def folder(path: Path) -> None:
    """A folder is in its place."""
    path.unlink()
    path.mkdir()


def garbage(path: Path) -> None:
    """The bytes are no picture."""
    path.write_bytes(b"\0" * 900)


def other(path: Path) -> None:
    """Another picture is in its place."""
    Image.new("RGB", (64, 64), "red").save(path)


RUINS = pytest.mark.parametrize("ruin", [gone, folder, garbage, other])
Ruin = Callable[[Path], None]


@pytest.fixture
def ruined(world: World, ruin: Ruin) -> str:
    """The second original, its file ruined."""
    image: str = world.sources[1]
    ruin(world.store.path(image))
    return image


@RUINS
def test_captions_are_written_for_the_others(world: World, ruined: str) -> None:
    """Three of four are captioned; event, artifact and message name the fourth and say why."""
    job = world.finish(captions.submit_caption(world.desk, world.sources, overwrite_human=True))

    assert set(present(job.artifacts.captioned)) == set(world.sources) - {ruined}
    assert [left.name for left in present(job.artifacts.left_out)] == ["1.png"]
    assert job.message.startswith("done, 1 of 4 left out: 1.png: The picture file ")
    assert any("1.png was left out" in words for words in world.warnings(job.id))


@RUINS
def test_edits_are_made_of_the_others(world: World, ruined: str) -> None:
    """A source that cannot be opened costs its own rows, each counted."""
    rows = enrich.plan(world.desk, limit=8).rows
    lost = sum(row.source == ruined for row in rows)

    job = world.finish(enrich.submit(world.desk, rows))

    assert lost > 0
    assert len(present(job.artifacts.images)) == len(rows) - lost
    assert job.message.startswith(f"done, {lost} of {len(rows)} left out: 1.png")
    assert ruined not in {world.store.images.get(image).parent for image in present(job.artifacts.images)}
    assert enrich.plan(world.desk, limit=2).count == 2


@RUINS
def test_pictures_and_cards_are_judged_by_the_others(world: World, ruined: str) -> None:
    """An original that cannot be opened is no part of the gallery; the job says so and is done."""
    items = generate.scene_items(world.desk, 2)

    job = world.finish(generate.submit(world.desk, items))
    shown = world.finish(card.submit(world.desk, seeds=(0,)))

    for each in (job, shown):
        assert [left.name for left in present(each.artifacts.not_compared)] == ["1.png"]
        assert "1 not compared with: 1.png" in each.message
    assert set(scoring.gallery(world.desk).ids) == set(world.sources) - {ruined}
    done = scoring.score_images(world.desk, [*present(job.artifacts.images), ruined])
    assert set(done) == set(present(job.artifacts.images))


@RUINS
def test_a_training_does_without_it_and_its_preflight_says_so(world: World, ruined: str) -> None:
    """Pre-flight and submit agree: both go on with the other pictures, and the check names the one left out."""
    api = Api(world.studio)
    told = api.train_preflight(world.id)["preflight"]
    queued = api.train_submit(world.id, {"steps": 2})

    assert (told["ok"], queued["ok"]) == (True, True)
    (check,) = [each for each in told["checks"] if each["label"] == "every picture's file can be read"]
    assert not check["ok"]
    assert "1.png" in check["hint"]
    entries = world.store.datasets.get(world.studio.jobs.get(queued["job_id"]).payload["dataset"]).entries
    assert {entry.image for entry in entries} == set(world.sources) - {ruined}
    world.finish(world.studio.jobs.get(queued["job_id"]))


@RUINS
def test_an_editor_learns_from_the_other_edits(world: World, ruin: Ruin) -> None:
    """A lesson without one of its pictures is left out and named, also one that the editor would be measured by."""
    world.review(approved=16)
    lessons = refine.lessons(world.desk)
    assert lessons.held_out
    result = lessons.learned[0].result
    ruin(world.store.path(result))

    told = refine.preflight(world.desk)
    job = world.finish(refine.submit(world.desk))

    assert told.ok
    assert any(not check.ok and result[:12] in check.hint for check in told.checks)
    frozen = world.store.datasets.get(job.payload["dataset"]).entries
    assert result not in {entry.image for entry in frozen}
    assert len(frozen) == len(lessons.learned) - 1


@RUINS
def test_nothing_left_is_a_failure_in_words(world: World, ruined: str) -> None:
    """A job of which nothing could be done is not done."""
    job = world.finish(captions.submit_caption(world.desk, [ruined], overwrite_human=True), JobState.FAILED)

    assert job.error.code == "bad_input"
    assert "1.png" in job.error.message


@RUINS
def test_scripts_see_the_others_and_can_trash_it(world: World, ruined: str) -> None:
    """Lists answer; the picture's own record says what is wrong; trashed, nothing asks for its file any more."""
    api = Api(world.studio)
    pending = world.picture(Kind.SYNTHETIC, 1)
    world.store.path(pending).unlink()
    world.picture(Kind.SYNTHETIC, 2)

    assert len(api.image_list(world.id)["images"]) == 6
    assert api.coverage(world.id)["ok"]
    shown = api.review_next(world.id, count=5)["images"]
    assert sorted(bool(image["trouble"]) for image in shown) == [False, True]
    assert api.image_get(world.id, pending)["image"]["trouble"].startswith("The picture file ")
    assert api.image_trash(world.id, [ruined])["images"][0]["trashed"]
    assert len(api.image_list(world.id, kind="source")["images"]) == 3
    checks = api.train_preflight(world.id)["preflight"]["checks"]
    assert "every picture's file can be read" not in {check["label"] for check in checks}
    assert api.image_restore(world.id, [ruined])["images"][0]["trashed"] == ""


def test_a_mask_that_is_gone_stops_preflight_and_submit(world: World) -> None:
    """Without its mask all of a picture would be learned: both say no, and which."""
    record = world.store.set_mask(world.sources[0], Image.new("L", (64, 64), 255))
    world.store.file(record.mask).unlink()

    told = train.preflight(world.desk)

    assert not told.ok
    assert any(not check.ok and "0.png" in check.hint for check in told.musts)


def test_a_thumbnail_that_is_gone_is_made_again(world: World) -> None:
    """Where only the thumbnail is gone nothing is lost."""
    thumb = world.store.thumb(world.sources[0])
    thumb.unlink()

    assert world.store.thumb(world.sources[0]).is_file()


def test_trouble_is_seen_when_it_comes_and_when_it_goes(world: World) -> None:
    """A file that is put back is good again, without a restart."""
    path = world.store.path(world.sources[0])
    data = path.read_bytes()

    assert world.store.trouble(world.sources[0]) is None
    path.write_bytes(data[:-9])
    assert isinstance(world.store.trouble(world.sources[0]), BadInput)
    path.unlink()
    assert isinstance(world.store.trouble(world.sources[0]), NotFound)
    path.write_bytes(data)
    assert world.store.trouble(world.sources[0]) is None


def test_a_picture_that_is_drawn_again_is_said_to_be(world: World) -> None:
    """The same content answers the record that it has: the result says so, and whether it lies in the trash."""
    items = generate.scene_items(world.desk, 2)
    first = world.finish(generate.submit(world.desk, items))
    world.store.trash(present(first.artifacts.images)[:1])

    second = world.finish(generate.submit(world.desk, items))

    assert first.artifacts.again is None
    assert second.artifacts.images == first.artifacts.images
    assert tuple(each.image for each in present(second.artifacts.again)) == first.artifacts.images
    assert [each.why for each in present(second.artifacts.again)] == ["it is in the trash", "it was there before"]
    assert second.message.startswith("done, 2 of 2 drawn again: ")


def test_what_one_picture_costs_adds_up(world: World) -> None:
    """Edits of two crops of one source are all counted; an original that nothing is compared with is one."""
    job = enrich.submit(world.desk, enrich.plan(world.desk, limit=8).rows)
    ctx, error = world.context(job), NotFound("It is gone.", "Put it back.")

    for items in (2, 3):
        ctx.leave_out(world.sources[1], error, items=items)
        ctx.leave_out(world.sources[1], error, what=Without.NOT_COMPARED)

    assert ctx.job.summary() == "done, 5 of 8 left out: 1.png: It is gone.. 1 not compared with: 1.png: It is gone."
