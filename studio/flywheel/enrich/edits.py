"""Flywheel 1, step 2: plans the edits that a character needs, and runs the job that makes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from annotated_types import Ge, Le, MaxLen
from PIL import Image

from engines.api.axes import Tags
from engines.api.crops import Crop, cut
from engines.api.errors import BadInput, NotFound, UserError
from engines.api.params import EditParams, LoraUse
from engines.api.protocols import EditItem, Editor, ModelSpec, Plan
from engines.api.values import Many, later_seed, taken
from engines.wording.registry import vocabulary
from studio.flywheel import stacks
from studio.flywheel.curate.captions import RECIPE
from studio.flywheel.enrich import area, templates
from studio.flywheel.enrich.plan import aimed, asks
from studio.flywheel.enrich.repeats import asked, drawn, fingerprint, new_row, waiting
from studio.flywheel.train import timing
from studio.gpu.budget import Fit
from studio.jobs.progress import Work
from studio.judging.gallery import open_each
from studio.judging.judge import Judge
from studio.records.base import Part
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Job
from studio.records.payload import EnrichPayload, PlanRow
from studio.records.version import Version
from studio.store import Store
from studio.workplace.context import Context
from studio.workplace.desk import Desk, Workplace

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
) -> EnrichPlan:
    """Returns a plan of edits of source pictures; starts no job.

    With `fill_gaps` the plan begins with edits that show angles, expressions and poses that no picture shows yet; edits
    for variety follow. With `aims`, each the tags that a result should have, the plan holds only edits that reach one
    of the aims. `tasks` restricts the edits to some of background, lighting, outfit, style, angle, expression, pose.

    `sources` are ids of pictures; None takes all undecided and approved originals. `seeds` is the number of results of
    each edit. `limit` is the most rows; None plans a few edits per source. `knobs` are EditParams by name that replace
    the model's defaults in every row; `loras` are added to the LoRAs in `knobs`, and `submit` adds the editor's own
    LoRA. `model` None is the character's editor.

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
    rows = [new_row(spec, ask, number, asked_for, before_now) for number in range(seeds) for ask in wanted]
    return estimate(desk, rows[:most], spec.name)


def estimate(desk: Desk, rows: Sequence[PlanRow], model: str | None = None) -> EnrichPlan:
    """Returns a plan of the given rows with the time, disk space and memory that they take; starts no job.

    `model` None is the character's editor. Raises: NotFound for an unknown model, BadInput for invalid parameters or a
    model that is no editor.
    """
    store = desk.store
    spec = desk.workplace.spec(model or store.character.editor, "editor")
    walked = sum(timing.edited(desk.workplace, spec.name, EditParams.from_json(row.params)) for row in rows)
    seconds = timing.drawn(desk.workplace, spec.name) * walked or None
    return EnrichPlan(
        rows=tuple(rows),
        count=len(rows),
        seconds=None if seconds is None else round(seconds, 1),
        disk_bytes=len(rows) * _picture_bytes(store, spec),
        fit=_fit(desk.workplace, spec, rows),
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
    notes = stacks.check(desk.workplace, spec.name, [EditParams.from_json(row.params).loras for row in checked])
    used = adopted(store, spec.name) if version is None else store.versions.get(version) if version else None
    if used is not None and (used.model != spec.name or used.role is not Role.EDITOR):
        raise BadInput(
            f"{used.name} is no editor version of {spec.label}.", "Choose the model that it was trained for."
        )
    if used is not None and used.trashed:
        raise BadInput(f"{used.name} is in the trash.", "Restore it, or edit with another version.")
    own = (LoraUse(file=str(store.adapter_path(used.id))),) if used else ()
    _plan_of(desk.workplace, spec, checked, own)
    payload = EnrichPayload(rows=tuple(checked), model=spec.name, version=used.id if used else "", notes=tuple(notes))
    title = f"Enrich: {len(rows)} edits" if len(rows) > 1 else "Enrich: 1 edit"
    return desk.workplace.jobs.submit("enrich", desk.id, payload, title=title, total=len(rows), key=key)


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
    rows = asked.rows
    done = _done(ctx, rows)
    stacks.tell(ctx)
    left = [index for index in range(len(rows)) if index not in done]
    ctx.step(len(done), len(rows))

    def on_step(step: int, total: int, message: str = "") -> None:
        ctx.step(len(done), len(rows), message or f"step {step} of {total}", work=Work(step, total))

    if left:
        judge = Judge(ctx)
        crops = {index: area.crop_of(ctx.store, rows[index]) for index in left}
        editor = ctx.workplace.editor(asked.model)
        left, items = _items(ctx, editor, rows, left, crops)
        with ctx.lease(editor.plan(items), f"enrich|{asked.model}") as lease:
            results: Iterator[Image.Image] = editor.edit(items, lease, on_step)
            for index, result in zip(left, results, strict=True):
                row = rows[index]
                done[index] = _keep(ctx, row, crops[index], result, judge).id
                ctx.keep(images=tuple(done[i] for i in sorted(done)))
                ctx.step(len(done), len(rows))
    ctx.keep(images=tuple(done[index] for index in sorted(done)))


def _items(
    ctx: Context, editor: Editor, rows: Sequence[PlanRow], left: Sequence[int], crops: Mapping[int, Crop]
) -> tuple[list[int], list[EditItem]]:
    """Returns those rows of `left` whose source and references can be opened, and their edits.

    Each picture is opened once for each of its crops, and kept as small as the editor reads it; the job's editor
    version is added after the row's own LoRAs. Raises: BadInput where no picture can be opened.
    """
    version = EnrichPayload.of(ctx.job).version
    own = (LoraUse(file=str(ctx.store.adapter_path(version))),) if version else ()
    parts: dict[int, tuple[tuple[str, Crop], ...]] = {
        index: ((rows[index].source, crops[index]), *((image, ()) for image in rows[index].references))
        for index in left
    }
    wanted = Counter(part for index in left for part in parts[index])

    def leave_out(part: tuple[str, Crop], error: UserError) -> None:
        ctx.leave_out(part[0], error, items=wanted[part])

    def edited(part: tuple[str, Crop]) -> EditItem:
        return editor.scaled(EditItem(cut(ctx.store.open_whole(part[0]), part[1]), EditParams()))

    opened = open_each(wanted, edited, leave_out)
    ctx.demand_some(opened)
    usable = [index for index in left if all(part in opened for part in parts[index])]
    items = []
    for index in usable:
        params = EditParams.from_json(rows[index].params)
        shown, *references = (opened[part] for part in parts[index])
        loras = (*params.loras, *own)
        seen = tuple(each.source for each in references)
        items.append(replace(shown, params=params.replace(loras=loras), references=seen))
    return usable, items


def _keep(ctx: Context, row: PlanRow, crop: Crop, result: Image.Image, judge: Judge) -> ImageRecord:
    parent = ctx.store.images.get(row.source)
    tags = {**parent.tags, **row.asked}
    character, spec = ctx.store.character, ctx.workplace.registry.spec(EnrichPayload.of(ctx.job).model)
    wording = vocabulary(spec.wording).of_medium(character.medium)
    # The record keeps the parameters as requested, without the adapter's file: the version's id identifies it.
    made = area.kept(ctx.store, row, result)
    return ctx.save(
        made,
        kind=Kind.ENRICHED,
        parent=row.source,
        source_crop=crop,
        item=EditParams.from_json(row.params),
        asked=row.asked,
        tags=tags,
        caption=wording.describe(tags, character.trigger, character.subject),
        caption_by=RECIPE,
        likeness=judge.likeness(made),
        name=f"{parent.name or row.source[:8]} · {row.task}",
        mends=row.mends,
        area=row.area,
        references=row.references,
    )


def _done(ctx: Context, rows: Sequence[PlanRow]) -> dict[int, str]:
    """Returns the rows of which this job has saved a result, as row index -> picture id.

    A resumed job skips these rows.
    """
    saved = {
        (*fingerprint(image.parent, image.params, image.references), image.mends, image.area): image.id
        for image in ctx.store.images.find(job=ctx.job.id)
    }
    asked = (
        (*fingerprint(row.source, EditParams.from_json(row.params).to_json(), row.references), row.mends, row.area)
        for row in rows
    )
    return {index: saved[edit] for index, edit in enumerate(asked) if edit in saved}


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


def _fit(workplace: Workplace, spec: ModelSpec, rows: Sequence[PlanRow]) -> Fit:
    """Returns whether the edits fit into memory; a model that is not on this machine does not fit."""
    try:
        return workplace.gpu.check(_plan_of(workplace, spec, rows), key=f"enrich|{spec.name}")
    except UserError as error:
        return Fit.refused(error, workplace.gpu.budget)


def _plan_of(workplace: Workplace, spec: ModelSpec, rows: Sequence[PlanRow], own: tuple[LoraUse, ...] = ()) -> Plan:
    """Returns the memory plan of the edits. Raises: ModelMissing, NotFound, BadInput for invalid parameters."""
    editor = workplace.editor(spec.name)
    blank = Image.new("RGB", spec.size)
    items = []
    for row in rows:
        params = EditParams.from_json(row.params)
        items.append(EditItem(blank, params.replace(loras=(*params.loras, *own)), (blank,) * len(row.references)))
    return editor.plan(items)
