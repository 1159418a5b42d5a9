"""Flywheel 2: trains a LoRA of the editor on reviewed edits, and compares it on edits held out from the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engines.api.crops import cut
from engines.api.errors import BadInput
from engines.api.params import EditParams, LoraUse, TrainParams
from engines.api.protocols import EditItem, ModelSpec, TrainRun
from studio.flywheel.refine import beginning
from studio.flywheel.refine import preflight as lessons_preflight
from studio.flywheel.train import preflight as preflights
from studio.flywheel.train import run_folder, runs
from studio.flywheel.train.preflight import Preflight
from studio.jobs.progress import Work
from studio.judging.judge import Judge, judged
from studio.judging.outcomes import axes_outcomes, overall, paired, rate
from studio.judging.reader import read_pictures
from studio.judging.statistics import median
from studio.records.dataset import Entry, Lesson, Role
from studio.records.image import ImageRecord, Kind
from studio.records.job import Job
from studio.records.payload import TrainPayload
from studio.records.review import Triplet
from studio.records.version import Comparison, Pair, Side, Version
from studio.store import Store
from studio.store.lora_library import LoraLibrary
from studio.workplace.context import Context
from studio.workplace.desk import Desk

if TYPE_CHECKING:
    from PIL.Image import Image

GOLDEN_WEIGHT = 3
HELD_OUT = 12
ENOUGH_GOLDEN = 50  # golden triplets that make a strong editor
_PREVIEWS = 2
_SIDES = ("before", "after")
_SIDE_WORDS: Mapping[str, str] = {"before": "without", "after": "with"}


@dataclass(frozen=True)
class Lessons:
    """Holds a character's triplets (source, instruction, result), the examples from which the editor learns.

    `golden` ones replace a wrong result: a human corrected it, or had it redone with other words or in a painted area.
    `positive` ones have a result that a human approved. `held_out` ones are not trained on, but used to measure the
    training.
    """

    golden: tuple[Triplet, ...]
    positive: tuple[Triplet, ...]
    held_out: tuple[Triplet, ...]

    @property
    def learned(self) -> tuple[Triplet, ...]:
        """Returns the triplets that the editor is trained on, first those that replace a wrong result (`golden`)."""
        return (*self.golden, *self.positive)


def triplets(desk: Desk) -> list[Triplet]:
    """Returns all triplets (source, instruction, result) that reviewers approved or corrected, oldest first."""
    return desk.store.triplets.all()


def lessons(desk: Desk) -> Lessons:
    """Returns the character's triplets, divided into those to train on and those held out for the comparison."""
    known = triplets(desk)
    return Lessons(
        golden=tuple(t for t in known if t.golden and not t.held_out),
        positive=tuple(t for t in known if not t.golden and not t.held_out),
        held_out=tuple(t for t in known if t.held_out),
    )


def dataset(desk: Desk) -> list[Entry]:
    """Returns the training entries for the editor: instruction as caption, result as image, source as reference.

    Triplets that replace a wrong result (see `Lessons`) are repeated. A triplet of which a file cannot be read is left
    out; `preflight` names it.
    """
    store = desk.store
    entries = []
    for triplet in lessons(desk).learned:
        result = store.images.get(triplet.result)
        needed = (triplet.source, triplet.result, *result.references)
        if len(run_folder.usable(store, needed)) == len(needed):
            entries.append(
                Entry(
                    image=triplet.result,
                    caption=EditParams.kept(triplet.params).headline(),
                    kind=Lesson.GOLDEN if triplet.golden else Lesson.POSITIVE,
                    references=(triplet.source, *result.references),
                    repeats=GOLDEN_WEIGHT if triplet.golden else 1,
                    mask=result.mask,
                    crop=result.crop,
                    source_crop=result.source_crop,
                )
            )
    return entries


def preflight(desk: Desk, params: TrainParams | None = None, model: str | None = None, start: str = "") -> Preflight:
    """Returns what a training of the editor needs in memory, disk and time, with checks of its training examples.

    Each failed check says what to do; nothing is started. `params` None are the model's defaults, `model` None is the
    character's editor. `start` is the LoRA of the library that the training begins with, "" for a new one; the rank is
    then that LoRA's. Raises: NotFound for an unknown model.
    """
    name = model or desk.store.character.editor
    settled = params or desk.workplace.registry.spec(name).params(TrainParams)
    begun = list(beginning.checks(desk.workplace, start, name))
    if begun and begun[0].ok:
        settled = beginning.following(settled, beginning.begun_with(desk.workplace, start, name))
    store, entries = desk.store, dataset(desk)
    found = lessons_preflight.look(desk, settled, name, entries, _held_out(desk), begun)
    known = (image for each in triplets(desk) for image in (each.source, each.result))
    return replace(found, checks=(*found.checks, *preflights.files(store, dict.fromkeys(known))))


def submit(
    desk: Desk,
    params: TrainParams | None = None,
    model: str | None = None,
    key: str = "",
    start: str = "",
) -> Job:
    """Stores the present triplets as an unchanging dataset, and queues a LoRA training of the editor on it.

    `params` None are the model's defaults, `model` None is the character's editor. A second call with the same `key`
    returns the first job. `start` is the LoRA of the library that the training begins with, "" for a new one; the rank
    is then that LoRA's. Raises: BadInput without triplets, for parameters that no training can have, a model that is no
    editor, or a LoRA to begin with that does not fit it; LoraMismatch likewise; NotFound for an unknown model, a
    missing picture or LoRA; ModelMissing.
    """
    if known := desk.workplace.jobs.known("refine", desk.id, key):
        return known
    store = desk.store
    name = model or store.character.editor
    settled = (params or desk.workplace.registry.spec(name).params(TrainParams)).checked()
    if trouble := preflights.model_trouble(desk.workplace, name, Role.EDITOR):
        raise trouble
    desk.workplace.demand_model(name, "editor")
    begun = beginning.begun_with(desk.workplace, start, name)
    settled = beginning.following(settled, begun)
    settled.demand_sense()
    entries = [entry for entry in dataset(desk) if entry.worded]
    if not entries:
        raise BadInput("There is no edit to learn from yet.", "Approve or correct enriched pictures in Review first.")
    frozen = store.freeze(Role.EDITOR, entries)
    run_folder.train_items(store, frozen, settled)  # raises for missing files before the job is queued
    held_out = _held_out(desk)
    previews = _previews(desk, name, held_out)
    file = LoraLibrary(desk.workplace.library).path(start) if begun else None
    whole = TrainRun(store.folder, (), settled, tuple(previews), start=file, origin=begun.name if begun else "")
    desk.workplace.trainer(name).plan(whole)
    job = desk.workplace.jobs.submit(
        "refine",
        desk.id,
        TrainPayload(params=settled.to_json(), model=name, dataset=frozen.id, held_out=tuple(held_out), begun=begun),
        title=f"Train the editor on {len(entries)} edits",
        total=settled.steps,
        key=key,
    )
    run_folder.prepare(desk.workplace, job, previews)
    return job


def run(ctx: Context) -> None:
    """Runs the training job of an editor: trains a LoRA, then compares held-out edits without and with the LoRA.

    The comparison is stored with the new version. A held-out edit whose source has become unreadable since the job was
    queued is left out, and an event of the job reports it.
    """
    asked = TrainPayload.of(ctx.job)
    version = runs.follow(ctx, _previews(ctx.desk, asked.model, asked.held_out or ()))
    if ctx.job.artifacts.version not in (None, version.id):
        ctx.keep(after=())  # an extended training: these pictures are by its earlier version
    ctx.keep(version=version.id)
    for each in asked.held_out or ():
        if trouble := ctx.store.trouble(each.source):
            ctx.leave_out(each.source, trouble)
    held_out = asked.held_out or ()
    redone = {
        side: _redo_all(ctx, held_out, side, adapter) for side, adapter in zip(_SIDES, ("", version.id), strict=True)
    }
    metrics = version.metrics.replace(edits=_compare(ctx, held_out, redone))
    ctx.store.versions.put(ctx.store.versions.get(version.id).replace(metrics=metrics))


def _previews(desk: Desk, model: str, held_out: Sequence[Triplet]) -> list[EditItem]:
    """Returns the first two held-out edits as previews, with the model's default parameters.

    A preview uses no LoRA but the one in training, so the parameters of an edit drawn with a few-step LoRA would not
    fit.
    """
    store, spec = desk.store, desk.workplace.registry.spec(model)
    shown = _there(store, held_out[:_PREVIEWS])
    return [EditItem(_edited(store, each), _with_own_knobs(spec, each), _beside(store, each)) for each in shown]


def _there(store: Store, held_out: Sequence[Triplet]) -> list[Triplet]:
    """Returns the triplets whose source and further pictures can be read."""
    return [
        each
        for each in held_out
        if not any(map(store.trouble, (each.source, *store.images.get(each.result).references)))
    ]


def _held_out(desk: Desk) -> list[Triplet]:
    """Returns at most 12 held-out triplets whose source can be read, which a training is measured by."""
    return _there(desk.store, lessons(desk).held_out)[:HELD_OUT]


def adopt(desk: Desk, version_id: str) -> Version:
    """Puts a LoRA version of the editor in use for the next edits, and returns the version.

    Raises: NotFound, BadInput for a version of the character or one in the trash.
    """
    return desk.store.adopt(_editor_version(desk, version_id).id)


def roll_back(desk: Desk, version_id: str) -> Version:
    """Retires a LoRA version of the editor and, if it was in use, puts its parent in use; returns the retired version.

    The parent is the version that was in use when this one was made. Raises: NotFound; BadInput for a version of the
    character, one that is retired already, or one in the trash.
    """
    return desk.store.adopt(_editor_version(desk, version_id).id, on=False)


def _editor_version(desk: Desk, version_id: str) -> Version:
    version = desk.store.versions.get(version_id)
    if version.role is not Role.EDITOR:
        raise BadInput(f"{version.name} is a LoRA of the character.", "Choose a version of the editor.")
    return version


def _with_own_knobs(spec: ModelSpec, triplet: Triplet) -> EditParams:
    """Returns the triplet's instruction and seed with the model's defaults for all other parameters."""
    asked = EditParams.kept(triplet.params)
    return spec.worded(EditParams, asked.headline(), seed=asked.seed)


def _redo(store: Store, spec: ModelSpec, triplet: Triplet, version: str) -> EditItem:
    """Returns a held-out edit with its own parameters and, for a non-empty `version`, with that version's adapter.

    An edit made by another model takes this model's default parameters. All other LoRAs are removed.
    """
    loras = (LoraUse(file=str(store.adapter_path(version))),) if version else ()
    asked = EditParams.kept(triplet.params)
    params = asked if store.images.get(triplet.result).model == spec.name else _with_own_knobs(spec, triplet)
    return EditItem(_edited(store, triplet), params.replace(loras=loras), _beside(store, triplet))


def _edited(store: Store, triplet: Triplet) -> Image:
    """Returns the part of the source that the triplet's edit was made from.

    A later crop of the source does not change it.
    """
    return cut(store.open_whole(triplet.source), store.images.get(triplet.result).source_crop)


def _beside(store: Store, triplet: Triplet) -> tuple[Image, ...]:
    """Returns the further pictures that the editor saw when the triplet's edit was made."""
    return tuple(store.open_whole(image) for image in store.images.get(triplet.result).references)


def _redo_all(ctx: Context, held_out: Sequence[Triplet], side: str, version: str) -> dict[str, ImageRecord]:
    """Redoes the held-out edits that this side of the comparison lacks; returns the pictures by their triplet's id.

    The job's artifacts hold one picture id for each triplet, in their order: "" for one whose source cannot be read.
    """
    model = TrainPayload.of(ctx.job).model
    known = ctx.job.artifacts.before if side == "before" else ctx.job.artifacts.after
    images = list(known or ())
    left = held_out[len(images) :]
    there = _there(ctx.store, left)
    items = [_redo(ctx.store, ctx.workplace.registry.spec(model), triplet, version) for triplet in there]

    def on_step(step: int, total: int, message: str = "") -> None:
        ctx.step(
            len(images),
            len(held_out),
            message or f"test edits {_SIDE_WORDS[side]} the new LoRA: step {step} of {total}",
            work=Work(step, total),
        )

    def keep(image: str) -> None:
        images.append(image)
        ctx.keep(**{side: tuple(images)})

    if items:
        judge, engine = Judge(ctx), ctx.workplace.editor(model)
        with ctx.lease(engine.plan(items), f"enrich|{model}") as lease:
            redone = zip(engine.edit(items, lease, on_step), items, strict=True)
            for triplet in left:
                if triplet not in there:
                    keep("")
                    continue
                image, item = next(redone)
                saved = ctx.save(
                    image,
                    kind=Kind.PREVIEW,
                    parent=triplet.source,
                    source_crop=ctx.store.images.get(triplet.result).source_crop,
                    item=item.params.replace(loras=()),
                    version=version,
                    asked=ctx.store.images.get(triplet.result).asked,
                    likeness=judge.likeness(image, ctx.store.images.get(triplet.result).asked),
                )
                keep(saved.id)
            next(redone, None)  # the engine ends its pass
    known_to = zip(held_out, images, strict=False)  # shorter where nothing of what is left could be read
    return {triplet.id: ctx.store.images.get(image) for triplet, image in known_to if image}


def _compare(ctx: Context, held_out: Sequence[Triplet], redone: Mapping[str, Mapping[str, ImageRecord]]) -> Comparison:
    """Returns how the held-out edits came out before and after the training, compared pair by pair."""
    both = [each for each in held_out if all(each.id in redone[side] for side in _SIDES)]
    if not both:
        return Comparison(note="No edit was held out yet: approve more of them in Review.")
    judge = Judge(ctx)
    asked = [ctx.store.images.get(triplet.result).asked for triplet in both]
    images = {side: [redone[side][each.id] for each in both] for side in _SIDES}
    sides = {}
    for name in _SIDES:
        readings = read_pictures(ctx, images[name]).pictures
        identities = [judge.identity(image.scores) for image in images[name]]
        known = [value for value in identities if value is not None]
        sides[name] = Side(
            identity_median=round(median(known), 4) if known else None,
            outcomes=tuple(
                axes_outcomes(each, read.tags, judge.outcome(image.scores))
                for each, read, image in zip(asked, readings, images[name], strict=True)
            ),
        )
    compared = _figures(sides["before"], sides["after"])
    pairs = (
        Pair(triplet=triplet.id, task=triplet.task, before=before.id, after=after.id)
        for triplet, before, after in zip(both, images["before"], images["after"], strict=True)
    )
    return compared.replace(n=len(both), originals=len(judge.gallery.ids), pairs=tuple(pairs))


def _figures(before: Side, after: Side) -> Comparison:
    """Returns the comparison of two sides, each with the share of accepted edits among those that could be judged."""
    verdicts = [[overall(axes.values()) for axes in side.outcomes] for side in (before, after)]
    rates, pair = [rate(each) for each in verdicts], paired(*verdicts)
    sides = [
        side.replace(accepted=each.rate, judged=each.judged, unknown=each.unknown, low=each.low, high=each.high)
        for side, each in zip((before, after), rates, strict=True)
    ]
    return Comparison(
        before=sides[0], after=sides[1], judged=pair.judged, better=pair.only_b, worse=pair.only_a, p=pair.p
    )


def as_judged(store: Store, version: Version) -> Version:
    """Returns an editor's version, with its comparison of held-out edits judged anew where that is an old one.

    Old comparisons counted edits that could not be judged as refused, and passed every identity where there were too
    few originals. The stored version does not change.
    """
    edits = version.metrics.edits
    if edits is None or not edits.n or edits.originals is not None:
        return version
    found = judged(store, [*edits.before.outcomes, *edits.after.outcomes], version.created)
    before = edits.before.replace(outcomes=tuple(found[: edits.n]))
    after = edits.after.replace(outcomes=tuple(found[edits.n :]))
    again = _figures(before, after).replace(n=edits.n, note=edits.note, pairs=edits.pairs)
    return version.replace(metrics=version.metrics.replace(edits=again))
