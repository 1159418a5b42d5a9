"""What is known of one picture: its lineage, its settings, its twins and what it taught."""

from __future__ import annotations

import time

import pytest

from engines.api.errors import NotFound
from studio.api.api import Api
from studio.flywheel import pictures
from studio.records.card import CardRun, Cell
from studio.records.dataset import Entry, Role, frozen
from studio.records.image import Kind, Verdict
from studio.records.outcome import Outcome
from studio.records.version import Version
from tests.studio.conftest import World

PROMPT = "ohwx person, smiling"


def drawn(world: World, n: int, version: str = "", **more: object) -> str:
    """A picture of PROMPT with seed 7, drawn by a version."""
    params = {"prompt": PROMPT, "steps": 4, "guidance": 2.5, "seed": 7, "loras": []}
    made = {"model": "fake-flux", "params": params, "params_kind": "GenerateParams", "seed": 7}
    return world.picture(Kind.SYNTHETIC, n, **{**made, "version": version, **more})


def taught(world: World, name: str, *entries: Entry, role: Role = Role.CHARACTER) -> str:
    """A version with a frozen dataset of these entries."""
    dataset = world.store.datasets.put(frozen(role, entries))
    made = Version(id=f"id-{name}", role=role, name=name, model="fake-flux", adapter="a", dataset=dataset.id)
    return world.store.versions.put(made).id


def ids(found: tuple[object, ...]) -> list[str]:
    """The ids of records."""
    return [str(getattr(each, "id", "")) for each in found]


def test_a_correction_tells_its_whole_way_from_the_original(world: World) -> None:
    """The wrong edit, then the source; each of them tells what was made from it."""
    (edit,) = world.review(corrected=1)
    correction = next(each.id for each in world.store.select(Kind.CORRECTION))

    known = pictures.about(world.desk, correction)

    assert ids(known.parents) == [edit, world.sources[0]]
    assert ids(pictures.about(world.desk, edit).children) == [correction]
    assert ids(pictures.about(world.desk, world.sources[0]).children) == [edit]


def test_every_child_is_counted_but_those_in_the_trash(world: World) -> None:
    """Thirty edits are thirty, one in the trash is none."""
    edits = [world.picture(Kind.ENRICHED, n, parent=world.sources[0]) for n in range(31)]
    world.store.trash(edits[:1])

    assert ids(pictures.about(world.desk, world.sources[0]).children) == edits[1:]


def test_pictures_that_name_each_other_end(world: World) -> None:
    """A circle of parents, as a damaged home may hold, is walked once."""
    one = world.picture(Kind.ENRICHED, 1, parent=world.sources[0])
    world.store.update_image(world.sources[0], parent=one)

    assert ids(pictures.about(world.desk, one).parents) == [world.sources[0]]


def test_a_picture_taught_the_versions_whose_dataset_holds_it(world: World) -> None:
    """As an example of the character's, or as the source of an edit that the editor learned."""
    source, other = world.sources[:2]
    edit = world.picture(Kind.ENRICHED, 1, parent=source)
    example = Entry(image=source, caption="ohwx", kind=Kind.SOURCE)
    first = taught(world, "v1", example)
    second = taught(world, "v2", example, Entry(image=other, caption="ohwx", kind=Kind.SOURCE))
    editor = taught(
        world, "e1", Entry(image=edit, caption="", kind=Kind.ENRICHED, references=(source,)), role=Role.EDITOR
    )

    assert ids(pictures.about(world.desk, source).taught) == [first, second, editor]
    assert ids(pictures.about(world.desk, other).taught) == [second]
    assert ids(pictures.about(world.desk, edit).taught) == [editor]
    assert pictures.about(world.desk, world.sources[2]).taught == ()


def test_twins_have_the_same_words_and_seed_from_other_versions(world: World) -> None:
    """One of each version in their order, the newest; no other seed or words, not its own version, none trashed."""
    versions = [taught(world, name) for name in ("v1", "v2", "v3")]
    base, old, new = drawn(world, 0), drawn(world, 1, versions[0]), drawn(world, 2, versions[0])
    second, third = drawn(world, 3, versions[1]), drawn(world, 4, versions[2])
    drawn(world, 5, versions[1], seed=8)
    drawn(world, 6, versions[1], params={"prompt": "ohwx person, sad"})
    world.store.trash([third])

    assert ids(pictures.about(world.desk, second).twins) == [base, new]
    assert ids(pictures.about(world.desk, old).twins) == [base, second]


def test_an_edits_twin_has_the_same_source(world: World) -> None:
    """The same instruction and seed on another source is another picture."""
    made = {"model": "fake-edit", "params": {"instruction": "smile", "seed": 1}, "params_kind": "EditParams", "seed": 1}
    one = world.picture(Kind.ENRICHED, 1, parent=world.sources[0], **made)
    better = world.picture(Kind.PREVIEW, 2, parent=world.sources[0], version=taught(world, "e1"), **made)
    world.picture(Kind.ENRICHED, 3, parent=world.sources[1], version="id-e1", **made)

    assert ids(pictures.about(world.desk, one).twins) == [better]


def test_a_sample_of_a_training_is_nobodys_twin_and_has_some(world: World) -> None:
    """No version drew it; what versions drew of the same words and seed stands beside it."""
    card = drawn(world, 2)
    made = {"params": {"prompt": PROMPT, "seed": 7}, "params_kind": "GenerateParams", "seed": 7}
    sample = world.picture(Kind.PREVIEW, 1, model="fake-flux", **made)

    assert ids(pictures.about(world.desk, sample).twins) == [card]
    assert pictures.about(world.desk, card).twins == ()


def test_settings_are_told_as_a_person_reads_them(world: World) -> None:
    """The words apart; figures short, LoRAs by name and weight, nothing that is empty."""
    loras = [{"file": "loras/film.safetensors", "weight": 0.8}]
    params = {"instruction": "smile", "true_cfg": 2.5, "few_steps": True, "negative": " ", "first_block_cache": 0.0}
    edit = world.picture(Kind.ENRICHED, 1, params={**params, "loras": loras}, params_kind="EditParams")

    known = pictures.about(world.desk, edit)

    assert known.words == "smile"
    assert known.params == (
        ("true cfg", "2.5"),
        ("few steps", "on"),
        ("first block cache", "0"),
        ("loras", "film.safetensors × 0.8"),
    )


def test_a_picture_without_settings_has_none(world: World) -> None:
    """An original, and one with the parameters of another FLENwheel."""
    odd = world.picture(Kind.SYNTHETIC, 1)
    record = world.store.update_image(odd, params={"hue": 3}, params_kind="DreamParams")

    assert pictures.settings(world.store.images.get(world.sources[0])) == ("", ())
    assert pictures.settings(record) == ("", (("hue", "3"),))


def test_a_cells_picture_knows_its_card(world: World) -> None:
    """Card, version and cell, with what a human said."""
    image = world.picture(Kind.CARD, 1)
    cell = Cell(cell="T-pose", seed=0, image=image, axes={}, verdict=Outcome.FAIL, human=True)
    world.store.cards.put(CardRun(id="c1", version="", job="j", seeds=(0,), cells=(cell,), originals=4))

    (placed,) = pictures.about(world.desk, image).cells

    assert (placed.card, placed.version, placed.cell) == ("c1", "", cell)


def test_an_unknown_picture_is_refused(world: World) -> None:
    """As everywhere."""
    with pytest.raises(NotFound):
        pictures.about(world.desk, "nothing")


def test_a_script_gets_the_lineage_in_ids(world: World) -> None:
    """Beside the record, whose keys are as before."""
    edit = world.picture(Kind.ENRICHED, 1, parent=world.sources[0], state=Verdict.GOOD)
    version = taught(world, "v1", Entry(image=edit, caption="ohwx", kind=Kind.ENRICHED))

    told = Api(world.studio).image_get(world.id, edit)

    assert told["ok"] and told["image"]["id"] == edit
    lineage = {name: told[name] for name in ("parents", "children", "twins", "taught")}
    assert lineage == {"parents": [world.sources[0]], "children": [], "twins": [], "taught": [version]}


def test_a_home_of_five_hundred_pictures_is_quick(world: World) -> None:
    """Walking by arrow keys stays light: well below the time that a hand takes for a key."""
    for n in range(500):
        drawn(world, n, seed=n, params={"prompt": PROMPT, "seed": n})
    first = world.store.select(Kind.SYNTHETIC)[0].id
    pictures.about(world.desk, first)

    began = time.process_time()
    for _ in range(10):
        pictures.about(world.desk, first)

    assert (time.process_time() - began) / 10 < 0.1
