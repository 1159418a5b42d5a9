"""The LoRA library on the page: what a card says, what its buttons do, and how its LoRA comes into the plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from engines.api.errors import UserError
from engines.catalogue.embedded_loras import EMBEDDED_LORAS
from engines.catalogue.lora_bases import LoraFacts
from engines.fake.hub import FakeHub
from studio.records.character import Character
from studio.records.image import ImageRecord
from studio.records.job import JobState
from studio.records.lora import LibraryLora, MergedPart
from studio.records.payload import EnrichPayload, LoraPayload
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Desk, Workplace
from tabs import enrich, own_rows, plan_saving, planning, template_words
from tabs.common import lora_cards

KNOBS: tuple[Any, ...] = (["background"], 2, 1, planning.GAPS, "[]", None, 0, 0)
ANGLES = "Camera and head angle"


@pytest.fixture
def desk(studio: Workplace, anna: Character) -> Desk:
    """Anna's desk."""
    return studio.desk(anna.id)


@pytest.fixture
def sources(add: Callable[..., ImageRecord]) -> list[str]:
    """Two originals."""
    return [add(tags={"outfit": "red shirt"}).id for _ in range(2)]


def keep(desk: Desk, lora: str, **fields: Any) -> None:
    """A LoRA of the fake editor in the library."""
    library = LoraLibrary(desk.workplace.library)
    library.folder(lora).mkdir(parents=True)
    save_file({"fake.mean": np.full((4, 4, 3), 200, np.uint8)}, library.folder(lora) / "a.safetensors")
    known = library.get(lora) if lora in library.rows else LibraryLora(id=lora, name=lora, task="lighting")
    library.put(known.replace(file="a.safetensors", **fields))


def test_cards_of_a_task_say_base_licence_and_what_was_corrected(desk: Desk) -> None:
    """A LoRA that the editor cannot use is grey and says why; one that it can offers its download, licence first."""
    shown = lora_cards.draw(desk, ANGLES, "Qwen-Image-Edit-2511")
    for words in ("fal-angles", "Apache-2.0", "strength 0.9", "It changes modulation layers", "licence <a", "unknown"):
        assert words in shown
    assert "<b>Corrected:</b> It fits FLUX.2-dev alone" in shown
    assert shown.count("Accept the licence and download") == 2
    assert 'class="fl-lora grey" data-lora="lovis93-angles-flux2"' in shown
    toy = lora_cards.draw(desk, ANGLES, "fake-edit")
    assert 'class="fl-lora grey" data-lora="fal-angles"' in toy
    assert "No LoRA is on this machine yet" in lora_cards.draw(desk, lora_cards.HERE, "fake-edit")
    assert "There is none that fake-edit can use" in lora_cards.draw(desk, lora_cards.USABLE, "fake-edit")


def test_what_ships_with_the_editor_is_offered_and_cannot_be_removed(desk: Desk) -> None:
    """For its own editor all are here, one with the reason why it does not fit; no file of the program is deleted."""
    shown = lora_cards.draw(desk, lora_cards.HERE, "mini-qwen-edit", can_use=True)
    assert shown.count('<article class="fl-lora') == len(EMBEDDED_LORAS)
    assert shown.count("Use in the plan") == len(EMBEDDED_LORAS) - 1 and "lora-remove" not in shown
    assert "mini-angles" in shown and 'class="fl-lora grey" data-lora="mini-flux-comic"' in shown


def test_a_lora_that_is_here_tells_what_its_file_is(desk: Desk) -> None:
    """Rank, base and cost; it can be used, noted on, starred and removed."""
    facts = LoraFacts(naming="kohya", tensors=4, modules=2, ranks=(4, 8), modulation=True)
    keep(desk, "own-a", facts=facts)
    shown = lora_cards.draw(desk, lora_cards.HERE, "fake-edit", can_use=True)
    for words in (
        "kohya names, 2 layers, rank 4 to 8",
        "an unknown base",
        "changes modulation layers",
        "Use in the plan",
    ):
        assert words in shown
    lora_cards.act(desk, {"act": "lora-note", "lora": "own-a", "value": "good light"})
    lora_cards.act(desk, {"act": "lora-star", "lora": "own-a", "on": "false"})
    shown = lora_cards.draw(desk, lora_cards.HERE, "fake-edit")
    assert "good light" in shown and 'aria-pressed="true"' in shown and "Use in the plan" not in shown
    lora_cards.act(desk, {"act": "lora-remove", "lora": "own-a"})
    assert "No LoRA is on this machine yet" in lora_cards.draw(desk, lora_cards.HERE, "fake-edit")
    with pytest.raises(UserError, match="no such button"):
        lora_cards.act(desk, {"act": "dance"})


def test_ticked_loras_are_merged(desk: Desk) -> None:
    """The form lists what is here with strength and licence; the job has the ticked ones; a word is no strength."""
    facts = LoraFacts(naming="kohya", tensors=2, modules=1, ranks=(4, 4), base="mini-qwen-edit", family="qwen-edit")
    keep(desk, "own-a", facts=facts, licence="MIT", strength=0.7)
    assert "Merge into one file" not in lora_cards.draw(desk, lora_cards.HERE, "Qwen-Image-Edit-2511")
    keep(desk, "own-b", facts=facts)
    keep(desk, "own-c", facts=facts)
    shown = lora_cards.draw(desk, lora_cards.HERE, "mini-qwen-edit")
    for words in ('name="on own-a"', 'name="weight own-a" value="0.7"', "licence MIT", 'data-act="lora-merge"'):
        assert words in shown
    fields = {
        **{"on own-a": True, "on own-b": True, "on own-c": False, "name": "both", "rank": "8"},
        **{"weight own-a": "0.5", "weight own-b": "-0.25", "weight own-c": "1"},
    }
    said = lora_cards.act(desk, {"act": "lora-merge", "fields": fields})
    assert said is not None and "Merge 2 LoRAs into both" in said.words
    (job,) = desk.workplace.jobs.list("")
    asked = LoraPayload.of(job)
    assert [(part.lora, part.weight) for part in asked.parts] == [("own-a", 0.5), ("own-b", -0.25)]
    assert (asked.rank, asked.licence) == (8, "MIT + unknown")
    assert "Merge 2 LoRAs into both" in lora_cards.draw_busy(desk)
    for wrong in ({"weight own-a": "much"}, {"rank": "high"}, {"on own-b": False}):
        with pytest.raises(UserError):
            lora_cards.act(desk, {"act": "lora-merge", "fields": {**fields, **wrong}})
    assert len(desk.workplace.jobs.list("")) == 1


def test_a_merged_lora_tells_its_parts(desk: Desk) -> None:
    """With strengths, licences, and what was cut off."""
    parts = (MergedPart(lora="own-a", name="a", weight=0.5, licence="MIT"),)
    keep(desk, "own-m", parts=parts, merge_error=0.031)
    shown = lora_cards.draw(desk, lora_cards.HERE, "fake-edit")
    assert "Merged from a at 0.5 (MIT). 3.1 % of its effect was cut off" in shown


def test_a_download_is_queued_and_shown(desk: Desk, tmp_path: Any) -> None:
    """Its progress stands above the cards, and the card says that it comes; a wrong place is refused in words."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "QIE-2511-Studio-DeLight-5000.safetensors").write_bytes(b"x")
    desk.workplace.hub = FakeHub(tmp_path / "hub")
    lora_cards.act(desk, {"act": "lora-pull", "lora": "studio-delight"})
    assert "Add the LoRA studio-delight" in lora_cards.draw_busy(desk)
    assert "coming" in lora_cards.draw(desk, lora_cards.HERE, "Qwen-Image-Edit-2511")
    with pytest.raises(UserError, match="no file"):
        lora_cards.add_own(desk, "/nowhere/a.safetensors", "", None, "")
    job = desk.workplace.jobs.list("")[0]
    desk.workplace.jobs.cancel(job.id)
    assert lora_cards.draw_busy(desk) == "" and desk.workplace.jobs.get(job.id).state is JobState.CANCELLED


def test_use_in_the_plan_adds_a_row_with_words_and_strength(desk: Desk, sources: list[str]) -> None:
    """Its placeholders become fields whose words can be chosen; run, the edits carry the LoRA."""
    keep(desk, "fal-angles")
    changes = enrich.loras_act(
        desk, {"act": lora_cards.USE, "lora": "fal-angles"}, "{}", json.dumps(sources[:1])
    ).values
    key = json.loads(changes)["own"][0]["key"]
    _, drawn = planning.draw_plan(desk, changes, *KNOBS)
    assert "→ &lt;sks&gt; front view eye-level shot medium shot" in drawn and "<option>back view</option>" in drawn
    for act in (
        {"act": "own-fill", "name": "azimuth", "value": "back view"},
        {"act": "own-weight", "lora": "fal-angles", "value": "0.6"},
        {"act": "own-seeds", "value": "2"},
    ):
        changes = planning.plan_act(desk, {**act, "row": key}, changes, *KNOBS)
    planning.run_plan(desk, changes, *KNOBS)
    rows = EnrichPayload.of(desk.workplace.jobs.list()[0]).rows
    own = [row for row in rows if row.task == "own words"]
    assert [(row.source, row.params["instruction"], row.params["loras"][0]["weight"]) for row in own] == [
        (sources[0], "<sks> back view eye-level shot medium shot", 0.6)
    ] * 2


def test_a_row_that_cannot_be_drawn_says_so_in_its_place(desk: Desk, sources: list[str]) -> None:
    """The rest of the plan is still shown and counted; the row is refused when the plan is run, unless it is off."""
    keep(desk, "own-a")
    changes = enrich.loras_act(desk, {"act": lora_cards.USE, "lora": "own-a"}, "{}", "[]").values
    cost, drawn = planning.draw_plan(desk, changes, *KNOBS)
    assert "A row of your own has no words." in drawn and "2 edits" in cost
    with pytest.raises(UserError, match="has no words"):
        planning.run_plan(desk, changes, *KNOBS)
    key = json.loads(changes)["own"][0]["key"]
    off = planning.plan_act(desk, {"act": "own-on", "row": key, "value": False}, changes, *KNOBS)
    assert "2 edits queued" in planning.run_plan(desk, off, *KNOBS).words


def test_rows_are_changed_in_place(desk: Desk, sources: list[str]) -> None:
    """Copied, given sources, a second picture, a stack; a value that is not allowed is refused and changes nothing."""
    keep(desk, "own-a", words="glow", strength=0.4)
    picked = json.dumps(sources[:1])
    _, changes = planning.add_own(desk, "wave", "{}", picked)
    key = json.loads(changes)["own"][0]["key"]
    knobs = (*KNOBS[:4], json.dumps(sources[1:]), *KNOBS[5:])
    for act in (
        {"act": "own-add", "value": "own-a"},
        {"act": "own-second", "value": sources[0]},
        {"act": "own-few", "value": True},
        {"act": "own-copy"},
        {"act": "own-sources"},
    ):
        changes = planning.plan_act(desk, {**act, "row": key}, changes, *knobs)
    first, second = json.loads(changes)["own"]
    assert (first["words"], first["loras"], first["second"], first["few_steps"]) == (
        "wave",
        [{"lora": "own-a", "weight": 0.4}],
        sources[0],
        True,
    )
    assert (first["sources"], second["sources"], first["key"] == second["key"]) == (sources[1:], sources[:1], False)
    for wrong in ({"act": "own-seeds", "value": "0"}, {"act": "own-weight", "lora": "own-a", "value": "heavy"}):
        with pytest.raises(UserError, match="The row cannot be so"):
            planning.plan_act(desk, {**wrong, "row": key}, changes, *KNOBS)
    dropped = planning.plan_act(desk, {"act": "own-drop", "lora": "own-a", "row": key}, changes, *KNOBS)
    assert json.loads(dropped)["own"][0]["loras"] == []
    with pytest.raises(UserError, match="not in the plan any more"):
        own_rows.act(desk, {"act": "own-on", "row": "gone"}, [], [])


def test_a_planned_row_becomes_a_row_of_ones_own(desk: Desk, sources: list[str]) -> None:
    """With its words and source; the planned one is left out."""
    planned = planning.changed_plan(desk, "{}", *KNOBS)[0]
    changes = planning.plan_act(desk, {"act": "as-own", "row": planned.key}, "{}", *KNOBS)
    own, *rest = planning.changed_plan(desk, changes, *KNOBS)
    assert (own.own, own.row.source, own.row.params["instruction"]) == (
        True,
        planned.row.source,
        planned.row.params["instruction"],
    )
    assert [each.kept for each in rest if each.key == planned.key] == [False]


def test_a_plan_is_saved_loaded_shared_and_taken_in(desk: Desk, sources: list[str]) -> None:
    """On the page as by script; without rows or a choice it is refused in words."""
    with pytest.raises(UserError, match="no rows of your own"):
        plan_saving.save_rows(desk, "faces", "{}")
    _, changes = planning.add_own(desk, "wave", "{}", json.dumps(sources))
    said = plan_saving.save_rows(desk, "faces", changes)
    assert "1 row saved as faces" in said.words
    assert plan_saving.fill(desk, said.values)["choices"] == [("faces (1 row)", said.values)]
    loaded, notes = plan_saving.load_rows(desk, said.values, "{}")
    assert (json.loads(loaded)["own"][0]["words"], notes) == ("wave", "")
    link = plan_saving.share_plan(desk, said.values)
    assert "faces.plan.json" in link
    path = desk.store.run_dir("exports") / "faces.plan.json"
    assert "faces 2 is saved" in plan_saving.take_in(desk, str(path)).words
    assert "deleted" in plan_saving.delete_plan(desk, said.values).words
    for call in (lambda: plan_saving.share_plan(desk, None), lambda: plan_saving.load_rows(desk, said.values, "{}")):
        with pytest.raises(UserError):
            call()


def test_the_words_of_edits_are_changed_on_the_page(desk: Desk, sources: list[str]) -> None:
    """Changed, added and taken back; the plan is made of them; what lacks words is refused."""
    template_words.act(desk, {"act": "template-words", "name": "forest", "value": "into the woods"}, "background")
    assert "too" in template_words.add_words(desk, "background", "moon", "stand on the moon").words
    shown = template_words.draw(desk, "background")
    assert "into the woods" in shown and "stand on the moon" in shown and shown.count("Take back") == 2
    knobs = (["background"], 20, 1, planning.VARIETY, *KNOBS[4:])
    said = {each.row.params["instruction"] for each in planning.changed_plan(desk, "{}", *knobs)}
    assert {"into the woods", "stand on the moon"} <= said
    template_words.act(desk, {"act": "template-words", "name": "moon"}, "background")
    shown = template_words.draw(desk, "background")
    assert "stand on the moon" not in shown and "what stays" not in shown
    with pytest.raises(UserError, match="no sentence on what stays"):
        template_words.act(desk, {"act": "template-keep", "value": "keep it"}, "background")
    with pytest.raises(UserError, match="no words"):
        template_words.add_words(desk, "background", "moon", " ")
