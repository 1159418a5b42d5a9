"""Edits in a person's own words: placeholders, LoRAs, seeds, a second picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from engines.api.errors import BadInput, NotFound
from engines.api.params import EditParams
from engines.api.protocols import ModelSpec
from engines.api.views import View
from engines.catalogue.lora_bases import LoraFacts
from engines.wording.photographs import PHOTOGRAPHS
from studio.flywheel import review
from studio.flywheel.curate import captions
from studio.flywheel.curate.coverage import coverage
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import own_words
from studio.flywheel.enrich.changes import Changes, changed
from studio.flywheel.refine import editor as refine
from studio.judging.gallery import originals, score_images
from studio.judging.judge import Judge
from studio.records.image import Verdict
from studio.records.lora import LibraryLora
from studio.records.outcome import Outcome
from studio.records.payload import EnrichPayload, PlanRow
from studio.records.plan import OwnEdit, StackedLora
from studio.store.lora_library import LoraLibrary
from tests.studio.conftest import World, present


def kept_lora(world: World, lora: str, grey: int = 200, **fields: object) -> Path:
    """A LoRA of the fake editor in the library."""
    library = LoraLibrary(world.studio.library)
    folder = library.folder(lora)
    folder.mkdir(parents=True)
    save_file({"fake.mean": np.full((4, 4, 3), grey, np.uint8)}, folder / f"{lora}.safetensors")
    library.put(
        library.get(lora).replace(file=f"{lora}.safetensors")
        if lora in library.rows
        else LibraryLora(
            id=lora,
            name=lora,
            file=f"{lora}.safetensors",
            words="glow",
            strength=0.7,
            sha256=f"{grey:064x}",
            **fields,  # type: ignore[arg-type]  # fields by name
        )
    )
    return folder / f"{lora}.safetensors"


def spec(world: World) -> ModelSpec:
    """The fake editor's row."""
    return world.studio.registry.spec("fake-edit")


def rows(world: World, edit: OwnEdit) -> list[PlanRow]:
    """The rows of one edit that is on."""
    return [each.row for each in changed(world.desk, [], Changes(own=(edit,)), spec(world), {})]


def said(row: PlanRow) -> str:
    """A row's instruction."""
    return EditParams.kept(row.params).headline()


def test_placeholders_are_filled_for_each_picture(world: World) -> None:
    """By the character, by the picture's own tags, by the row's words; an unknown tag by its name."""
    first, second, *_ = world.sources
    world.store.update_image(first, tags={"outfit": "red shirt"})
    edit = OwnEdit(
        key="a", words="make the {subject} in the {outfit} {mood}", sources=(first, second), fills={"mood": "laugh"}
    )
    assert [said(row) for row in rows(world, edit)] == [
        "make the person in the red shirt laugh",
        "make the person in the outfit laugh",
    ]


def test_a_row_is_drawn_for_each_source_and_seed(world: World) -> None:
    """All originals where none is chosen; every seed differs, also from what was drawn before."""
    found = rows(world, OwnEdit(key="a", words="wave", seeds=3))
    assert len(found) == 3 * len(world.sources)
    assert len({(row.source, row.params["seed"]) for row in found}) == len(found)


def test_a_stack_goes_into_the_row_with_its_strengths(world: World) -> None:
    """In its order; few steps are the model's own."""
    files = [kept_lora(world, lora, grey) for lora, grey in (("own-a", 10), ("own-b", 20))]
    edit = OwnEdit(
        key="a",
        words="wave",
        sources=(world.sources[0],),
        loras=(StackedLora(lora="own-a", weight=0.5), StackedLora(lora="own-b", weight=-1.0)),
    )
    (row,) = rows(world, edit)
    uses = EditParams.from_json(row.params).loras
    assert [(use.file, use.weight) for use in uses] == [(str(files[0]), 0.5), (str(files[1]), -1.0)]
    job = world.finish(enrich.submit(world.desk, [row]))
    assert world.store.images.get(present(job.artifacts.images)[0]).params["loras"][1]["weight"] == -1.0


def test_a_view_is_asked_for_in_the_grammar_of_what_is_used(world: World) -> None:
    """By the editor alone, by either LoRA, from where each source stands; its tags are asked of the result."""
    for lora in ("fal-angles", "dx8152-angles"):
        kept_lora(world, lora)
    turned = world.sources[0]
    world.store.update_image(turned, tags={"angle": "half-left"})
    view = View("back", "high", "head")
    said_by = {}
    for lora in ("", "fal-angles", "dx8152-angles"):
        (edit,) = own_words.of_views(world.desk, [view], lora, ["a"], [turned])
        assert own_words.choices(world.desk, edit) == {}
        (row,) = rows(world, edit)
        assert row.asked == view.tags
        said_by[lora] = said(row)
    assert said_by[""].startswith("Turn the person around, so that only the back of the head is seen. Look steeply")
    assert said_by["fal-angles"] == "<sks> back view high-angle shot close-up"
    assert said_by["dx8152-angles"].startswith("将镜头向右旋转135度 Rotate the camera 135 degrees to the right.")
    (moved,) = own_words.of_views(world.desk, [view], "dx8152-angles", ["a"])
    assert own_words.TURNED in own_words.hints(world.desk, moved, spec(world))
    assert moved == OwnEdit.from_json(moved.to_json())


def test_from_behind_identity_is_neither_passed_nor_failed(world: World) -> None:
    """No face is expected there: nothing is scored, the reviewer is told, and no expression is claimed."""
    source = world.sources[0]
    world.store.update_image(source, tags={"angle": "front", "expression": "smiling", "outfit": "red shirt"})
    edits = own_words.of_views(world.desk, [View("back"), View("half-left")], "", ["a", "b"], [source])
    job = world.finish(enrich.submit(world.desk, [*rows(world, edits[0]), *rows(world, edits[1])]))
    behind, turned = (world.store.images.get(image) for image in present(job.artifacts.images))
    assert behind.scores == {} and turned.scores
    assert behind.tags == {"angle": "back", "elevation": "eye level", "framing": "bust", "outfit": "red shirt"}
    assert turned.tags["expression"] == "smiling"
    assert "seen from behind, at eye level" not in turned.caption
    assert review.explain(world.desk, behind.id).words == review.BEHIND != review.explain(world.desk, turned.id).words
    assert score_images(world.desk, [behind.id]) == {behind.id: None}
    assert world.store.images.get(behind.id).scores == {}
    assert Judge(world.context(job)).outcome(behind.scores) is Outcome.UNKNOWN


def test_an_original_from_behind_is_compared_with_nothing(world: World) -> None:
    """Tagged so, it sets no floor; its tag is one of eight angles, and another is refused."""
    captions.set_tags(world.desk, world.sources[0], {"angle": "back-left", "elevation": "low"})
    assert [image.id for image in originals(world.store)] == world.sources[1:]
    found = coverage(world.desk)
    assert (found.around["back-left"], sum(found.around.values())) == (1, 1)
    assert (found.elevations["low"], sum(found.elevations.values())) == (1, 1)
    with pytest.raises(BadInput, match="upside-down is no angle"):
        captions.set_tags(world.desk, world.sources[0], {"angle": "upside-down"})


def test_a_view_that_the_words_leave_out_is_not_asked_for(world: World) -> None:
    """The placeholder may stand among other words; without it nothing is expected."""
    (edit,) = own_words.of_views(world.desk, [View("profile-left")], "", ["a"], world.sources[:1])
    (more,) = rows(world, edit.replace(words="{view} Make it night."))
    assert said(more).endswith("light. Make it night.") and more.asked["angle"] == "profile-left"
    (less,) = rows(world, edit.replace(words="make it night"))
    assert less.asked == {}


def test_what_cannot_be_drawn_says_why_and_leaves_the_others(world: World) -> None:
    """Shown, the row has a trouble; queued, it is refused, unless it is off."""
    kept_lora(world, "own-far", facts=LoraFacts(naming="x", tensors=2, modules=1, ranks=(1, 1), base="FLUX.1"))
    bad = {
        "no words": OwnEdit(key="a"),
        "still empty": OwnEdit(key="b", words="{what}", fills={"what": " "}),
        "Nothing fills {what}": OwnEdit(key="c", words="{what}"),
        "not on this machine": OwnEdit(key="d", words="x", loras=(StackedLora(lora="fal-angles"),)),
        "no LoRA 'nobody'": OwnEdit(key="e", words="x", loras=(StackedLora(lora="nobody"),)),
        "does not fit": OwnEdit(key="f", words="x", loras=(StackedLora(lora="own-far"),)),
        "the layers of mini-flux": OwnEdit(key="g", words="x", loras=(StackedLora(lora="mini-flux-comic"),)),
    }
    good = OwnEdit(key="z", words="wave", sources=(world.sources[0],))
    shown = own_words.written(world.desk, [*bad.values(), good], spec(world), {})
    for words, each in zip(bad, shown, strict=False):
        assert each.trouble is not None and words in each.trouble.cause and not each.rows
        with pytest.raises((BadInput, NotFound)):
            rows(world, each.edit)
        assert rows(world, each.edit.replace(on=False)) == []
    assert (shown[-1].trouble, shown[-1].words, len(shown[-1].rows)) == (None, "wave", 1)


def test_a_lora_brings_its_words_and_says_what_it_needs(world: World) -> None:
    """The card's words with their first choices, the strength to start from, and what else it wants."""
    for lora in ("fal-angles", "dx8152-light-direction", "anypose"):
        kept_lora(world, lora)
    edit = own_words.of_lora(world.desk, "fal-angles", "a", world.sources[:1])
    assert (edit.loras[0].weight, edit.fills["azimuth"], edit.few_steps) == (0.9, "front view", False)
    (row,) = rows(world, edit)
    assert said(row) == "<sks> front view eye-level shot medium shot"
    assert own_words.choices(world.desk, edit)["azimuth"][4] == "back view"
    light, pose = (own_words.of_lora(world.desk, each, "a") for each in ("dx8152-light-direction", "anypose"))
    bare = light.replace(guide="")
    assert any("second picture: a luminance map" in hint for hint in own_words.hints(world.desk, bare, spec(world)))
    assert any("anypose-helper" in hint for hint in own_words.hints(world.desk, pose, spec(world)))
    assert pose.few_steps


def test_words_that_let_the_person_go_are_warned_about(world: World) -> None:
    """Where the editor knows such words, and no LoRA's own words are used; nothing is refused."""
    photographs = replace(spec(world), wording="photographs")
    lost, kept = (OwnEdit(key="a", words=words) for words in ("a red hat", "a red hat, keep the same person"))
    assert own_words.hints(world.desk, lost, photographs) == (own_words.LOST,)
    assert own_words.hints(world.desk, kept, photographs) == own_words.hints(world.desk, lost, spec(world)) == ()
    assert not any(PHOTOGRAPHS.loses_person(edit.words) for edit in PHOTOGRAPHS.edit_tasks())


def test_a_second_picture_is_seen_kept_and_learned_from(world: World) -> None:
    """It comes after the source; edits that differ in it alone are two; a retry and the editor's training keep it."""
    first, second, third, _ = world.sources
    found = [*rows(world, OwnEdit(key="a", words="wave", sources=(first,), second=second))]
    found += [found[0].replace(references=(third,)), found[0].replace(references=())]
    job = world.finish(enrich.submit(world.desk, found))
    made = [world.store.images.get(image) for image in present(job.artifacts.images)]
    assert [each.references for each in made] == [(second,), (third,), ()]
    again = enrich.retry(world.desk, made[0].id, {})
    assert EnrichPayload.of(again).rows[0].references == (second,)
    world.store.decide(made[0].id, Verdict.GOOD)
    learned = world.store.triplets.get(made[0].id)
    world.store.triplets.put(learned.replace(held_out=False))
    entry = next(each for each in refine.dataset(world.desk) if each.image == made[0].id)
    assert entry.references == (first, second)
    with pytest.raises(NotFound, match="rows\\[0\\]"):
        enrich.submit(world.desk, [found[0].replace(references=("nobody",))])
