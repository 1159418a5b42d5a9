"""Flywheel 2: what reviews taught becomes a LoRA of the editor, tried on edits that it never saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engines.api import EditItem, EditParams, Json, LoraUse, ModelSpec, TrainParams, TrainRun
from engines.errors import BadInput
from engines.prompts import edit_params
from studio.flywheel import card, preflights, run_folder, runs
from studio.flywheel.judging import Judge
from studio.nouns import ImageRecord, Job, Kind, Role, Triplet, Version
from studio.statistics import mcnemar, median, wilson

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.flywheel.preflights import Preflight
    from studio.jobs import Context
    from studio.store import Store
    from studio.studio import Studio

GOLDEN_WEIGHT = 3
HELD_OUT = 12
_PREVIEWS = 2
_SIDES = ("before", "after")


@dataclass(frozen=True)
class Lessons:
    """The triplets of a character, by what they are for."""

    golden: tuple[Triplet, ...]
    positive: tuple[Triplet, ...]
    held_out: tuple[Triplet, ...]

    @property
    def learned(self) -> tuple[Triplet, ...]:
        """What the editor is trained on."""
        return (*self.golden, *self.positive)


def triplets(studio: Studio, character_id: str) -> list[Triplet]:
    """Every (source, words, result) that reviews have taught, oldest first."""
    return studio.store(character_id).triplets.all()


def lessons(studio: Studio, character_id: str) -> Lessons:
    """The same, sorted into what is learned and what is kept aside for the before/after."""
    known = triplets(studio, character_id)
    return Lessons(
        golden=tuple(t for t in known if t.golden and not t.held_out),
        positive=tuple(t for t in known if not t.golden and not t.held_out),
        held_out=tuple(t for t in known if t.held_out),
    )


def dataset(studio: Studio, character_id: str) -> list[Json]:
    """What an editor is trained on: the edit's own words, its source as reference, golden ones thrice."""
    store = studio.store(character_id)
    return [
        {
            "image": triplet.result,
            "caption": EditParams.kept(triplet.params).headline(),
            "kind": "golden" if triplet.golden else "positive",
            "references": [triplet.source],
            "repeats": GOLDEN_WEIGHT if triplet.golden else 1,
            **run_folder.shown(store.images.get(triplet.result)),
        }
        for triplet in lessons(studio, character_id).learned
    ]


def preflight(
    studio: Studio, character_id: str, params: TrainParams | None = None, model: str | None = None
) -> Preflight:
    """Memory, disk, time, lessons, and what they are measured by, each with its remedy."""
    name = model or studio.store(character_id).character.editor
    settled = params or studio.registry.spec(name).params(TrainParams)
    held_out = lessons(studio, character_id).held_out[:HELD_OUT]
    return preflights.look_at_lessons(studio, character_id, settled, name, dataset(studio, character_id), held_out)


def submit(
    studio: Studio,
    character_id: str,
    params: TrainParams | None = None,
    model: str | None = None,
    key: str = "",
) -> Job:
    """Freeze the triplets and queue the editor's training.

    Raises: BadInput without triplets, for knobs that no training can have and for a model that edits nothing; NotFound
    for an unknown model or a picture that is gone; ModelMissing.
    """
    store = studio.store(character_id)
    name = model or store.character.editor
    settled = (params or studio.registry.spec(name).params(TrainParams)).checked()
    if trouble := preflights.model_trouble(studio, name, Role.EDITOR):
        raise trouble
    studio.demand_model(name, "editor")
    settled.demand_sense()
    entries = [entry for entry in dataset(studio, character_id) if entry["caption"].strip()]
    if not entries:
        raise BadInput("There is no edit to learn from yet.", "Approve or correct enriched pictures in Review first.")
    frozen = store.freeze(Role.EDITOR, entries)
    run_folder.train_items(store, frozen)  # what is gone is said now, not when the card is free
    held_out = lessons(studio, character_id).held_out[:HELD_OUT]
    previews = _previews(studio, character_id, name, held_out)
    studio.trainer(name).plan(TrainRun(store.folder, (), settled, tuple(previews)))
    job = studio.jobs.submit(
        "refine",
        character_id,
        {
            "params": settled.to_json(),
            "model": name,
            "dataset": frozen.id,
            "held_out": [each.to_json() for each in held_out],
        },
        title=f"Train the editor on {len(entries)} edits",
        total=settled.steps,
        key=key,
    )
    run_folder.prepare(studio, job, previews)
    return job


def run(ctx: Context) -> None:
    """Train; then redo the held-out edits with the base and with the new LoRA, and store how they compare."""
    held_out = [Triplet.from_json(triplet) for triplet in ctx.job.payload["held_out"]]
    version = runs.follow(ctx, _previews(ctx.studio, ctx.job.character, ctx.job.payload["model"], held_out))
    if ctx.job.artifacts.get("version", version.id) != version.id:
        ctx.artifact("after", [])  # an extended training: what its earlier version made says nothing of this one
    ctx.artifact("version", version.id)
    redone = {
        side: _redo_all(ctx, held_out, side, adapter) for side, adapter in zip(_SIDES, ("", version.id), strict=True)
    }
    metrics = {**version.metrics, "edits": _compare(ctx, held_out, redone)}
    ctx.store.versions.put(ctx.store.versions.get(version.id).replace(metrics=metrics))


def _previews(studio: Studio, character_id: str, model: str, held_out: Sequence[Triplet]) -> list[EditItem]:
    """The first of the held-out edits with the model's own knobs: a training has no adapter for a draft's few steps."""
    store, spec = studio.store(character_id), studio.registry.spec(model)
    return [EditItem(store.open_image(each.source), _with_own_knobs(spec, each)) for each in held_out[:_PREVIEWS]]


def adopt(studio: Studio, character_id: str, version_id: str) -> Version:
    """Let this version make the next enrichments. Raises: NotFound, BadInput."""
    return studio.store(character_id).adopt(_editor_version(studio, character_id, version_id).id)


def roll_back(studio: Studio, character_id: str, version_id: str) -> Version:
    """Go back to what was used before this version. Raises: NotFound, BadInput."""
    return studio.store(character_id).adopt(_editor_version(studio, character_id, version_id).id, on=False)


def _editor_version(studio: Studio, character_id: str, version_id: str) -> Version:
    version = studio.store(character_id).versions.get(version_id)
    if version.role is not Role.EDITOR:
        raise BadInput(f"{version.name} is a LoRA of the character.", "Choose a version of the editor.")
    return version


def _with_own_knobs(spec: ModelSpec, triplet: Triplet) -> EditParams:
    """The same words and seed, all else as the model wants it."""
    asked = EditParams.kept(triplet.params)
    return edit_params(spec, asked.headline(), seed=asked.seed)


def _redo(store: Store, spec: ModelSpec, triplet: Triplet, version: str) -> EditItem:
    """The edit as it was asked for, with a version's adapter or with none; another model's knobs mean nothing here."""
    loras = (LoraUse(file=str(store.adapter_path(version))),) if version else ()
    asked = EditParams.kept(triplet.params)
    params = asked if store.images.get(triplet.result).model == spec.name else _with_own_knobs(spec, triplet)
    return EditItem(source=store.open_image(triplet.source), params=params.replace(loras=loras))


def _redo_all(ctx: Context, held_out: Sequence[Triplet], side: str, version: str) -> list[ImageRecord]:
    images: list[str] = list(ctx.job.artifacts.get(side, []))
    left = held_out[len(images) :]
    if left:
        judge = Judge(ctx)
        spec = ctx.studio.registry.spec(ctx.job.payload["model"])
        items = [_redo(ctx.store, spec, triplet, version) for triplet in left]
        engine = ctx.studio.engine(ctx.job.payload["model"])

        def on_step(step: int, of: int, message: str = "") -> None:
            ctx.step(len(images), len(held_out), message or f"held-out edits {side}: step {step} of {of}")

        with ctx.lease(engine.plan(items), f"enrich|{ctx.job.payload['model']}") as lease:
            redone: Iterator[Image] = engine.edit(items, lease, on_step)
            for image, item, triplet in zip(redone, items, left, strict=True):
                saved = ctx.save(
                    image,
                    kind=Kind.PREVIEW,
                    parent=triplet.source,
                    item=item.params.replace(loras=()),
                    version=version,
                    asked=ctx.store.images.get(triplet.result).asked,
                    **judge.likeness(image),
                )
                images.append(saved.id)
                ctx.artifact(side, list(images))
    return [ctx.store.images.get(image) for image in images]


def _compare(ctx: Context, held_out: Sequence[Triplet], redone: dict[str, list[ImageRecord]]) -> Json:
    """Who did the edit and kept the person, before and after, pair by pair."""
    if not held_out:
        return {"n": 0, "note": "No edit was held out yet: approve more of them in Review."}
    judge = Judge(ctx)
    sides: dict[str, Json] = {}
    passed: dict[str, list[bool]] = {}
    for side in _SIDES:
        read = card.read_pictures(ctx, redone[side])
        outcomes = [
            card.axes_outcomes(_asked(ctx, triplet), tags, judge.identity(image.scores), judge.gallery.floor)
            for triplet, image, tags in zip(held_out, redone[side], read, strict=True)
        ]
        passed[side] = [card.overall(outcome.values()) == card.PASS for outcome in outcomes]
        sides[side] = _side([judge.identity(image.scores) for image in redone[side]], outcomes, passed[side])
    worse = sum(b and not a for b, a in zip(*passed.values(), strict=True))
    better = sum(a and not b for b, a in zip(*passed.values(), strict=True))
    return {
        "n": len(held_out),
        **sides,
        "better": better,
        "worse": worse,
        "p": mcnemar(worse, better),
        "pairs": [
            {"triplet": triplet.id, "task": triplet.task, "before": before.id, "after": after.id}
            for triplet, before, after in zip(held_out, redone["before"], redone["after"], strict=True)
        ],
    }


def _side(scores: Sequence[float | None], outcomes: Sequence[Json], passed: Sequence[bool]) -> Json:
    identities = [value for value in scores if value is not None]
    low, high = wilson(sum(passed), len(passed))
    return {
        "accepted": sum(passed) / len(passed),
        "low": low,
        "high": high,
        "identity_median": round(median(identities), 4) if identities else None,
        "outcomes": list(outcomes),
    }


def _asked(ctx: Context, triplet: Triplet) -> Json:
    return ctx.store.images.get(triplet.result).asked
