"""The rail and the strip."""

from collections.abc import Callable

import pytest

from engines.api import Component, Plan, Stage
from engines.errors import UserError
from engines.fake import FakeWeights
from studio.nouns import CardRun, Character, ImageRecord, Job, JobState, Kind, Role, Verdict, Version
from studio.studio import Studio
from tabs import status


def following(studio: Studio, anna: Character) -> str:
    """The label of the next step."""
    steps, index, _ = status.rail_steps(studio, anna.id)
    return f"{steps[index].label} {index}"


def test_the_rail_leads_round_the_flywheel(studio: Studio, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """What is missing first is the next step: sources, captions, edits, review, training."""
    assert following(studio, anna) == "Curate 0"
    for _ in range(9):
        add()
    bare = add(caption="")
    assert following(studio, anna) == "Curate 0"
    studio.store(anna.id).update_image(bare.id, caption="ohwx person")
    assert following(studio, anna) == "Enrich 1"
    edit = add(Kind.ENRICHED, parent=bare.id)
    assert following(studio, anna) == "Review 2"
    studio.store(anna.id).decide(edit.id, Verdict.GOOD)
    assert following(studio, anna) == "Train 3"


def test_a_poor_card_sends_the_editor_first(studio: Studio, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """What the version in use cannot draw comes from edits; once there are some, it may draw new scenes."""
    sources = [add() for _ in range(10)]
    store = studio.store(anna.id)
    store.decide(add(Kind.ENRICHED, parent=sources[0].id).id, Verdict.GOOD)
    version = Version(id="v1", role=Role.CHARACTER, name="v1", model=anna.generator, adapter="v1.safetensors")
    store.adopt(store.versions.put(version).id)
    missed = {"cell": "T-pose", "seed": 0, "image": "", "axes": {}, "verdict": "fail", "human": None}
    card = store.cards.put(CardRun(id="c1", version="v1", job="j", seeds=(0,), cells=(missed,)))
    assert following(studio, anna) == "Card 6"
    store.cards.put(card.replace(created="2000-01-01"))
    assert following(studio, anna) == "Generate 4"


def test_a_card_that_leaves_the_goal_open_is_to_be_looked_at(
    studio: Studio, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """What could not be judged is beside the figure, is not called missed, and the goal is not ticked."""
    sources = [add() for _ in range(10)]
    store = studio.store(anna.id)
    store.decide(add(Kind.ENRICHED, parent=sources[0].id).id, Verdict.GOOD)
    version = Version(id="v1", role=Role.CHARACTER, name="v1", model=anna.generator, adapter="v1.safetensors")
    store.adopt(store.versions.put(version).id)
    cells = tuple(
        {"cell": str(n), "seed": 0, "image": "", "axes": {}, "verdict": "pass" if n < 15 else "unknown", "human": None}
        for n in range(23)
    )
    store.cards.put(CardRun(id="c1", version="v1", job="j", seeds=(0,), cells=cells, originals=10))

    steps, index, why = status.rail_steps(studio, anna.id)

    assert (steps[index].label, steps[index].figure, steps[index].done) == ("Card", "15/15 · 8 ?", False)
    assert "leaves 8 of 23 cells open" in why


def test_the_rail_says_why_and_marks_one_step(studio: Studio, anna: Character) -> None:
    """Exactly one step stands out, with a sentence."""
    shown = status.rail(studio, anna.id)
    assert shown.count('class="next"') == 1
    assert "Drop 10 to 20 pictures" in shown


def test_without_a_character_the_rail_says_what_to_do(studio: Studio) -> None:
    """An empty studio is not an empty page."""
    assert "Create your first character" in status.rail(studio, "")


def test_the_strip_shows_card_queue_and_interrupted_jobs(studio: Studio, anna: Character) -> None:
    """The card's budget, what waits, and what a crash left."""
    studio.jobs.submit("caption", anna.id, {}, title="Caption 3 pictures", total=3)
    studio.jobs.submit("caption", anna.id, {}, title="Caption 4 pictures", total=4)
    shown = status.strip(studio)
    assert "22.5 GiB" in shown
    assert "queue 2" in shown
    assert 'data-act="up"' in shown


def test_the_strip_says_what_is_where(studio: Studio) -> None:
    """A part on the card has its master in RAM; what was unloaded is read from disk next time."""
    parts = [Component(f"fake/{name}", 1 << 20, lambda: FakeWeights("x")) for name in ("vae", "transformer")]
    for part in parts:
        with studio.gpu.lease(Plan("draw", (Stage("go", (part,)),))) as lease, lease.stage("go"):
            pass
    assert "card: fake/vae, fake/transformer · RAM: fake/vae, fake/transformer" in status.strip(studio)
    studio.gpu.unload_all()
    assert "disk: fake/vae, fake/transformer" in status.strip(studio)


def test_a_queued_job_can_be_cancelled_and_moved_from_the_strip(studio: Studio, anna: Character) -> None:
    """The buttons act on the job they stand beside."""
    first = studio.jobs.submit("caption", anna.id, {}, title="first")
    second = studio.jobs.submit("caption", anna.id, {}, title="second")
    status.handle(studio, {"act": "up", "job": second.id, "before": first.id})
    assert [each.id for each in studio.jobs.list()][:2] == [second.id, first.id]
    status.handle(studio, {"act": "cancel", "job": second.id})
    assert studio.jobs.get(second.id).state is JobState.CANCELLED


def test_a_failed_job_is_offered_until_it_is_dismissed(studio: Studio, anna: Character) -> None:
    """Its cause is in sight; a dismissed one stays away."""
    failed = studio.library.records(Job).put(
        Job(id="j1", kind="train", character=anna.id, title="Train Anna", state=JobState.INTERRUPTED)
    )
    studio.jobs._jobs[failed.id] = failed
    assert "was interrupted" in status.strip(studio)
    status.handle(studio, {"act": "dismiss", "job": failed.id})
    assert "was interrupted" not in status.strip(studio)


def test_an_unknown_button_is_refused(studio: Studio) -> None:
    """A forged act changes nothing."""
    with pytest.raises(UserError):
        status.handle(studio, {"act": "format_disk", "job": "x"})
