"""What is told before a training takes the card."""

from __future__ import annotations

import shutil
import time

import pytest
from PIL import Image

from engines.api.errors import BadInput, NotFound
from engines.api.protocols import DiskUse
from studio.flywheel.curate import coverage
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.refine import editor as refine
from studio.flywheel.refine import preflight as lessons_preflight
from studio.flywheel.train import character as train
from studio.flywheel.train import preflight as preflights
from studio.flywheel.train import runs
from studio.gpu.budget import Fit
from studio.records.dataset import Entry, Role
from studio.records.image import Kind, Verdict
from studio.records.job import Job, JobState
from tests.studio.conftest import World


def _check(found: preflights.Preflight, words: str) -> coverage.Check:
    (check,) = [each for each in found.checks if words in each.label]
    return check


def _rate(world: World, job: Job) -> float:
    points = runs.progress(world.studio, job.id).points
    return sum(point.seconds for point in points) / len(points)


def test_a_head_seen_from_one_side_is_told(world: World) -> None:
    """One angle of the five is too few; two will do; an unknown one counts as none."""
    told = {}
    cases = {"one": ("front", "front"), "odd": ("front", "upside-down"), "two": ("front", "half-left")}
    for name, angles in cases.items():
        for image, angle in zip(world.sources[:2], angles, strict=True):
            world.store.update_image(image, tags={"angle": angle})
        told[name] = _check(train.preflight(world.desk), "head angles")

    assert {name: check.ok for name, check in told.items()} == {"one": False, "odd": False, "two": True}
    assert "Enrich" in told["one"].hint


def test_disk_counts_checkpoints_and_the_cache(world: World) -> None:
    """Kept, newest and unfinished checkpoints; each entry once, its mirror image, its pictures, the class pictures."""
    params = world.train_params(steps=100, save_every=30)
    entries = [Entry(image="a", caption="ohwx", kind=Kind.SOURCE, repeats=repeats) for repeats in (5, 1)]

    assert preflights.disk_bytes(DiskUse(10, 1000), params, entries) == 5 * 10 + 2 * 1000
    assert preflights.disk_bytes(DiskUse(0, 1000), params.replace(flip=True), entries) == 4 * 1000
    prior, edit = params.replace(prior_weight=1.0, prior_pictures=7), entries[0].replace(references=("b", "c", "d"))
    assert preflights.disk_bytes(DiskUse(0, 1000), prior.replace(resolutions=(32,)), entries) == (2 * 2 + 7) * 1000
    assert preflights.disk_bytes(DiskUse(0, 1000), params, [edit]) == 3 * 1000
    assert preflights.disk_bytes(DiskUse(10, 0), world.train_params(steps=100, save_every=0), entries) == 2 * 10


def test_a_full_disk_stops_a_training_before_it_starts(world: World) -> None:
    """More than is free is refused, with the figures and what to do."""
    free = shutil.disk_usage(world.store.folder).free
    many = free // 1024 + 10_000  # a fake's checkpoint is a KiB

    found = train.preflight(world.desk, world.train_params(steps=many, save_every=1))

    assert not found.ok and found.disk > found.free
    assert "keep fewer checkpoints" in _check(found, "disk").hint
    assert train.preflight(world.desk).ok


def test_masks_are_counted_and_looked_at(world: World) -> None:
    """How many there are; one that leaves next to nothing, or nothing within its crop, is named with its remedy."""
    assert not [each for each in train.preflight(world.desk).checks if "mask" in each.label]
    half, speck = Image.new("L", (64, 64)), Image.new("L", (64, 64))
    half.paste(255, (0, 0, 32, 64))
    speck.paste(255, (0, 0, 4, 4))
    world.store.set_mask(world.sources[0], half)
    fine = train.preflight(world.desk)
    world.store.set_mask(world.sources[1], speck)
    world.store.set_crop(world.sources[0], (0.5, 0, 1, 1))
    found = train.preflight(world.desk)

    assert _check(fine, "1 of 4 pictures have a mask").ok and _check(fine, "every mask leaves").ok
    told = _check(found, "every mask leaves")
    assert _check(found, "2 of 4 pictures have a mask").ok and not told.ok
    assert "0.png 0.0%" in told.hint and "1.png 0.4%" in told.hint and "Curate" in told.hint


def test_masks_that_are_ignored_are_said_to_be(world: World) -> None:
    """Where all outside counts, what a mask leaves is of no matter."""
    speck = Image.new("L", (64, 64))
    speck.paste(255, (0, 0, 4, 4))
    world.store.set_mask(world.sources[0], speck)
    found = train.preflight(world.desk, world.train_params(mask_outside=1.0))
    assert _check(found, "ignored").ok and _check(found, "every mask leaves").ok


def test_a_mask_that_is_not_used_need_not_be_there(world: World) -> None:
    """Where all outside counts, a missing mask stops neither a training nor its extension; else it stops both."""
    world.store.set_mask(world.sources[0], Image.new("L", (64, 64), "white"))
    (world.store.folder / world.store.images.get(world.sources[0]).mask).unlink()
    params = world.train_params(steps=3, mask_outside=1.0)

    assert train.preflight(world.desk, params).ok
    job = world.finish(train.submit(world.desk, params))
    assert world.finish(runs.extend(world.studio, job.id, 4)).step == 4

    assert not train.preflight(world.desk, params.replace(mask_outside=0.5)).ok
    with pytest.raises(NotFound):
        train.submit(world.desk, params.replace(mask_outside=0.5))


def test_time_follows_from_what_was_measured(world: World) -> None:
    """Four times the pixels and twice the examples take eight times as long; a run of the same size is preferred."""
    job = world.finish(train.submit(world.desk))
    rate = _rate(world, job)
    asked = world.train_params(steps=10, resolution=128, gradient_accumulation=2)

    assert rate > 0
    assert train.preflight(world.desk, asked).seconds == pytest.approx(10 * 8 * rate)
    world.finish(train.submit(world.desk, asked.replace(steps=30)))
    (own,) = [each for each in world.studio.jobs.list() if each.payload["params"]["resolution"] == 128]
    world.finish(train.submit(world.desk, world.train_params(seed=9)))
    assert train.preflight(world.desk, asked).seconds == pytest.approx(10 * _rate(world, own))


def test_a_start_that_does_not_fit_is_told_before_and_refused(world: World) -> None:
    """Another model, another rank or alpha, other layers: a check with its remedy, and no job."""
    world.finish(train.submit(world.desk))
    (version,) = world.store.versions.all()
    ranked = world.train_params(rank=8)

    fits = train.preflight(world.desk, start=version.id)
    other = train.preflight(world.desk, ranked, start=version.id)
    elsewhere = train.preflight(world.desk, world.train_params(targets="attention"), start=version.id)
    foreign = train.preflight(world.desk, model="far-away", start=version.id)

    assert _check(fits, "go on from v1").ok
    assert not other.ok and "rank 4 and alpha 4" in _check(other, "go on from v1").hint
    assert not elsewhere.ok and "its targets are all" in _check(elsewhere, "go on from v1").hint
    assert "Train fake-flux" in _check(foreign, "go on from v1").hint
    with pytest.raises(BadInput, match="rank 4"):
        train.submit(world.desk, ranked, start=version.id)
    world.store.versions.put(version.replace(role=Role.EDITOR))
    with pytest.raises(BadInput, match="no character LoRA"):
        train.submit(world.desk, start=version.id)


def test_a_start_whose_file_is_gone_is_told_before(world: World) -> None:
    """The pre-flight refuses what the submit refuses, and says what to do about it."""
    world.finish(train.submit(world.desk, world.train_params(steps=3)))
    (version,) = world.store.versions.all()
    world.store.adapter_path(version.id).unlink()

    found = train.preflight(world.desk, start=version.id)

    with pytest.raises(NotFound) as refused:
        train.submit(world.desk, start=version.id)
    assert not found.ok and _check(found, "the file of the version").hint == str(refused.value)


def test_too_little_to_learn_from_is_told(world: World) -> None:
    """Few lessons, few mended by hand, none held out, nothing refused: each with what to do in Review."""
    found = refine.preflight(world.desk)

    told = [_check(found, words) for words in ("10 edits", "corrected by hand", "test edits", "some edits went wrong")]
    assert not found.ok
    assert [check.ok for check in told] == [False] * 4
    assert all("Review" in check.hint or "review" in check.hint for check in told)


def test_enough_lessons_pass(world: World) -> None:
    """What is held out counts for the measuring, not for the learning; tasks without a fault are named."""
    edits = world.review(approved=40, corrected=5)
    known = refine.lessons(world.desk)
    world.store.update_image(edits[0], asked={"light": "soft"})
    found = refine.preflight(world.desk)

    assert found.ok and all(check.ok for check in found.checks), found.checks
    assert len(found.entries) == 45 - len(known.held_out)
    assert _check(found, "test edits").ok
    wrong = _check(found, "went wrong").label
    assert wrong == "edits of expression went wrong, to learn from; those of lighting are all right already"


def test_lessons_without_words_are_told_and_left_out(world: World) -> None:
    """An edit whose words nobody knows teaches nothing."""
    world.review(corrected=2)
    bare = world.picture(Kind.ENRICHED, 9, parent=world.sources[0])
    world.store.decide(bare, Verdict.GOOD)
    world.store.triplets.put(world.store.triplets.get(bare).replace(held_out=False))
    found = refine.preflight(world.desk)

    assert len(found.entries) == 2
    assert "1 have none" in _check(found, "its instruction").hint


def test_an_editors_memory_is_that_of_its_references(world: World) -> None:
    """As many as the lessons have: the plan is made for these, and a picture that is gone is said to be."""
    world.review(corrected=2)
    entries, params = refine.dataset(world.desk), world.train_params()

    def fit(*references: str) -> Fit:
        shown = [entry.replace(references=references) for entry in entries]
        return lessons_preflight.look(world.desk, params, "fake-edit", shown, ()).fit

    assert fit(*world.sources[:3]).needed - fit(world.sources[0]).needed == 2 * (8 << 20)
    assert not fit("gone").ok and "gone" in fit("gone").words


def test_an_editors_time_has_its_before_and_after(world: World) -> None:
    """By the steps of the last training, not by the edits that it ended with, and by an edit's own time for these."""
    world.review(approved=40)
    job = world.finish(refine.submit(world.desk))
    steps = job.payload["params"]["steps"]
    alone = refine.preflight(world.desk).seconds
    assert alone == pytest.approx(steps * _rate(world, job))

    world.watch(lambda _: time.sleep(0.02))
    world.finish(enrich.submit(world.desk, enrich.plan(world.desk, limit=3).rows))
    redone = 2 * len(job.payload["held_out"])
    (drawn,) = [each for each in world.studio.jobs.list() if each.kind == "enrich" and each.state is JobState.DONE]
    assert refine.preflight(world.desk).seconds == pytest.approx(alone + redone * drawn.rate, abs=0.06)


def test_an_editor_is_no_generator(world: World) -> None:
    """A character trained on an editor, or on what learns nothing: no job, and a check that names what fits."""
    for model in ("fake-edit", "fake-identity"):
        found = train.preflight(world.desk, model=model)
        told = _check(found, f"{model} can learn this")
        assert not found.ok and not told.ok
        assert "fake-flux" in told.hint and "fake-edit" not in told.hint.partition("Choose")[2]
        with pytest.raises(BadInput, match="no generator") as error:
            train.submit(world.desk, model=model)
        assert "fake-flux" in error.value.hint
    assert world.studio.jobs.list() == []
    assert not [each for each in train.preflight(world.desk).checks if "can learn" in each.label]


def test_a_generator_is_no_editor(world: World) -> None:
    """The same the other way round, before a lesson is frozen."""
    world.review(approved=40, corrected=5)
    found = refine.preflight(world.desk, model="fake-flux")

    assert not found.ok and "fake-edit" in _check(found, "fake-flux can learn this").hint
    with pytest.raises(BadInput, match="no editor"):
        refine.submit(world.desk, model="fake-flux")
    assert (world.studio.jobs.list(), world.store.datasets.all()) == ([], [])
    assert refine.preflight(world.desk).ok


def test_a_caption_that_names_what_is_constant_is_told(world: World) -> None:
    """The words that give the character away are named with the remedy: a warning, as it can still be trained."""
    assert _check(train.preflight(world.desk), "never changes").ok
    world.store.update_image(world.sources[0], caption="ohwx person with blue eyes and freckles, front view")

    found = train.preflight(world.desk)

    told = _check(found, "never changes")
    assert not told.ok and found.ok
    assert all(word in told.hint for word in ("blue eyes", "freckles", "Take out", "ohwx"))


def test_what_training_cuts_off_is_named_with_its_share(world: World) -> None:
    """A picture far too long, until it is cropped; nothing is said where nothing is lost."""
    assert not [each for each in train.preflight(world.desk).checks if "cut" in each.label]
    tall = world.store.add_image(Image.linear_gradient("L").resize((64, 192)), kind=Kind.SOURCE, name="body.png").id
    params = world.train_params(resolution=1024)

    told = _check(train.preflight(world.desk, params), "cut")
    world.store.set_crop(tall, (0.0, 0.0, 1.0, 0.5))
    after = train.preflight(world.desk, params)

    assert not told.ok and "body.png 30%" in told.hint and "Curate" in told.hint and "0.png" not in told.hint
    assert not [each for each in after.checks if "cut" in each.label]


def test_what_is_not_read_to_its_end_is_named(world: World) -> None:
    """A caption longer than the encoders read: the picture's name and what to do; not known where the model is not."""
    assert _check(train.preflight(world.desk), "longer than the model reads").ok
    world.store.update_image(world.sources[2], caption="ohwx person, " + "smiling " * 100)

    found = _check(train.preflight(world.desk), "longer than the model reads")
    assert not found.ok and "2.png" in found.hint and "1.png" not in found.hint
    unknown = _check(train.preflight(world.desk, model="far-away"), "longer than the model reads")
    assert not unknown.ok and "Not known yet" in unknown.hint and "pull far-away" in unknown.hint


def test_what_comes_from_the_trash_is_told(world: World) -> None:
    """Edits of a thrown away original, and edits of these, go on teaching: both trainings say how many."""
    edits = world.review(approved=20, corrected=2)
    again = world.picture(Kind.ENRICHED, 99, parent=edits[0])
    world.store.decide(again, Verdict.GOOD)
    lessons = refine.lessons(world.desk)
    told = [train.preflight(world.desk), refine.preflight(world.desk)]
    assert not [check for found in told for check in found.checks if "trash" in check.label]

    world.store.trash([world.sources[0]])
    mine = _check(train.preflight(world.desk), "trash")
    editors = _check(refine.preflight(world.desk), "trash")

    teaching = sum(entry.kind != "source" for entry in train.dataset(world.desk))
    assert not mine.ok and mine.hint.startswith(f"{teaching} of ")
    assert f"{len(lessons.learned)} of {len(lessons.learned)} that teach" in editors.hint
    assert f"{len(lessons.held_out)} of {len(lessons.held_out)} that the editor is measured by" in editors.hint
    world.store.restore([world.sources[0]])
    assert not [check for check in train.preflight(world.desk).checks if "trash" in check.label]
