"""A character changed later: what is changed, what follows, and what is refused; and its way into the trash."""

from __future__ import annotations

import pytest

from engines.api.errors import BadInput, Busy, NotFound
from engines.api.params import GenerateParams
from studio.flywheel import generate
from studio.flywheel.curate import changes
from studio.flywheel.curate.changes import Asked
from studio.flywheel.train import character as train
from studio.records.image import Kind
from tests.studio.conftest import World


def captions(world: World) -> list[str]:
    """Returns the captions of the originals."""
    return [image.caption for image in world.store.select(Kind.SOURCE)]


def test_a_new_trigger_word_is_said_by_the_captions_too(world: World) -> None:
    """Trigger and kind together, as whole words; what people wrote stays theirs; asked not to, captions stay."""
    first, second, *_ = world.sources
    world.store.update_image(first, caption="ohwx person beside an ohwxian person", caption_by="human")
    world.store.update_image(second, caption="a picture of ohwx")

    done = changes.update(world.desk, Asked(trigger="mira7", subject="robot"))

    assert (done.captions, done.character.trigger, done.character.subject) == (4, "mira7", "robot")
    assert captions(world)[:3] == [
        "mira7 robot beside an ohwxian person",
        "a picture of mira7",
        "mira7 robot, front view, neutral",
    ]
    assert world.store.images.get(first).caption_by == "human"
    assert changes.update(world.desk, Asked(trigger="other"), captions=False).captions == 0
    assert captions(world)[1] == "a picture of mira7"


def test_a_call_that_was_killed_before_the_record_can_be_repeated(world: World) -> None:
    """Captions are changed first: the same call finds the rest to do, and ends as if nothing had happened."""
    after = world.store.character.replace(trigger="mira7")
    first, *rest = changes.recaptioned(world.store, after).items()
    world.store.update_image(first[0], caption=first[1])

    assert changes.update(world.desk, Asked(trigger="mira7")).captions == len(rest)
    assert all(words.startswith("mira7 person") for words in captions(world))
    assert world.store.character.trigger == "mira7"


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (Asked(name=" "), BadInput, "needs a name"),
        (Asked(trigger=""), BadInput, "needs a trigger word"),
        (Asked(name="a\nb"), BadInput, "more than one line"),
        (Asked(editor="fake-flux"), BadInput, "no editor"),
        (Asked(scorer="nobody"), NotFound, "no model named nobody"),
        (Asked(medium="film"), BadInput, "medium"),  # type: ignore[arg-type]  # what a script may send
        (Asked(notes=5), BadInput, "notes cannot be 5"),  # type: ignore[arg-type]  # what a script may send
    ],
    ids=str,
)
def test_what_no_character_can_be_is_refused(world: World, asked: Asked, error: type[Exception], words: str) -> None:
    """By the rule that made it, before anything is changed; what would follow is refused by the same words."""
    before = (world.store.character, captions(world), world.store.revision)
    for function in (changes.update, changes.effects):
        with pytest.raises(error, match=words):
            function(world.desk, asked)
    assert (world.store.character, captions(world), world.store.revision) == before


def test_what_follows_is_said_before(world: World) -> None:
    """For each field that has a consequence, in a sentence with the versions it concerns; none for the same value."""
    assert changes.effects(world.desk, Asked(name="Mira", trigger="ohwx")) == []
    assert "no version" in changes.effects(world.desk, Asked(generator="far-away"))[0].lower()
    world.finish(train.submit(world.desk, world.train_params(steps=4)))

    (trigger,) = changes.effects(world.desk, Asked(trigger="mira7"))
    assert "v1 learned “ohwx” and will be asked for “mira7”" in trigger
    said, learned = changes.effects(world.desk, Asked(medium="drawing"))
    assert "will say drawing" in said and "v1 learned it as a photo" in learned
    model, kept = changes.effects(world.desk, Asked(generator="far-away"))
    assert "v1: trained for fake-flux, cannot be used with far-away" in model
    assert "v1, in use, keeps drawing with fake-flux" in kept
    (renamed,) = changes.effects(world.desk, Asked(name="Ada"))
    assert "folder mira" in renamed


def test_words_and_models_wait_for_the_jobs_that_read_them(world: World) -> None:
    """A name and notes may change at any time; the rest, and a deletion, when no job of it waits or runs."""
    job = generate.submit(world.desk, [GenerateParams(prompt="ohwx person")])
    for refused in (Asked(trigger="mira7"), Asked(scorer="fake-identity", editor="far-edit")):
        with pytest.raises(Busy, match="is queued: Draw 1 picture with"):
            changes.update(world.desk, refused)
    with pytest.raises(Busy, match="is queued"):
        changes.delete(world.studio, world.id)
    assert changes.update(world.desk, Asked(name="Ada", notes="hat")).character.name == "Ada"
    world.studio.jobs.cancel(job.id)
    assert changes.update(world.desk, Asked(trigger="mira7")).character.trigger == "mira7"


def test_a_deleted_character_comes_back_with_its_jobs_and_versions(world: World) -> None:
    """All that was known of it is known again."""
    job = world.finish(train.submit(world.desk, world.train_params(steps=4)))
    before = (world.store.versions.all(), world.store.images.all(), world.studio.jobs.events(job.id))
    changes.delete(world.studio, world.id)
    assert world.studio.library.characters() == []
    with pytest.raises(NotFound, match="in the trash"):
        world.studio.store(world.id)

    changes.restore(world.studio, world.id)
    store = world.studio.store(world.id)
    assert (store.versions.all(), store.images.all(), world.studio.jobs.events(job.id)) == before
