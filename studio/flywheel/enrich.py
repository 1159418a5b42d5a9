"""Flywheel 1's second step: a plan of edits that the character needs, and the job that does them one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from engines.api import EditItem, EditParams, LoraUse, ModelSpec
from engines.errors import BadInput, UserError
from engines.prompts import Tags, edit_params, edit_tasks
from studio.flywheel import stacks, timing
from studio.flywheel.captions import RECIPE, recipe_caption
from studio.flywheel.judging import Judge
from studio.flywheel.planning import Ask, aimed, asks, seed_of
from studio.gpu import Fit
from studio.nouns import ImageRecord, Job, Json, Kind, Role, Verdict, Version

if TYPE_CHECKING:
    from studio.jobs import Context
    from studio.store import Store
    from studio.studio import Studio

EDITS_A_SOURCE = 4.5
_PNG_SHARE = 0.6  # a photo's PNG against its raw bytes, thumbnail included


@dataclass(frozen=True)
class PlanRow:
    """One edit to do: which picture, the parameters verbatim, the tags that the result should have."""

    source: str
    params: Json
    asked: Json = field(default_factory=dict)
    task: str = ""


@dataclass(frozen=True)
class EnrichPlan:
    """What would be done and what it takes; `seconds` is None until a job of the kind has been measured."""

    rows: tuple[PlanRow, ...]
    count: int
    seconds: float | None
    disk_bytes: int
    fit: Fit
    model: str = ""


def plan(
    studio: Studio,
    character_id: str,
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
    """Edits aimed at the empty coverage cells first, then at variety; about 54 for 12 sources. Starts nothing.

    With `aims`, such as what a card missed, only edits that lead to one of them.
    `tasks` restricts to some of background, lighting, outfit, style, angle, expression, pose; `knobs` are those
    EditParams that every row should have other than the model's own. LoRAs add up: those among the knobs, then `loras`,
    then the adopted version of the editor.
    Raises: BadInput, NotFound.
    """
    if seeds < 1 or (limit is not None and limit < 1):
        raise BadInput("A plan needs at least one seed and one edit.", "Ask for one or more.")
    store = studio.store(character_id)
    spec = studio.registry.spec(model or store.character.editor)
    chosen = _sources(store, sources)
    edits = edit_tasks(spec.toy)
    if tasks is not None:
        unknown = sorted(set(tasks) - {edit.task for edit in edits})
        if unknown or not tasks:
            known = ", ".join(dict.fromkeys(edit.task for edit in edits))
            raise BadInput(f"There is no task {', '.join(unknown) or 'chosen'}.", f"Choose from: {known}.")
        edits = tuple(edit for edit in edits if edit.task in tasks)
    most = limit or max(1, round(EDITS_A_SOURCE * len(chosen)))
    each, before = -(-most // seeds), asked(store)
    if aims:
        wanted = aimed(chosen, aims, edits, each, spec.toy, before)
    else:
        wanted = asks(chosen, _covering(store), edits, each, fill_gaps, spec.toy, before)
    taken = _taken(store)
    asked_for = {**(knobs or {}), "loras": (*LoraUse.stack((knobs or {}).get("loras")), *loras)}
    rows = [_row(spec, ask, number, asked_for, taken) for number in range(seeds) for ask in wanted]
    return estimate(studio, character_id, rows[:most], spec.name)


def estimate(studio: Studio, character_id: str, rows: Sequence[PlanRow], model: str | None = None) -> EnrichPlan:
    """Count, time, disk and memory of any rows. Raises: NotFound, BadInput."""
    store = studio.store(character_id)
    spec = studio.registry.spec(model or store.character.editor)
    seconds = _seconds(studio, spec.name, rows)
    return EnrichPlan(
        rows=tuple(rows),
        count=len(rows),
        seconds=None if seconds is None else round(seconds, 1),
        disk_bytes=len(rows) * _picture_bytes(store, spec),
        fit=_fit(studio, spec, rows),
        model=spec.name,
    )


def submit(studio: Studio, character_id: str, rows: Sequence[PlanRow], model: str | None = None, key: str = "") -> Job:
    """Queue rows of a plan, as they came or changed; the adopted editor version of this model draws them.

    Raises: BadInput without rows or for parameters that are none; NotFound; LoraMismatch for a LoRA that does not fit.
    """
    if not rows:
        raise BadInput("There is nothing to edit.", "Make a plan with at least one row.")
    store = studio.store(character_id)
    spec = studio.registry.spec(model or store.character.editor)
    for row in rows:
        store.images.get(row.source)
    notes = stacks.check(studio, spec.name, [EditParams.from_json(row.params).loras for row in rows])
    used = adopted(store, spec.name)
    payload = {
        "rows": [{"source": r.source, "params": r.params, "asked": r.asked, "task": r.task} for r in rows],
        "model": spec.name,
        "version": used.id if used else "",
        "notes": notes,
    }
    title = f"Enrich: {len(rows)} edits" if len(rows) > 1 else "Enrich: 1 edit"
    return studio.jobs.submit("enrich", character_id, payload, title=title, total=len(rows), key=key)


def retry(studio: Studio, character_id: str, image_id: str, params_changes: Mapping[str, object]) -> Job:
    """Do one result's edit again with a new seed, or with whatever else is changed.

    Raises: NotFound; BadInput for a picture that no edit made, or a knob that the editor does not have.
    """
    store = studio.store(character_id)
    image = store.images.get(image_id)
    if image.params_kind != EditParams.__name__ or not image.parent:
        raise BadInput(f"{image.name or image_id} was not made by an edit.", "Choose a result of Enrich.")
    before = EditParams.from_json(image.params)
    changed = EditParams.from_json({**before.to_json(), **params_changes})
    if changed == before:
        changed = before.replace(seed=before.seed + 1)
    row = PlanRow(image.parent, changed.to_json(), image.asked, next(iter(image.asked), ""))
    return submit(studio, character_id, [row], model=image.model)


# ── doing it ────────────────────────────────────────────────────────────────────────────────────


def run(ctx: Context) -> None:
    """Do the edits that have no result yet; each is scored, then kept as pending with all that made it."""
    rows = [PlanRow(**row) for row in ctx.job.payload["rows"]]
    done = _done(ctx, rows)
    stacks.tell(ctx)
    left = [index for index in range(len(rows)) if index not in done]
    ctx.step(len(done), len(rows))

    def on_step(step: int, total: int, message: str = "") -> None:
        ctx.step(len(done), len(rows), message or f"step {step} of {total}")

    if left:
        judge = Judge(ctx)
        items = _items(ctx, [rows[index] for index in left])
        editor = ctx.studio.engine(ctx.job.payload["model"])
        with ctx.lease(editor.plan(items), f"enrich|{ctx.job.payload['model']}") as lease:
            results: Iterator[Image.Image] = editor.edit(items, lease, on_step)
            for index, result in zip(left, results, strict=True):
                done[index] = _keep(ctx, rows[index], result, judge).id
                ctx.artifact("images", [done[i] for i in sorted(done)])
                ctx.step(len(done), len(rows))
    ctx.artifact("images", [done[index] for index in range(len(rows))])


def _items(ctx: Context, rows: Sequence[PlanRow]) -> list[EditItem]:
    """Rows as edits: each source opened once, the job's editor version on top of the row's own stack."""
    version: str = ctx.job.payload["version"]
    own = (LoraUse(file=str(ctx.store.adapter_path(version))),) if version else ()
    sources = {source: ctx.store.open_image(source) for source in dict.fromkeys(row.source for row in rows)}
    items = []
    for row in rows:
        params = EditParams.from_json(row.params)
        items.append(EditItem(sources[row.source], params.replace(loras=(*params.loras, *own))))
    return items


def _keep(ctx: Context, row: PlanRow, result: Image.Image, judge: Judge) -> ImageRecord:
    parent = ctx.store.images.get(row.source)
    tags = {**parent.tags, **row.asked}
    toy = ctx.studio.registry.spec(ctx.job.payload["model"]).toy
    # The record keeps the parameters as they were asked: the version's id stands for its adapter's file.
    return ctx.save(
        result,
        kind=Kind.ENRICHED,
        parent=row.source,
        item=EditParams.from_json(row.params),
        asked=row.asked,
        tags=tags,
        caption=recipe_caption(ctx.store, tags, toy),
        caption_by=RECIPE,
        **judge.likeness(result),
        name=f"{parent.name or row.source[:8]} · {row.task}",
    )


def _done(ctx: Context, rows: Sequence[PlanRow]) -> dict[int, str]:
    """Rows that this job has a saved result of, so that a resumed job goes on where it was killed."""
    saved = {_fingerprint(image.parent, image.params): image.id for image in ctx.store.images.find(job=ctx.job.id)}
    found: dict[int, str] = {}
    for index, row in enumerate(rows):
        image = saved.get(_fingerprint(row.source, EditParams.from_json(row.params).to_json()))
        if image is not None:
            found[index] = image
    return found


def _fingerprint(source: str, params: Json) -> tuple[str, str]:
    return source, repr(EditParams.from_json(params))


# ── planning it ─────────────────────────────────────────────────────────────────────────────────


def _sources(store: Store, ids: Sequence[str] | None) -> list[ImageRecord]:
    """The pictures to edit: those chosen, or all originals that nobody rejected, starred ones first."""
    if ids is not None:
        chosen = [store.images.get(image) for image in dict.fromkeys(ids)]
    else:
        chosen = [image for image in store.select(Kind.SOURCE) if image.state in (Verdict.PENDING, Verdict.GOOD)]
        chosen.sort(key=lambda image: not image.star)
    if not chosen:
        raise BadInput("There is no picture to edit.", "Import some in Curate first.")
    return chosen


def _covering(store: Store) -> list[ImageRecord]:
    """What counts towards coverage here: all that is good, and results still waiting for review."""
    kinds = (Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION)
    return [image for image in store.select(kinds) if image.state in (Verdict.PENDING, Verdict.GOOD)]


def asked(store: Store) -> set[tuple[str, str]]:
    """Which words were said of which picture, whatever came of it."""
    edits = (image for image in store.images.all() if image.params_kind == EditParams.__name__)
    return {(image.parent, EditParams.from_json(image.params).headline()) for image in edits}


def _taken(store: Store) -> set[tuple[str, str]]:
    edits = (image for image in store.images.all() if image.params_kind == EditParams.__name__)
    return {_fingerprint(image.parent, image.params) for image in edits}


def _row(spec: ModelSpec, ask: Ask, number: int, knobs: Mapping[str, Any], taken: set[tuple[str, str]]) -> PlanRow:
    """One row with a seed that was never used for the same edit of the same picture."""
    words = ask.edit.words
    params = edit_params(spec, words, seed=seed_of(ask.source, words, number), **knobs)
    while _fingerprint(ask.source, params.to_json()) in taken:
        params = params.replace(seed=params.seed + 1)
    taken.add(_fingerprint(ask.source, params.to_json()))
    return PlanRow(ask.source, params.to_json(), dict(ask.edit.expects), ask.edit.task)


def adopted(store: Store, model: str) -> Version | None:
    """The version of this editor that draws the next edits; None while it is the bare one."""
    version = store.adopted(Role.EDITOR)
    return version if version is not None and version.model == model else None


def _seconds(studio: Studio, model: str, rows: Sequence[PlanRow]) -> float | None:
    """How long rows will take, by what a walk through the model took in its newest pictures; None without any."""
    walked = sum(timing.edited(studio, model, EditParams.from_json(row.params)) for row in rows)
    return timing.drawn(studio, model) * walked or None


def _picture_bytes(store: Store, spec: ModelSpec) -> int:
    """A result's size on the disk: as earlier ones were, else an estimate from the model's picture size."""
    sizes = [store.path(image.id).stat().st_size for image in store.select(Kind.ENRICHED)[-20:]]
    return round(sum(sizes) / len(sizes)) if sizes else round(spec.size[0] * spec.size[1] * 3 * _PNG_SHARE)


def _fit(studio: Studio, spec: ModelSpec, rows: Sequence[PlanRow]) -> Fit:
    """Whether the editor would fit on the card; a model that is not on this machine does not."""
    blank = Image.new("RGB", spec.size)
    items = [EditItem(blank, EditParams.from_json(row.params)) for row in rows]
    try:
        return studio.gpu.check(studio.engine(spec.name).plan(items), key=f"enrich|{spec.name}")
    except UserError as error:
        return Fit(False, 0, studio.gpu.budget, str(error))
