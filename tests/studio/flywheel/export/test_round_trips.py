"""Each layout of datasets out and in again: pictures, words, masks and edits are counted, and nothing is lost."""

from __future__ import annotations

from collections import Counter

import pytest
from PIL import Image

from engines.api.params import EditParams
from studio.flywheel.curate.importing import submit_import
from studio.flywheel.export.export import export_dataset
from studio.flywheel.export.layouts import LAYOUTS
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.records.dataset import Role
from studio.records.image import Kind, Verdict
from studio.records.job import Job
from studio.store import Store
from tests.studio.conftest import World, present


def came_back(world: World, layout: str, role: Role) -> tuple[Job, Store]:
    """The import of a layout's zip into another character, and that character's store."""
    entries = {Role.CHARACTER: train.dataset, Role.EDITOR: refine.dataset}[role](world.desk)
    file = export_dataset(world.desk, layout, role, entries)
    other = world.studio.library.create("Ada", editor="fake-edit")
    return submit_import(world.studio.desk(other.id), [file]), world.studio.store(other.id)


def half(left: int) -> Image.Image:
    """A mask of which a part counts."""
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, left, 64))
    return mask


def pixels(store: Store, image: str) -> bytes:
    """A picture's pixels within its crop."""
    return store.open_image(image).tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_characters_pictures_come_back(world: World, layout: str) -> None:
    """Of originals, edits and a correction: as many pictures, words and masks; no file of ours is refused."""
    world.review(approved=12, corrected=1)
    world.store.set_mask(world.sources[0], half(32))
    world.store.set_mask(world.store.select(Kind.ENRICHED, Verdict.GOOD)[0].id, half(16))
    world.store.set_crop(world.sources[1], (0.25, 0, 1, 0.5))
    job, there = came_back(world, layout, Role.CHARACTER)

    entries = train.dataset(world.desk)
    often = max(entry.repeats for entry in entries)
    assert len(entries) == 17 and often > 1
    images = [there.images.get(each) for each in present(job.artifacts.imported)]
    mine = Counter((pixels(world.store, each.image), each.caption, bool(each.mask)) for each in entries)
    assert Counter((pixels(there, each.id), each.caption, bool(each.mask)) for each in images) == mine
    assert len(present(job.artifacts.masked)) == 2
    assert (job.artifacts.refused, job.artifacts.duplicates, job.artifacts.paired) == ((), (), ())
    assert [each.words for each in present(job.artifacts.advice) if "epoch" in each.words] == [
        f"A trainer shows its pictures {often} times an epoch; here each training balances them itself."
    ]


@pytest.mark.parametrize("layout", [name for name, layout in LAYOUTS.items() if layout.references])
def test_edits_come_back_as_lessons(world: World, layout: str) -> None:
    """As many edits with source, words and mask as the editor learns from; none becomes a picture of the character."""
    world.review(approved=4, corrected=2)
    masked, cropped, *_ = (entry.image for entry in refine.dataset(world.desk))
    world.store.set_mask(masked, half(32))
    world.store.set_crop(cropped, (0, 0, 0.5, 1))
    learned = refine.dataset(world.desk)
    job, there = came_back(world, layout, Role.EDITOR)

    mine = Counter((pixels(world.store, each.image), each.caption, bool(each.mask)) for each in learned)
    lessons = there.triplets.all()
    words = {each.id: EditParams.kept(each.params).headline() for each in lessons}
    theirs = Counter((pixels(there, each), said, bool(there.images.get(each).mask)) for each, said in words.items())
    assert theirs == mine and len(lessons) == len(learned) >= 5
    assert {each.id for each in lessons} == set(present(job.artifacts.paired))
    sources = Counter(pixels(there, each.source) for each in lessons)
    whole = pixels(world.store, world.sources[0])
    assert sources[whole] == len(learned) - 1 and len(sources) == 2  # one was cut as its result was
    assert (job.artifacts.imported, job.artifacts.refused, job.artifacts.duplicates) == ((), (), ())
    assert there.select((Kind.SOURCE, Kind.ENRICHED, Kind.CORRECTION)) == []
    again = [entry for entry in refine.dataset(world.studio.desk(there.character.id)) if entry.worded]
    assert len(again) == len(learned)


@pytest.mark.parametrize("layout", [name for name, layout in LAYOUTS.items() if layout.references])
def test_edits_that_are_here_already_are_told(world: World, layout: str) -> None:
    """Imported into the character that they came from, they are duplicates, and its lessons stay as they were."""
    world.review(approved=2, corrected=1)
    before = world.store.triplets.all()
    file = export_dataset(world.desk, layout, Role.EDITOR, refine.dataset(world.desk))
    job = submit_import(world.desk, [file])
    assert (job.artifacts.paired, job.artifacts.imported, job.artifacts.refused) == ((), (), ())
    assert len(present(job.artifacts.duplicates)) == len(refine.dataset(world.desk))
    assert world.store.triplets.all() == before
