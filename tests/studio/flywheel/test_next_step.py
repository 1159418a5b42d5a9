"""What comes next on the two flywheels."""

from __future__ import annotations

from engines.wording.cells import CARD_CELLS
from studio.flywheel.next_step import next_step
from studio.records.card import CardRun, Cell
from studio.records.dataset import Role
from studio.records.image import Kind, Verdict
from studio.records.outcome import Outcome
from studio.records.review import Triplet
from studio.records.version import Version, VersionState
from tests.studio.conftest import World


def following(world: World) -> str:
    """The label of the next step."""
    found = next_step(world.desk)
    return f"{found.step} {found.at}"


def why(world: World) -> str:
    """The sentence beside it."""
    return next_step(world.desk).words


def run_card(world: World, name: str, version: str, right: int, created: str, other: str = "fail") -> CardRun:
    """A card of a version with so many of its 23 cells right, and the others failed or unknown."""
    verdicts = [Outcome.PASS if at < right else Outcome(other) for at in range(len(CARD_CELLS))]
    cells = tuple(
        Cell(cell=cell.name, seed=0, image="", axes={}, verdict=verdict)
        for cell, verdict in zip(CARD_CELLS, verdicts, strict=True)
    )
    card = CardRun(id=name, version=version, job=name, seeds=(0,), cells=cells, created=created, originals=10)
    return world.store.cards.put(card)


def trained(world: World, name: str, role: Role, created: str) -> Version:
    """A version as a training leaves it."""
    made = Version(id=f"{role}-{name}", role=role, name=name, model="fake-flux", adapter="x", created=created)
    return world.store.versions.put(made)


def first_version(world: World) -> Version:
    """Ten sources, an approved edit, and a version in use."""
    for n in range(6):
        world.picture(Kind.SOURCE, 10 + n)
    world.store.decide(world.picture(Kind.ENRICHED, 0, parent=world.sources[0]), Verdict.GOOD)
    return world.store.adopt(trained(world, "v1", Role.CHARACTER, "2999-01-01").id)


def test_the_first_turn_asks_for_what_is_missing_first(world: World) -> None:
    """Sources, captions, edits, their review, then a training."""
    assert following(world) == "Curate 0"
    for n in range(5):
        world.picture(Kind.SOURCE, 10 + n)
    bare = world.picture(Kind.SOURCE, 20, caption="")
    assert following(world) == "Curate 0"
    assert why(world) == "1 picture has no caption yet."
    world.store.update_image(bare, caption="ohwx person")
    assert following(world) == "Enrich 1"
    edit = world.picture(Kind.ENRICHED, 0, parent=bare)
    assert following(world) == "Review 2"
    assert "1 edit waits for your verdict" in why(world)
    world.store.decide(edit, Verdict.GOOD)
    assert following(world) == "Train 3"


def test_a_rejected_original_is_no_picture_to_begin_with(world: World) -> None:
    """It counts for nothing and asks for no caption; a caption of blanks is none."""
    for n in range(7):
        world.picture(Kind.SOURCE, 10 + n, caption="" if n == 6 else "ohwx person")
    assert why(world) == "1 picture has no caption yet."
    bare = world.store.select(Kind.SOURCE)[-1].id
    world.store.decide(bare, Verdict.REJECT)
    assert following(world) == "Enrich 1"
    assert next_step(world.desk).stops[0].figure == "10"
    world.store.update_image(world.sources[0], caption="  ")
    assert why(world) == "1 picture has no caption yet."
    world.store.decide(world.sources[0], Verdict.REJECT)
    assert why(world).startswith("9 pictures so far")


def test_a_poor_card_sends_the_editor_first(world: World) -> None:
    """What the version in use cannot draw comes from edits; once there are some, it may draw new scenes."""
    first_version(world)
    assert following(world) == "Model card 4"
    card = run_card(world, "c1", "character-v1", 2, "2999-01-02")
    assert "v1 has 2/23 cells right: let the editor show" in why(world)
    world.store.cards.put(card.replace(created="2000-01-01"))
    assert following(world) == "Generate 4"


def test_a_card_that_leaves_the_goal_open_is_to_be_looked_at(world: World) -> None:
    """What could not be judged stands beside the figure, is not called missed, and the goal is not ticked."""
    first_version(world)
    run_card(world, "c1", "character-v1", 15, "2999-01-02", other="unknown")
    stop = next_step(world.desk).stops[4]
    assert (stop.label, stop.figure, stop.done) == ("Generate", "0 · card 15/15 · 8 ?", False)
    assert "leaves 8 of 23 cells open" in why(world)


def test_a_trained_version_is_compared_then_adopted_or_left(world: World) -> None:
    """A candidate asks for its card, then for a decision with both figures; either way the turn goes on."""
    first_version(world)
    run_card(world, "c1", "character-v1", 20, "2999-01-02")
    two = trained(world, "v2", Role.CHARACTER, "2999-02-01")
    assert following(world) == "Model card 4"
    assert "whether it is better than v1" in why(world)
    run_card(world, "c2", two.id, 22, "2999-02-02")
    assert following(world) == "Train 3"
    assert "v2 has 22/23 cells right, v1 20/23. Adopt v2, or leave it" in why(world)
    assert next_step(world.desk).stops[4].figure == "0 · card 20/23"  # of the one in use

    assert world.store.adopt(two.id, on=False).state is VersionState.RETIRED
    assert following(world) == "Generate 4"
    world.store.adopt(two.id)
    assert following(world) == "Generate 4"
    assert next_step(world.desk).stops[4].figure == "0 · card 22/23"


def test_a_card_of_another_version_is_not_that_of_the_one_in_use(world: World) -> None:
    """Adopted without a card, a version asks for its own, whatever others had."""
    first_version(world)
    run_card(world, "c1", "character-v1", 23, "2999-01-02")
    world.store.adopt(trained(world, "v2", Role.CHARACTER, "2999-02-01").id)
    found = next_step(world.desk)
    assert (found.stops[4].figure, found.stops[4].done) == ("0", False)
    assert found.words == "Run the model card to see what v2 can do."


def test_few_originals_are_asked_for_only_before_the_first_version(world: World) -> None:
    """Four originals are few; with a version that was trained of them the turn goes on all the same."""
    for image in world.sources[4:]:
        world.store.trash([image])
    assert following(world) == "Curate 0"
    first_version(world)
    assert following(world) != "Curate 0"


def test_training_again_is_asked_for_only_with_something_new(world: World) -> None:
    """What was approved since the last training, and not what is already in it, leads to another turn."""
    first_version(world)
    run_card(world, "c1", "character-v1", 23, "2999-01-02")
    scene = world.picture(Kind.SYNTHETIC, 0, version="character-v1")
    assert following(world) == "Review 2"
    world.store.decide(scene, Verdict.GOOD)
    decided = world.store.images.get(scene)
    assert "v1 meets the goal" in why(world)  # decided, by this clock, before the version of the year 2999
    world.store.images.put(decided.replace(decided="3000-01-01"))
    assert following(world) == "Train 3"
    assert "1 picture was approved since" in why(world)


def test_a_trained_editor_is_looked_at_and_adopted(world: World) -> None:
    """Corrections lead to the editor's training, its version to a look at before and after, then to edits by it."""
    first_version(world)
    run_card(world, "c1", "character-v1", 23, "2999-01-02")
    world.store.decide(world.picture(Kind.SYNTHETIC, 0, version="character-v1"), Verdict.GOOD)
    world.store.triplets.put(Triplet(id="t", source=world.sources[0], result="r", params={}, golden=True, wrong="w"))
    assert following(world) == "Editor Refinement 5"
    assert "1 correction of yours can teach the editor" in why(world)
    editor = trained(world, "v1", Role.EDITOR, "2999-02-01")
    assert "Editor v1 is trained" in why(world)
    world.store.adopt(editor.id)
    assert following(world) == "Enrich 1"
    assert "Editor v1 is in use and has made no edit yet" in why(world)
    edit = world.picture(Kind.ENRICHED, 1, parent=world.sources[0], version=editor.id)
    assert following(world) == "Review 2"
    world.store.decide(edit, Verdict.GOOD)
    assert following(world) == "Generate 4"
