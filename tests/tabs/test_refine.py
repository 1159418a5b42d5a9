"""The Editor Refinement tab's handlers."""

from collections.abc import Callable
from typing import Any

import pytest

from engines.api.errors import BadInput
from engines.api.params import EditParams
from engines.catalogue.lora_bases import LoraFacts
from studio.records.character import Character
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.lora import LibraryLora
from studio.records.version import Comparison, Metrics, Side, Version
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Desk, Workplace
from tabs import refine
from tabs.common import run
from tests.tabs.colour_blocks import picture
from tests.tabs.waiting import ended


def preflight(desk: Desk, *values: Any) -> str:
    """The words of the panel."""
    return str(refine.draw_preflight(desk, "", *values)[0])


def test_lessons_are_counted_and_shown(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """An approved edit is positive, a mended one golden with its wrong picture beside."""
    store = studio.store(anna.id)
    params = {"params": EditParams(instruction="smile").to_json(), "params_kind": "EditParams"}
    good, wrong = (add(Kind.ENRICHED, parent=add().id, **params) for _ in range(2))
    store.decide(good.id, Verdict.GOOD)
    store.correct(wrong.id, picture(77), reviewer="owner")
    shown = refine.draw_triplets(studio.desk(anna.id), "Golden", 30)
    assert shown.count("<figure>") == 3
    assert "corrected" in shown
    assert refine.draw_triplets(studio.desk(anna.id), "All", 30).count("<article") == 2
    assert "golden" in refine.draw_counts(studio.desk(anna.id))


def test_without_lessons_the_tab_leads_to_review(studio: Workplace, anna: Character) -> None:
    """An empty state has its button."""
    assert 'data-tab="Review"' in refine.draw_triplets(studio.desk(anna.id), "All", 30)


def test_what_would_be_trained_is_said(studio: Workplace, anna: Character) -> None:
    """The model, how long, whether it fits, and each trouble with its remedy."""
    shown = preflight(studio.desk(anna.id), 9)
    assert anna.editor in shown
    assert "9 steps" in shown
    assert "free disk" in shown and "GiB" in shown
    assert "correct wrong edits in Review" in shown


def test_the_editors_own_values_fill_the_fold_once(studio: Workplace, anna: Character) -> None:
    """They are in sight before anything is set, stay as the user leaves them, and change with the editor alone."""
    editor, *values = refine.fill_knobs(studio.desk(anna.id), "")
    shown = dict(zip(refine.FORM.names, values, strict=True))
    assert (editor, shown["steps"]["value"], shown["save_every"]["value"]) == (anna.editor, 20, 5)
    assert shown["steps"]["info"] == "own: 20"
    assert all(value["__type__"] == "update" for value in refine.fill_knobs(studio.desk(anna.id), anna.editor)[1:])
    assert refine.fill_knobs(studio.desk(anna.id), "another-editor")[1:] == values


def test_what_is_set_in_the_fold_is_trained(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A knob lies on the editor's preset, is told before and is in the job."""
    made = add(Kind.ENRICHED, parent=add().id, params=EditParams(instruction="smile").to_json())
    studio.store(anna.id).correct(made.id, picture(77), reviewer="owner")
    given = {"steps": 9, "gradient_accumulation": 2.0, "gradient_checkpointing": False}
    values = [given.get(name) for name in refine.FORM.names]
    assert "2 batches a step" in preflight(studio.desk(anna.id), *values)
    refine.start_training(studio.desk(anna.id), "", *values)
    (job,) = studio.jobs.list()
    assert {name: job.payload["params"][name] for name in given} == given


def test_a_training_may_begin_with_a_lora_of_the_library(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The list offers those that are here and fit, with their licence; the pre-flight tells it, the job has it."""
    made = add(Kind.ENRICHED, parent=add().id, params=EditParams(instruction="smile").to_json())
    studio.store(anna.id).correct(made.id, picture(77), reviewer="owner")
    library = LoraLibrary(studio.library)
    facts = {"own-a": LoraFacts(naming="diffusers", tensors=2, modules=1, ranks=(4, 8))}
    facts["own-b"] = LoraFacts(**{**vars(facts["own-a"]), "base": "FLUX.1", "family": "flux"})
    for lora, told in facts.items():
        library.folder(lora).mkdir(parents=True)
        (library.folder(lora) / "a.safetensors").write_bytes(b"lora")
        library.put(LibraryLora(id=lora, name=lora, file="a.safetensors", licence="MIT", facts=told))
    desk = studio.desk(anna.id)
    offered = refine.fill_begin(desk, "own-b")
    assert offered["choices"] == [("a new LoRA", ""), ("own-a (licence MIT)", "own-a")] and offered["value"] == ""
    assert "begins with own-a, rank 8; its licence (MIT)" in str(refine.draw_preflight(desk, "own-a", 9)[0])
    assert "does not fit fake-edit" in str(refine.draw_preflight(desk, "own-b", 9)[0])
    with pytest.raises(BadInput, match="does not fit fake-edit"):
        refine.start_training(desk, "own-b", 9)
    refine.start_training(desk, "own-a", 9)
    (job,) = studio.jobs.list()
    assert (job.payload["begun"]["lora"], job.payload["params"]["rank"]) == ("own-a", 8)


def test_an_editors_training_can_be_stopped_kept_and_trained_longer(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """As a character's: while it runs it can be stopped and kept, and when it has ended well it can go on."""
    made = add(Kind.ENRICHED, parent=add().id, params=EditParams(instruction="smile").to_json())
    studio.store(anna.id).correct(made.id, picture(77), reviewer="owner")
    assert refine.draw_live(studio.desk(anna.id)) == ""
    refine.start_training(studio.desk(anna.id), "", 8)
    (job,) = studio.jobs.list()
    assert "queued" in refine.draw_live(studio.desk(anna.id))
    refine.live_act(studio.desk(anna.id), {"act": "cancel", "job": job.id})
    assert 'data-act="resume"' in refine.draw_live(studio.desk(anna.id))
    refine.live_act(studio.desk(anna.id), {"act": "resume", "job": job.id})
    studio.jobs.start()
    ended(studio, job)
    assert "8 of 8 steps" in refine.draw_live(studio.desk(anna.id))

    row, more, _ = run.fill_more(studio.desk(anna.id), None, "", kind="refine")
    assert (row["visible"], more) == (True, 4)
    run.train_longer(studio.desk(anna.id), more, kind="refine")
    ended(studio, job)

    assert [version.metrics.steps for version in studio.store(anna.id).versions.all()] == [8, 12]


def test_the_weakest_task_is_named_and_practised(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Tasks stand weakest first with their acceptance; one click queues new edits of what was refused."""
    store = studio.store(anna.id)
    source = add()
    store.decide(source.id, Verdict.GOOD)
    for task, verdict in (("pose", Verdict.REJECT), ("outfit", Verdict.GOOD)):
        made = add(Kind.ENRICHED, parent=source.id, asked={task: "sitting"})
        store.decide(made.id, verdict)

    shown = refine.draw_counts(studio.desk(anna.id))
    assert shown.index("pose") < shown.index("outfit")
    assert "0 of 1" in shown and "1 of 1" in shown
    assert "Practise pose" in shown

    said = refine.counts_act(studio.desk(anna.id), {"act": "practise"})
    assert 'data-tab="Review"' in said
    (job,) = studio.jobs.list()
    assert {row["task"] for row in job.payload["rows"]} == {"pose"}


def test_an_editor_without_fault_has_nothing_to_practise(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The button is there only where something was refused."""
    made = add(Kind.ENRICHED, parent=add().id, asked={"pose": "sitting"})
    studio.store(anna.id).decide(made.id, Verdict.GOOD)
    assert "Practise" not in refine.draw_counts(studio.desk(anna.id))


def test_before_and_after_say_what_could_be_judged(studio: Workplace, anna: Character) -> None:
    """Rates of what was judged on each side, the pairs judged on both, and a p that is never 0."""
    side = Side(accepted=1.0, judged=3, unknown=1, low=0.4, high=1.0, identity_median=0.5)
    nobody = side.replace(accepted=None, judged=0, unknown=4)
    edits = Comparison(n=4, originals=4, before=nobody, after=side, judged=0, better=0, worse=0, p=0.0)
    made = Version(id="e1", role=Role.EDITOR, name="e1", model=anna.editor, adapter="e.safetensors")
    version = studio.store(anna.id).versions.put(made.replace(metrics=Metrics(edits=edits)))

    shown = refine.before_after(studio.store(anna.id), version)

    assert ">?</b>" in shown and ">100%</b>" in shown
    assert "of 0 and 3 judged of 4 edits it never learned from" in shown
    assert "p &lt; 0.001" in shown
