"""Flywheel 1, step 2: plans the edits that a character needs, and runs the job that makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le, MaxLen
from PIL import Image

from engines.api.axes import Tags, shown_after
from engines.api.errors import BadInput, NotFound
from engines.api.params import EditParams, LoraUse
from engines.api.protocols import ModelSpec
from engines.api.values import Many, later_seed, taken
from engines.wording.registry import vocabulary
from studio.flywheel import stacks
from studio.flywheel.curate.captions import RECIPE
from studio.flywheel.enrich import area, routes, templates
from studio.flywheel.enrich.drawing import Drawn, draw, fit_of, plans_of
from studio.flywheel.enrich.plan import aimed, asks
from studio.flywheel.enrich.repeats import asked, drawn, fingerprint, waiting
from studio.flywheel.train import timing
from studio.gpu.budget import Fit
from studio.jobs.progress import Work
from studio.judging.judge import Judge
from studio.records.base import Part
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Job
from studio.records.payload import EnrichPayload, PlanRow
from studio.records.version import Version
from studio.store import Store
from studio.workplace.context import Context
from studio.workplace.desk import Desk

EDITS_A_SOURCE = 4.5
_Seeds, _Limit = Annotated[int, Ge(1), Le(1000)], Annotated[int, Ge(1), Le(10_000)]
_Name = Annotated[str, MaxLen(1000)]
_ROW: Mapping[str, Any] = {
    "source": _Name,
    "params": dict[str, Any],
    "asked": dict[_Name, _Name],
    "task": _Name,
    "mends": _Name,
    "area": _Name,
    "references": Annotated[tuple[_Name, ...], MaxLen(9)],
    "model": _Name,
    "version": _Name,
    "why": _Name,
}
_PNG_SHARE = 0.6  # bytes of a photo's PNG and thumbnail, as a share of its raw bytes


@dataclass(frozen=True, kw_only=True)
class EnrichPlan(Part):
    """Holds a plan of edits: one row for each picture to draw, and what drawing them takes."""

    rows: tuple[PlanRow, ...]
    """The edits, for enrich_submit."""
    count: int
    """The number of rows."""
    seconds: float | None
    """The predicted time; null while the model's speed is not known."""
    disk_bytes: int
    """The predicted size of the results."""
    fit: Fit
    """Whether it fits in memory."""
    model: str = ""
    """The name of the model that edits."""


def plan(
    desk: Desk,
    sources: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    seeds: int = 1,
    model: str | None = None,
    loras: Sequence[LoraUse] = (),
    limit: int | None = None,
    fill_gaps: bool = True,
    knobs: Mapping[str, Any] | None = None,
    aims: Sequence[Tags] = (),
    routed: bool = True,
) -> EnrichPlan:
    """Returns a plan of edits of source pictures; starts no job.

    With `fill_gaps` the plan begins with edits that show angles, expressions and poses that no picture shows yet; edits
    for variety follow. With `aims`, each the tags that a result should have, the plan holds only edits that reach one
    of the aims. `tasks` restricts the edits to some of background, lighting, outfit, style, angle, expression, pose.

    `sources` are ids of pictures; None takes all undecided and approved originals. `seeds` is the number of results of
    each edit. `limit` is the most rows; None plans a few edits per source. `knobs` are EditParams by name that replace
    the model's defaults in every row; `loras` are added to the LoRAs in `knobs`, and `submit` adds the editor's own
    LoRA. `model` None is the character's editor, and with `routed` for each task the editor that its route names.

    Raises: BadInput for an unknown task, invalid parameters or no source; NotFound for an unknown picture or model.
    """
    taken("seeds", seeds, _Seeds)
    taken("limit", limit, _Limit | None)
    store = desk.store
    spec = desk.workplace.spec(model or store.character.editor, "editor")
    EditParams.demand_no_words(knobs or {}, "each row of a plan")
    spec.worded(EditParams, "", **(knobs or {}))  # raises for invalid parameters, even if the plan has no rows
    chosen = _sources(store, sources)
    wording = templates.wording(desk.workplace, spec)
    edits = wording.edit_tasks()
    if tasks is not None:
        unknown = sorted(set(tasks) - {edit.task for edit in edits})
        if unknown or not tasks:
            known = ", ".join(dict.fromkeys(edit.task for edit in edits))
            raise BadInput(f"There is no task {', '.join(unknown) or 'chosen'}.", f"Choose from: {known}.")
        edits = tuple(edit for edit in edits if edit.task in tasks)
    most = limit or max(1, round(EDITS_A_SOURCE * len(chosen)))
    each, before = -(-most // seeds), asked(store)
    if aims:
        wanted = aimed(chosen, aims, edits, each, wording, before)
    else:
        kinds = (Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION)
        covering = [image for image in store.select(kinds) if image.state in (Verdict.PENDING, Verdict.GOOD)]
        wanted = asks(chosen, covering, edits, each, fill_gaps, wording, before)
    before_now = drawn(store)
    asked_for = {**(knobs or {}), "loras": (*LoraUse.stack((knobs or {}).get("loras")), *loras)}
    by_route = routes.usable(desk) if routed and model is None else {}
    rows = [
        routes.row(desk, by_route.get(ask.edit.task), spec, ask, number, asked_for, before_now)
        for number in range(seeds)
        for ask in wanted
    ]
    return estimate(desk, rows[:most], spec.name)


def estimate(desk: Desk, rows: Sequence[PlanRow], model: str | None = None) -> EnrichPlan:
    """Returns a plan of the given rows with the time, disk space and memory that they take; starts no job.

    `model` None is the character's editor. Raises: NotFound for an unknown model, BadInput for invalid parameters or a
    model that is no editor.
    """
    store = desk.store
    spec = desk.workplace.spec(model or store.character.editor, "editor")
    made = [told(row, EnrichPayload(model=spec.name)) for row in rows]
    paces = {name: timing.drawn(desk.workplace, name) for name in dict.fromkeys(row.model for row in made)}
    walked = [
        timing.edited(desk.workplace, row.model, EditParams.from_json(row.params)) * paces[row.model] for row in made
    ]
    seconds = sum(walked) if walked and all(paces.values()) else None
    return EnrichPlan(
        rows=tuple(rows),
        count=len(rows),
        seconds=None if seconds is None else round(seconds, 1),
        disk_bytes=len(rows) * _picture_bytes(store, spec),
        fit=fit_of(desk, made, spec.name),
        model=spec.name,
    )


def submit(
    desk: Desk, rows: Sequence[PlanRow], model: str | None = None, key: str = "", version: str | None = None
) -> Job:
    """Queues a job that makes the edits in the rows of a plan, and returns the job.

    `model` None is the character's editor. `version` is the id of the editor's LoRA version to use: None takes the
    adopted one, "" none. A second call with the same `key` returns the first job. Raises: BadInput without rows, for an
    invalid row, a model that is no editor, or a version of another model; NotFound; ModelMissing; LoraMismatch for a
    LoRA that does not fit.
    """
    if not rows:
        raise BadInput("There is nothing to edit.", "Make a plan with at least one row.")
    taken("the number of rows", len(rows), Many)
    store = desk.store
    spec = desk.workplace.demand_model(model or store.character.editor, "editor")
    checked = [_checked(store, row, f"rows[{at}]") for at, row in enumerate(rows)]
    used = adopted(store, spec.name) if version is None else store.versions.get(version) if version else None
    asked = EnrichPayload(rows=tuple(checked), model=spec.name, version=used.id if used else "")
    notes = demand_drawable(desk, [told(row, asked) for row in checked])
    payload = asked.replace(notes=notes)
    title = f"Enrich: {len(rows)} edits" if len(rows) > 1 else "Enrich: 1 edit"
    return desk.workplace.jobs.submit("enrich", desk.id, payload, title=title, total=len(rows), key=key)


def demand_drawable(desk: Desk, rows: Sequence[PlanRow]) -> tuple[str, ...]:
    """Checks that rows, whose `model` is set, can be drawn here; returns notes on LoRA files with unused tensors.

    Raises: NotFound, ModelMissing; BadInput for a model that is no editor, or a version that is in the trash or of
    another model; LoraMismatch for a LoRA that does not fit.
    """
    store, notes = desk.store, dict[str, None]()
    for model, version in dict.fromkeys((row.model, row.version) for row in rows):
        spec = desk.workplace.demand_model(model, "editor")
        used = store.versions.get(version) if version else None
        if used is not None and (used.model != spec.name or used.role is not Role.EDITOR):
            raise BadInput(
                f"{used.name} is no editor version of {spec.label}.", "Choose the model that it was trained for."
            )
        if used is not None and used.trashed:
            raise BadInput(f"{used.name} is in the trash.", "Restore it, or edit with another version.")
        drawn = [EditParams.from_json(row.params).loras for row in rows if row.model == model]
        notes |= dict.fromkeys(stacks.check(desk.workplace, spec.name, drawn))
    plans_of(desk, rows)
    return tuple(notes)


def demand_new(desk: Desk, rows: Sequence[PlanRow], model: str | None = None) -> None:
    """Raises BadInput where an edit in the rows is queued or running already.

    The page calls this because a user may click twice; a script may queue the same edits again. `model` None is the
    character's editor.
    """
    queued = waiting(desk, model or desk.store.character.editor)
    twice = sum(fingerprint(row.source, row.params, row.references) in queued for row in rows)
    if twice:
        which = "The edit is" if len(rows) == 1 else f"{twice} of these {len(rows)} edits are"
        which = f"These {twice} edits are" if twice == len(rows) > 1 else which
        raise BadInput(f"{which} queued already.", "Wait for them, cancel them in the queue, or change the plan.")


def _checked(store: Store, row: PlanRow, place: str) -> PlanRow:
    """Returns the row after checking its fields, its picture and its parameters.

    Raises: BadInput, and NotFound for its picture; both errors begin with `place`.
    """
    if isinstance(row.references, list):  # as a script sends it
        row = row.replace(references=tuple(row.references))
    for name, kind in _ROW.items():
        taken(f"{place}.{name}", getattr(row, name), kind)
    try:
        for image in (row.source, *row.references, *([row.mends] if row.mends else ())):
            store.images.get(image)
        area.demand_stored(store, row)
        params = EditParams.from_json(row.params)
        params.demand_words()
    except (BadInput, NotFound) as error:
        raise type(error)(f"{place}: {error.cause}", error.hint) from None
    return row


def retry(desk: Desk, image_id: str, params_changes: Mapping[str, object], painted: Image.Image | None = None) -> Job:
    """Queues the edit that made a result once more, with changed parameters and a seed that repeats no earlier result.

    `image_id` is the result; `params_changes` are EditParams by name. With `painted`, a mask that is white where it
    counts, only that area of the result is redone. A retry of an edit that needs correction is linked to it; when the
    new result is approved, the edit no longer waits to be corrected.

    Raises: NotFound; BadInput for a picture that was not made by an edit, a parameter that the editor does not have, or
    a mask of another size.
    """
    store = desk.store
    image = store.images.get(image_id)
    if image.params_kind != EditParams.__name__ or not image.parent:
        raise BadInput(f"{image.name or image_id} was not made by an edit.", "Choose a result of Enrich.")
    changed = EditParams.from_json({**EditParams.kept(image.params).to_json(), **params_changes})
    model = image.model or store.character.editor
    taken_before = drawn(store) | waiting(desk, model)
    while fingerprint(image.parent, changed.to_json(), image.references) in taken_before:
        changed = changed.replace(seed=later_seed(changed.seed, 1))
    wrong = image.state is Verdict.NEEDS_CORRECTION
    row = PlanRow(
        source=image.parent,
        params=changed.to_json(),
        asked=image.asked,
        task=next(iter(image.asked), ""),
        mends=image.id if wrong or painted is not None else image.mends,
        area="" if painted is None else store.keep_area(image.id, painted),
        references=image.references,
    )
    return submit(desk, [row], model=model)


# ── running the job ───────────────────────────────────────────────────────────────────────────────


def run(ctx: Context) -> None:
    """Runs a job of edits: makes those that have no result yet, scores each result, and saves it for review."""
    asked = EnrichPayload.of(ctx.job)
    rows = [told(row, asked) for row in asked.rows]
    done = _done(ctx, rows)
    stacks.tell(ctx)
    left = {index: row for index, row in enumerate(rows) if index not in done}
    is_one = len({row.model for row in left.values()}) == 1
    ctx.step(len(done), len(rows))

    def on_step(step: int, total: int, message: str = "") -> None:
        work = Work(step, total) if is_one else None  # of several models, one tells nothing of the next
        ctx.step(len(done), len(rows), message or f"step {step} of {total}", work=work)

    if left:
        judge = Judge(ctx)
        with closing(draw(ctx, left, on_step)) as results:
            for each in results:
                done[each.index] = keep(ctx, rows[each.index], each, judge).id
                ctx.keep(images=tuple(done[i] for i in sorted(done)))
                ctx.step(len(done), len(rows))
    ctx.keep(images=tuple(done[index] for index in sorted(done)))


def told(row: PlanRow, asked: EnrichPayload) -> PlanRow:
    """Returns a row with the model and the LoRA version that make it: its own, or else those of the job."""
    return row if row.model else row.replace(model=asked.model, version=asked.version or "")


def keep(ctx: Context, row: PlanRow, drawn: Drawn, judge: Judge, **fields: Any) -> ImageRecord:
    """Stores the result of a row, whose model is set, and returns its record.

    `judge` tells its similarity to the originals; `fields` are further fields of the record.
    """
    parent = ctx.store.images.get(row.source)
    tags = shown_after(parent.tags, row.asked)
    character, spec = ctx.store.character, ctx.workplace.registry.spec(row.model)
    wording = vocabulary(spec.wording).of_medium(character.medium)
    # The record keeps the parameters as requested, without the adapter's file: the version's id identifies it.
    made = area.kept(ctx.store, row, drawn.image)
    made_as: dict[str, Any] = {
        "parent": row.source,
        "source_crop": drawn.crop,
        "item": EditParams.from_json(row.params),
        "model": row.model,
        "version": row.version,
        "asked": row.asked,
        "tags": tags,
        "caption": wording.describe(tags, character.trigger, character.subject),
        "caption_by": RECIPE,
        "likeness": judge.likeness(made, row.asked),
        "name": f"{parent.name or row.source[:8]} · {row.task}",
        "mends": row.mends,
        "area": row.area,
        "references": row.references,
    }
    return ctx.save(made, kind=Kind.ENRICHED, **{**made_as, **fields})


def _done(ctx: Context, rows: Sequence[PlanRow]) -> dict[int, str]:
    """Returns the rows of which this job has saved a result, as row index -> picture id.

    A resumed job skips these rows.
    """
    saved = {
        (*fingerprint(each.parent, each.params, each.references), each.mends, each.area, each.model, each.version): each
        for each in ctx.store.images.find(job=ctx.job.id)
    }
    found = {}
    for index, row in enumerate(rows):
        edit = fingerprint(row.source, EditParams.from_json(row.params).to_json(), row.references)
        if each := saved.get((*edit, row.mends, row.area, row.model, row.version)):
            found[index] = each.id
    return found


# ── planning edits ────────────────────────────────────────────────────────────────────────────────


def _sources(store: Store, ids: Sequence[str] | None) -> list[ImageRecord]:
    """Returns the pictures to edit: the chosen ones, or all originals that are undecided or approved, starred first.

    Raises: BadInput without one, NotFound.
    """
    if ids is not None:
        chosen = [store.images.get(image) for image in dict.fromkeys(ids)]
    else:
        chosen = [image for image in store.select(Kind.SOURCE) if image.state in (Verdict.PENDING, Verdict.GOOD)]
        chosen.sort(key=lambda image: not image.star)
    if not chosen:
        raise BadInput("There is no picture to edit.", "Import some in Curate first.")
    return chosen


def adopted(store: Store, model: str) -> Version | None:
    """Returns the adopted LoRA version of the editor if it was trained for the model named `model`, else None."""
    version = store.adopted(Role.EDITOR)
    return version if version is not None and version.model == model else None


def _picture_bytes(store: Store, spec: ModelSpec) -> int:
    """Returns the expected bytes of a result: the mean of the last 20 edits on the disk.

    Where there are none it is estimated from the model's picture size.
    """
    files = (store.folder / image.file for image in store.select(Kind.ENRICHED)[-20:])
    sizes = [file.stat().st_size for file in files if file.is_file()]
    return round(sum(sizes) / len(sizes)) if sizes else round(spec.size[0] * spec.size[1] * 3 * _PNG_SHARE)
