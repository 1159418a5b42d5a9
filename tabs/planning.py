"""The plan of edits on the Enrich tab: how it is made, what a person changes in it, and how it is queued."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput
from engines.api.params import EditParams
from engines.wording.registry import vocabulary
from studio.flywheel import card
from studio.flywheel.enrich import contest, own_words, repeats, routes
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich.changes import Changes, Planned, changed, reworded
from studio.flywheel.enrich.edits import EnrichPlan
from studio.flywheel.refine import editor as refine
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.payload import PlanRow
from studio.records.plan import OwnEdit
from studio.records.tournament import Contestant
from studio.records.version import Version
from studio.store import Store
from studio.workplace.desk import Desk
from tabs import own_rows
from tabs.common import looks, missing
from tabs.common.knobs import Knob, first_block_cache, given, marked, number
from tabs.common.looks import view
from tabs.common.shell import Said, active_job

TASKS = ("angle", "expression", "pose", "background", "lighting", "outfit", "style")
KNOBS = (  # fields of EditParams in the order of the layout
    (
        Knob("steps", number("Steps (0: the model's own)", precision=0)),
        Knob("true_cfg", number("True CFG (0: the model's own)")),
    ),
    (Knob("few_steps", partial(gr.Checkbox, False, label="Few steps: drafts, several times faster")),),
    (Knob("first_block_cache", first_block_cache),),
)
IN_USE = "in use"
GAPS, MISSED, VARIETY = "Coverage gaps", "Card gaps", "Variety"
PLAN_ROWS = 40


def fill_editors(desk: Desk, chosen: str | None) -> Any:
    """Returns a Gradio update of the dropdown in which a person chooses the editor, the model that makes the edits.

    The choices are the editor in use, each LoRA version of an editor, and each editor model without a LoRA. `chosen` is
    the value selected now; it stays selected where it is still a choice, else the editor in use is selected.
    """
    store, labels = desk.store, {spec.name: spec.label for spec in desk.workplace.registry.role("editor")}
    used = enrich.adopted(store, store.character.editor)
    name = labels.get(store.character.editor, store.character.editor)
    versions = [each for each in reversed(store.kept_versions(Role.EDITOR)) if each.model in labels]
    choices = [
        (f"in use: {'own ' + worth(store, used) + ' + ' if used else ''}{name}", IN_USE),
        *((f"own {worth(store, each)} + {labels[each.model]}", each.id) for each in versions),
        *((marked(desk.workplace, model, f"{label} alone"), model) for model, label in labels.items()),
    ]
    return gr.update(choices=choices, value=chosen if chosen in [value for _, value in choices] else IN_USE)


def worth(store: Store, version: Version) -> str:
    """Returns the label of a LoRA version of the editor: its name and two rates, as in `v1 (56 → 89 %)`.

    The rates are the shares of held-out edits (not trained on) that were accepted, made first without, then with the
    version's LoRA. The label is the name alone where nothing was compared yet.
    """
    edits = refine.as_judged(store, version).metrics.edits
    if edits is None or edits.before.accepted is None or edits.after.accepted is None:
        return version.name
    return f"{version.name} ({100 * edits.before.accepted:.0f} → {100 * edits.after.accepted:.0f} %)"


def editor_of(desk: Desk, chosen: str | None) -> tuple[str, str | None]:
    """Returns an editor model's name and a LoRA version's id, for a value of the dropdown of editors.

    `chosen` is the dropdown's value: a version's id, a model's name (the model without a LoRA), or IN_USE, which None
    and "" also mean. For a model's name the returned id is "". For IN_USE it is None, which later selects the version
    that is in use, if any.
    """
    if chosen in (None, "", IN_USE):
        return desk.store.character.editor, None
    version = desk.store.versions.peek(chosen)
    return (version.model, version.id) if version else (chosen, "")


def drawn_by(desk: Desk, chosen: str | None) -> str:
    """Returns the name of the editor that a value of the dropdown of editors stands for, such as `Model · own v2`."""
    model, version = editor_of(desk, chosen)
    return contest.label(desk, routes.in_use(desk) if version is None else Contestant(model=model, version=version))


def usable_sources(desk: Desk) -> list[ImageRecord]:
    """Returns the records of the originals that can be edited: all originals that were not rejected."""
    return [each for each in desk.store.select(Kind.SOURCE) if each.state is not Verdict.REJECT]


def chosen_sources(desk: Desk, picked: str) -> list[str]:
    """Returns the ids of the originals that are chosen as sources of the plan.

    `picked` holds ids of pictures as a JSON list. Left out are the ids of pictures that were rejected or put into the
    trash meanwhile, and those of another character's pictures.
    """
    shown = {each.id for each in usable_sources(desk)}
    return [each for each in json.loads(picked) if each in shown]


def draw_sources(desk: Desk, picked: str) -> Markup:
    """Returns the originals as HTML: thumbnails, on which a click chooses a source of the plan.

    `picked` holds the chosen ids as a JSON list; an empty list means all originals.
    """
    chosen = chosen_sources(desk, picked)
    tiles = [
        (each.id, looks.thumb(desk.store, each.id, each.crop), each.name or looks.describe(each), each.id in chosen)
        for each in usable_sources(desk)
    ]
    return view("enrich", "sources", tiles=tiles, count=sum(on for *_, on in tiles))


def pick_source(desk: Desk, data: dict[str, Any], picked: str) -> str:
    """Handles a click in the thumbnails of the sources; returns the ids of the chosen sources as a JSON list.

    `data` is what the clicked element sends. A picture whose id it sends is added to the ids in `picked`, a JSON list,
    or removed where it was among them. A click on the button for all originals returns an empty list, which means all
    originals.
    """
    chosen = chosen_sources(desk, picked)
    image = str(data.get("id", ""))
    if data.get("act") == "all":
        chosen = []
    elif image in chosen:
        chosen.remove(image)
    elif image in desk.store.images:
        chosen.append(image)
    return json.dumps(chosen)


def make_plan(
    desk: Desk,
    tasks: Sequence[str],
    limit: float | None,
    seeds: float | None,
    aim: str,
    picked: str,
    editor: str | None,
    *knobs: float | bool | None,
) -> EnrichPlan:
    """Returns the plan of edits that the values of the widgets ask for, without queueing it.

    `tasks` are the kinds of edits, `limit` is the largest number of edits, `seeds` the number of results of each edit;
    None in these two means a default. `aim` is GAPS (first edits that show what no picture shows yet), MISSED (only
    what the model card failed at) or VARIETY (neither of them). `picked` holds the sources' ids as a JSON list; empty
    means all originals. `editor` is the value of the dropdown of editors (see `editor_of`). `knobs` are the values of
    the widgets in KNOBS, used for all edits. Raises: BadInput for empty `tasks` or an invalid value.
    """
    if not tasks:
        raise BadInput("No kind of edit is chosen.", "Tick at least one under “What to vary”.")
    return enrich.plan(
        desk,
        sources=chosen_sources(desk, picked) or None,
        tasks=list(tasks),
        seeds=1 if seeds is None else int(seeds),
        model=None if editor in (None, "", IN_USE) else editor_of(desk, editor)[0],  # only a choice leaves the routes
        limit=24 if limit is None else int(limit),
        fill_gaps=aim == GAPS,
        knobs=given(KNOBS, knobs),
        aims=card.to_show(desk) if aim == MISSED else (),
    )


def changed_plan(desk: Desk, changes: str, *knobs: Any) -> list[Planned]:
    """Returns all rows of the plan with the person's changes applied; unticked rows stay in it, with `kept` False.

    `changes` is a `Changes` as JSON, "{}" for no change. `knobs` are the values of the plan's widgets, in the order of
    the arguments of `make_plan`. Raises: BadInput as `make_plan` does, and for an added row without words.
    """
    plan = make_plan(desk, *knobs)
    spec = desk.workplace.registry.spec(plan.model)
    return changed(desk, plan.rows, Changes.from_json(json.loads(changes)), spec, given(KNOBS, knobs[6:]))


def draw_plan(desk: Desk, changes: str, *knobs: Any) -> tuple[Markup, Markup]:
    """Returns the plan as two pieces of HTML: its cost, and its rows.

    Each row has a checkbox and an instruction that can be changed. Arguments as in `changed_plan`. Raises: BadInput.
    """
    store = desk.store
    if not store.select(Kind.SOURCE):
        add = looks.go("Add pictures in Curate", "Curate")
        return Markup(), looks.empty("Edits need pictures to start from.", add)
    edits, now = make_plan(desk, *knobs), Changes.from_json(json.loads(changes))
    spec = desk.workplace.registry.spec(edits.model)
    written = own_words.written(desk, now.own, spec, given(KNOBS, knobs[6:]))
    planned = reworded(edits.rows, now)
    drawn = [row for each in written if each.edit.on for row in each.rows]
    plan = enrich.estimate(desk, [*drawn, *(each.row for each in planned if each.kept)], spec.name)
    rows, by = [], drawn_by(desk, knobs[5])
    for each in planned[:PLAN_ROWS]:
        words = EditParams.kept(each.row.params).headline()
        lost = each.row.task == own_words.OWN and vocabulary(spec.wording).loses_person(words)
        thumb = looks.thumb(store, each.row.source, store.images.get(each.row.source).crop)
        rows.append((each, thumb, words, own_words.LOST if lost else "", each.row.why or by))
    left_out = sum(not each.kept for each in planned) + sum(len(each.rows) for each in written if not each.edit.on)
    return (
        missing.card(desk.workplace, spec.name) + view("enrich", "cost", plan=plan, left_out=left_out),
        own_rows.draw(desk, written, spec)
        + view("enrich", "plan", rows=rows, more=len(planned) - PLAN_ROWS, changed=now != Changes()),
    )


def plan_act(desk: Desk, data: dict[str, Any], changes: str, *knobs: Any) -> str:
    """Handles a change that a person makes in the plan's rows; returns all changes so far as JSON.

    The change ticks or unticks a planned row, replaces its instruction, makes a row of one's own of it, changes such a
    row (see `own_rows.act`), drops all changes, or lets the editor in use make the edits of a task. `data` is what the
    changed element sends, `changes` are the changes before it as JSON. `knobs` are the values of the plan's widgets.
    Raises: BadInput for a value that is not allowed.
    """
    now, act, row = Changes.from_json(json.loads(changes)), data.get("act"), str(data.get("row", ""))
    if act == "overrule":
        routes.choose(desk, str(data.get("task", "")), None)
        return changes
    if act == "as-planned":
        return "{}"
    if act == "tick":
        kept = [each for each in now.skipped if each != row]
        now = now.replace(skipped=tuple(kept if data.get("value") else [*kept, row]))
    elif act == "words":
        words = {**now.words, row: str(data.get("value", ""))}
        now = now.replace(words={key: said for key, said in words.items() if said.strip()})
    elif act == "as-own":
        for each in (each.row for each in reworded(make_plan(desk, *knobs).rows, now) if each.key == row):
            said = EditParams.kept(each.params).headline()
            own = OwnEdit(key=secrets.token_hex(6), words=said, sources=(each.source,))
            now = now.replace(own=(*now.own, own), skipped=(*now.skipped, row))
    else:
        now = now.replace(own=own_rows.act(desk, data, now.own, chosen_sources(desk, knobs[4])))
    return json.dumps(now.to_json())


def add_own(desk: Desk, words: str, changes: str, picked: str) -> tuple[str, str]:
    """Adds to the plan's changes an instruction in a person's own words, for the chosen sources.

    Returns "", which empties the text field, and all changes as JSON. `words` is the instruction, `changes` are the
    changes so far as JSON, and `picked` holds the sources' ids as a JSON list. Raises: BadInput without words, or
    without a chosen source.
    """
    if not words.strip():
        raise BadInput("There are no words to add.", "Say what should change, and what should stay.")
    sources = chosen_sources(desk, picked)
    if not sources:
        raise BadInput("No source is chosen.", "Click the pictures on the left that these words are for.")
    now = Changes.from_json(json.loads(changes))
    added = OwnEdit(key=secrets.token_hex(6), words=words.strip(), sources=tuple(sources))
    return "", json.dumps(now.replace(own=(*now.own, added)).to_json())


def use_lora(desk: Desk, lora: str, changes: str, picked: str) -> str:
    """Adds to the plan's changes a row with a LoRA of the library, its words and its strength, for the chosen sources.

    `lora` is its id, the other arguments are as in `add_own`. Returns all changes as JSON. Raises: NotFound for a LoRA
    that is not on this machine.
    """
    now = Changes.from_json(json.loads(changes))
    row = own_words.of_lora(desk, lora, secrets.token_hex(6), chosen_sources(desk, picked))
    return json.dumps(now.replace(own=(*now.own, row)).to_json())


def run_plan(desk: Desk, changes: str, *knobs: Any) -> Said:
    """Queues the ticked edits of the plan; returns a notice, and "{}" as the changes of the next plan.

    Arguments as in `changed_plan`. Raises: BadInput for a plan without ticked edits, or for edits that are queued
    already.
    """
    model, version = editor_of(desk, knobs[5])
    rows = kept_rows(desk, changes, *knobs)
    enrich.demand_new(desk, rows, model)
    enrich.submit(desk, rows, model=model, version=version)
    return Said(f"{looks.plural(len(rows), 'edit')} queued.", "{}")


def run_again(desk: Desk, changes: str, *knobs: Any) -> Said:
    """Queues the ticked edits of the plan once more, with seeds that were neither drawn nor queued yet.

    Returns a notice, and "{}" as the changes of the next plan. Arguments as in `changed_plan`. Raises: BadInput for a
    plan without ticked edits.
    """
    model, version = editor_of(desk, knobs[5])
    rows = repeats.once_more(desk, kept_rows(desk, changes, *knobs), model)
    enrich.submit(desk, rows, model=model, version=version)
    return Said(f"{looks.plural(len(rows), 'edit')} more queued, with other seeds.", "{}")


def kept_rows(desk: Desk, changes: str, *knobs: Any) -> list[PlanRow]:
    """Returns the ticked rows of the plan.

    Arguments as in `changed_plan`. Raises: BadInput where no row is ticked.
    """
    rows = [each.row for each in changed_plan(desk, changes, *knobs) if each.kept]
    if not rows:
        raise BadInput("The plan is empty.", "Choose more kinds of edits or more sources, or tick a row.")
    return rows


def offer_more(desk: Desk) -> Any:
    """Returns a Gradio update of the button that queues the plan once more with other seeds.

    The button is visible while edits are queued or running.
    """
    return gr.update(visible=active_job(desk, "enrich") is not None)
