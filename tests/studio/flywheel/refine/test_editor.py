"""Refinement: what reviews taught, how the editor learns it, and whether it helped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from engines.api.errors import BadInput
from engines.api.params import EditParams, TrainParams
from engines.api.protocols import EditItem
from engines.training import runfile
from studio.api.api import Api
from studio.flywheel.refine import editor as refine
from studio.judging.gallery import score_images
from studio.judging.statistics import median
from studio.records.dataset import Role
from studio.records.image import Kind, Verdict
from studio.records.job import JobState
from studio.records.payload import TrainPayload
from studio.records.version import Version, VersionState
from tests.studio.conftest import World, present


def test_golden_lessons_count_three_times(world: World) -> None:
    """A corrected edit is in the dataset thrice, with the edit's own words and its source as reference."""
    world.review(approved=1, corrected=1)

    golden, positive = sorted(refine.dataset(world.desk), key=lambda entry: entry.kind)

    assert (golden.kind, golden.repeats) == ("golden", 3)
    assert (positive.kind, positive.repeats) == ("positive", 1)
    assert golden.references == positive.references == (world.sources[0],)
    assert "make the person" in positive.caption


def test_held_out_edits_are_never_learned(world: World) -> None:
    """What the before/after is measured on is in no dataset."""
    world.review(approved=40)

    known = refine.lessons(world.desk)
    learned = {entry.image for entry in refine.dataset(world.desk)}

    assert known.held_out
    assert not learned & {triplet.result for triplet in known.held_out}
    assert len(known.held_out) + len(learned) == 40


def test_a_run_ends_with_an_editor_version_and_its_before_and_after(world: World) -> None:
    """The version is a candidate; the same held-out edits were done without and with it."""
    world.review(approved=40)

    job = world.finish(refine.submit(world.desk))

    (version,) = world.store.versions.all()
    edits = present(version.metrics.edits)
    assert (version.role, version.state) == (Role.EDITOR, VersionState.CANDIDATE)
    assert edits.n == len(present(job.artifacts.before)) == len(present(job.artifacts.after)) <= refine.HELD_OUT
    assert job.artifacts.before != job.artifacts.after
    assert {world.store.images.get(pair.after).kind for pair in edits.pairs} == {Kind.PREVIEW}
    assert {world.store.images.get(pair.after).version for pair in edits.pairs} == {version.id}
    assert 0 <= present(edits.before.accepted) <= 1
    assert 0 <= edits.p <= 1


def test_the_same_key_leaves_the_first_training_as_it_is(world: World) -> None:
    """Submitted again with other parameters, it is answered as it was, and its run file stays."""
    world.review(approved=2)
    params = world.studio.registry.spec("fake-edit").params(TrainParams, steps=3)
    job = world.finish(refine.submit(world.desk, params, key="k"))
    file = world.store.run_dir(job.id) / runfile.RUN
    file.unlink()

    assert refine.submit(world.desk, params.replace(steps=4), key="k") == job

    assert not file.exists()


def _trained(world: World, originals: int = 4) -> Version:
    world.review(approved=40)
    world.store.trash(world.sources[originals:])
    world.finish(refine.submit(world.desk))
    (version,) = world.store.versions.all()
    return version


def test_with_too_few_originals_no_edit_is_known_to_have_kept_the_person(world: World) -> None:
    """None is accepted on either side; there is no rate, no better and no worse."""
    edits = present(_trained(world, originals=2).metrics.edits)

    for side in (edits.before, edits.after):
        assert {axes["identity"] for axes in side.outcomes} == {"unknown"}
        assert side.accepted in (None, 0.0)
    assert (edits.better, edits.worse, edits.p) == (0, 0, 1.0)


def test_a_second_training_measures_its_edits_before_by_the_scorer_of_now(world: World) -> None:
    """Without a new LoRA the same pictures are drawn again; their likeness is measured anew, not remembered."""
    world.studio.library.update(world.id, scorer="far-away")
    first = _trained(world)
    world.studio.library.update(world.id, scorer="fake-identity")
    world.finish(refine.submit(world.desk, world.studio.registry.spec("fake-edit").params(TrainParams, seed=7)))

    second = world.store.versions.all()[-1]

    one, two = (present(each.metrics.edits) for each in (first, second))
    assert [pair.before for pair in one.pairs] == [pair.before for pair in two.pairs] != []
    fresh = score_images(world.desk, [pair.before for pair in two.pairs])
    known = [value for value in fresh.values() if value is not None]
    assert one.before.identity_median is None
    assert two.before.identity_median == round(median(known), 4)


def _as_an_older_studio(world: World, version: Version, created: str, *sides: Sequence[Mapping[str, str]]) -> Version:
    """The version with figures of before: unknown counted as refused, and it does not say how many originals."""
    stored = version.replace(created=created).to_json()
    edits = stored["metrics"]["edits"]
    del edits["originals"], edits["judged"]
    edits["n"] = len(sides[0])
    for side, outcomes in zip(("before", "after"), sides, strict=True):
        edits[side] = {"accepted": 1.0, "low": 0, "high": 1, "identity_median": 0.5, "outcomes": outcomes}
    return world.store.versions.put(Version.from_json(stored))


def test_an_older_versions_figures_are_made_again_from_its_outcomes(world: World) -> None:
    """Edits that nobody could judge are left out of the rates and of the comparison, wherever it is asked for."""
    found, stranger, faceless = ({"identity": outcome} for outcome in ("pass", "fail", "unknown"))
    before, after = [found, stranger, faceless], [found, found, found]
    _as_an_older_studio(world, _trained(world), "2000-01-01", before, after)

    (told,) = Api(world.studio).version_list(world.id)["versions"]

    edits = told["metrics"]["edits"]
    assert (edits["before"]["accepted"], edits["before"]["judged"], edits["before"]["unknown"]) == (0.5, 2, 1)
    assert (edits["after"]["accepted"], edits["judged"], edits["better"], edits["worse"]) == (1.0, 2, 1, 0)


def test_an_older_version_of_too_few_originals_accepted_nobody_for_sure(world: World) -> None:
    """All passed then, and at that time there was no original to know them by."""
    everybody = [{"identity": "pass", "pose": "pass"}] * 3
    version = _as_an_older_studio(world, _trained(world), "2000-01-01", everybody, everybody)

    edits = present(refine.as_judged(world.store, version).metrics.edits)

    assert [edits.before.accepted, edits.after.accepted] == [None, None]


def _hold_out_drafts(world: World, model: str) -> None:
    """Approved edits that took one step through a few-step adapter."""
    for edit in world.review(approved=12):
        drawn = {**world.store.images.get(edit).params, "steps": 1, "few_steps": True}
        world.store.update_image(edit, model=model, params=drawn)
        world.store.triplets.put(world.store.triplets.get(edit).replace(params=drawn))


def test_drafts_are_previewed_with_the_models_own_steps(world: World) -> None:
    """A training has no few-step adapter, and not every schedule can be followed in one step: words and seed stay."""
    _hold_out_drafts(world, "fake-edit")
    job = refine.submit(world.desk)

    held_out = [EditParams.from_json(triplet["params"]) for triplet in job.payload["held_out"]]
    previews = runfile.read(world.store.run_dir(job.id)).run.previews

    shown = [each.params for each in previews if isinstance(each, EditItem)]
    assert shown == [asked.replace(steps=2, few_steps=False) for asked in held_out[:2]] != []
    assert len(shown) == len(previews)


@pytest.mark.parametrize(("model", "steps"), [("fake-edit", 1), ("another-edit", 2)])
def test_the_before_and_after_asks_again_as_its_model_can(world: World, model: str, steps: int) -> None:
    """With the knobs of the edit where this model made it, with its own where another did."""
    _hold_out_drafts(world, model)
    job = world.finish(refine.submit(world.desk))

    images = (*present(job.artifacts.before), *present(job.artifacts.after))
    redone = [world.store.images.get(image).params for image in images]

    assert {params["steps"] for params in redone} == {steps}


def test_without_held_out_edits_the_version_says_so(world: World) -> None:
    """Nothing is measured on what was learned."""
    world.review(corrected=2)

    world.finish(refine.submit(world.desk))

    (version,) = world.store.versions.all()
    assert present(version.metrics.edits).n == 0


def test_a_stopped_before_and_after_goes_on(world: World) -> None:
    """A cancel after the training keeps the version; resume finishes the comparison without a second one."""
    world.review(approved=40)
    job = world.cancel_when(refine.submit(world.desk), lambda now: len(now.artifacts.before or ()) >= 2)
    assert job.state is JobState.CANCELLED

    done = world.finish(world.studio.jobs.resume(job.id))

    (version,) = world.store.versions.all()
    assert done.state is JobState.DONE
    assert present(version.metrics.edits).n == len(present(done.artifacts.before))


def test_a_source_that_is_lost_meanwhile_shifts_no_pair(world: World) -> None:
    """The comparison goes on without it: each edit is still compared with the same edit of the same source."""
    world.review(approved=40)
    for at, lesson in enumerate(refine.lessons(world.desk).held_out):
        world.store.triplets.put(lesson.replace(source=world.sources[at % 2]))
    job = world.cancel_when(refine.submit(world.desk), lambda now: len(now.artifacts.before or ()) >= 2)
    (first, *others) = TrainPayload.of(job).held_out or ()
    world.store.path(first.source).unlink()

    world.finish(world.studio.jobs.resume(job.id))

    (version,) = world.store.versions.all()
    pairs = present(version.metrics.edits).pairs
    there = [each for each in others if each.source != first.source]
    assert there and {each.id for each in there} <= {pair.triplet for pair in pairs}
    for pair in pairs:
        source = world.store.triplets.get(pair.triplet).source
        assert {world.store.images.get(each).parent for each in (pair.before, pair.after)} == {source}


def test_adopt_and_roll_back(world: World) -> None:
    """An adopted editor is used until it is rolled back."""
    world.review(corrected=1)
    world.finish(refine.submit(world.desk))
    (version,) = world.store.versions.all()

    refine.adopt(world.desk, version.id)
    adopted = world.store.adopted(Role.EDITOR)
    refine.roll_back(world.desk, version.id)

    assert adopted is not None
    assert adopted.id == version.id
    assert world.store.adopted(Role.EDITOR) is None


def test_an_undone_verdict_takes_its_lesson_back(world: World) -> None:
    """What is no longer approved is no longer taught."""
    (image,) = world.review(approved=1)
    world.store.decide(image, Verdict.REJECT)

    assert refine.dataset(world.desk) == []
    with pytest.raises(BadInput, match="no edit to learn from"):
        refine.submit(world.desk)


def cropped_edits(world: World, count: int) -> list[str]:
    """Approved edits of the left half of the first source, which is cropped no longer."""
    left = {"source_crop": (0.0, 0.0, 0.5, 1.0)}
    for n, image in enumerate(world.review(approved=count)):
        world.store.update_image(image, **left, width=32, name=f"{n}")
    return world.sources[:1]


def test_a_lesson_starts_from_the_part_that_was_edited(world: World) -> None:
    """The dataset, the run's files, its previews and the redone edits take the crop of then, whatever it is now."""
    (source,) = cropped_edits(world, 40)
    left = world.store.open_whole(source).crop((0, 0, 32, 64))
    world.store.set_crop(source, (0.0, 0.0, 1.0, 0.5))

    job = world.finish(refine.submit(world.desk))

    run = runfile.read(world.store.run_dir(job.id)).run
    assert {item.source_crop for item in run.items} == {(0.0, 0.0, 0.5, 1.0)}
    sources = [preview.source.tobytes() for preview in run.previews if isinstance(preview, EditItem)]
    assert sources == [left.tobytes()] * len(run.previews) == [left.tobytes()] * 2
    images = (*present(job.artifacts.before), *present(job.artifacts.after))
    redone = [world.store.images.get(image) for image in images]
    assert {(each.width, each.height, each.source_crop) for each in redone} == {(32, 64, (0.0, 0.0, 0.5, 1.0))}
