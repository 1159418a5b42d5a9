"""Flywheel 1, step 3: trains a LoRA version of the character on originals and approved pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from engines.api.errors import BadInput
from engines.api.params import GenerateParams, TrainParams
from engines.api.protocols import TrainRun
from engines.wording.cells import CARD_CELLS
from engines.wording.registry import vocabulary
from studio.flywheel.curate.captions import demand_trigger
from studio.flywheel.curate.coverage import Check
from studio.flywheel.train import checkpoints as choosing
from studio.flywheel.train import preflight as preflights
from studio.flywheel.train import run_folder, runs
from studio.flywheel.train.entries import demand_class
from studio.flywheel.train.preflight import REAL_SHARE, Preflight, model_trouble, start_trouble
from studio.records.character import Character
from studio.records.dataset import Entry, Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Job
from studio.records.payload import TrainPayload
from studio.store import Store
from studio.workplace.context import Context
from studio.workplace.desk import Desk

PHASES: Mapping[str, frozenset[str]] = {  # the framings that a phase learns from; empty: all framings
    "all": frozenset(),
    "head": frozenset({"head", "bust"}),
    "body": frozenset({"full body"}),
}
_AFTER_HEAD = Check(
    "the full body continues a version that knows the head",
    False,
    "Train “Head and expressions” first and adopt its version, or choose a version in Advanced, “Go on from”.",
)
_PREVIEW_CELLS = (0, 5, 10, -1)
SCENES = ("best", "all", "none")  # which approved scenes drawn by a version are learned by the next one
_TAUGHT = ((Kind.ENRICHED, Kind.CORRECTION), (Kind.SYNTHETIC,))  # made by an editor, drawn by a version


def dataset(desk: Desk, phase: str = "all", scenes: str = "best") -> list[Entry]:
    """Returns the entries to train the character on: the originals, then the pictures that a human approved.

    Originals are imported pictures. Each is repeated so often that originals make up at least 30 % of an epoch. `phase`
    chooses by the tag that says how much of the person a picture shows: "all" takes every picture; "head" and "body"
    take those with a fitting tag and those without such a tag. "body" also takes every original, so that the face is
    not forgotten; so does a phase that no original fits.

    `scenes` limits the approved pictures that an earlier version generated, because their errors would be learned:
    "all", "none" or "best". "best" takes at most as many as there are originals: first starred ones, then those most
    similar to the originals. Pictures whose file cannot be read are left out. Raises: BadInput for an unknown `phase`
    or `scenes`.
    """
    _one_of("phase", phase, tuple(PHASES))
    _one_of("choice of scenes", scenes, SCENES)
    store = desk.store
    there = set(run_folder.usable(store, (image.id for image in _candidates(store, phase))))
    originals = [image for image in _originals(store) if image.id in there]
    sources = originals if phase == "body" else [image for image in originals if _shows(image, phase)] or originals
    edited, drawn = ([image for image in _approved(store, kinds, phase) if image.id in there] for kinds in _TAUGHT)
    most = {"best": len(sources), "all": len(drawn), "none": 0}[scenes]
    ranked = sorted(drawn, key=lambda image: (image.star, image.likeness or 0.0), reverse=True)
    best = {image.id for image in ranked[:most]}
    approved = [*edited, *(image for image in drawn if image.id in best)]
    seen = REAL_SHARE * len(approved) / ((1 - REAL_SHARE) * max(1, len(sources)))
    repeats = max(1, math.ceil(seen - 1e-9))
    return [*(_entry(image, repeats) for image in sources), *(_entry(image, 1) for image in approved)]


def usual_start(desk: Desk, model: str, params: TrainParams) -> str:
    """Returns the id of the version that a training continues by default: the adopted version, the one in use.

    Returns "" where no version is adopted, or where the adopted one cannot be continued, because it was trained for
    another model than `model`, or its rank, alpha or target layers differ from those in `params`.
    """
    adopted = desk.store.adopted(Role.CHARACTER)
    return adopted.id if adopted and start_trouble(adopted, model, params) is None else ""


def preflight(
    desk: Desk,
    params: TrainParams | None = None,
    model: str | None = None,
    entries: Sequence[Entry] | None = None,
    phase: str = "all",
    start: str = "",
    scenes: str = "best",
) -> Preflight:
    """Returns the report on whether a training can start: its checks, memory, disk use and predicted time.

    `params` None takes the model's defaults, `model` None the character's generator. `entries` None takes the result of
    `dataset` with `phase` and `scenes`. `start` is the id of the version to continue, "" for an untrained LoRA. Each
    failed check says what to do. Raises: BadInput for an unknown `phase` or `scenes`, NotFound for an unknown model or
    version.
    """
    chosen = list(entries) if entries is not None else dataset(desk, phase, scenes)
    name = model or desk.store.character.generator
    settled = params or desk.workplace.registry.spec(name).params(TrainParams)
    found = preflights.look(desk, settled, name, chosen, start)
    told = [_AFTER_HEAD] if phase == "body" and not start else []
    if entries is None:
        store = desk.store
        drawn, kept = _approved(store, _TAUGHT[1], phase), sum(each.kind is Kind.SYNTHETIC for each in chosen)
        there = len(run_folder.usable(store, (image.id for image in drawn)))
        if kept < there:
            told.append(Check(f"{f'the best {kept}' if kept else 'none'} of {there} approved scenes teach", True))
        wanted = (
            image.id for image in _candidates(store, phase) if scenes != "none" or image.kind is not Kind.SYNTHETIC
        )
        told += preflights.files(store, wanted)
    return replace(found, checks=(*found.checks, *told))


def submit(
    desk: Desk,
    params: TrainParams | None = None,
    model: str | None = None,
    entries: Sequence[Entry] | None = None,
    key: str = "",
    phase: str = "all",
    start: str = "",
    scenes: str = "best",
) -> Job:
    """Stores the dataset, queues the training of a character LoRA and returns the job.

    `params` None takes the model's defaults, `model` None the character's generator. `entries` None takes those of
    `dataset` with `phase` and `scenes`. `start` is the id of the version to continue, "" for an untrained LoRA. Where a
    training with the same non-empty `key` exists, that job is returned.

    Raises: BadInput without pictures, with a missing caption, for invalid parameters, an unknown `phase` or `scenes`, a
    model that is no generator, or a start version that cannot be continued; NotFound for an unknown model or version;
    ModelMissing where the model's weights are not on this machine.
    """
    if known := desk.workplace.jobs.known("train", desk.id, key):
        return known
    store = desk.store
    name = model or store.character.generator
    settled = (params or desk.workplace.registry.spec(name).params(TrainParams)).checked()
    chosen = list(entries) if entries is not None else dataset(desk, phase, scenes)
    if trouble := model_trouble(desk.workplace, name, Role.CHARACTER):
        raise trouble
    desk.workplace.demand_model(name, "generator")
    demand_trigger(store.character)
    demand_words(store.character, chosen)
    settled.demand_sense(store.character.trigger)
    demand_class(store.character, settled, chosen)
    begun = store.versions.get(start) if start else None
    if begun and (trouble := start_trouble(begun, name, settled)):
        raise trouble
    if begun:
        store.adapter_path(begun.id)
    previews = _previews(desk, name)
    desk.workplace.trainer(name).plan(TrainRun(store.folder, (), settled, tuple(previews), store.character.trigger))
    frozen = store.freeze(Role.CHARACTER, chosen)
    run_folder.train_items(store, frozen, settled)  # raises for missing files before the job is queued
    job = desk.workplace.jobs.submit(
        "train",
        desk.id,
        TrainPayload(params=settled.to_json(), model=name, dataset=frozen.id, start=start),
        title=f"Train {store.character.name} on {len(chosen)} pictures{f', from {begun.name}' if begun else ''}",
        total=settled.steps,
        key=key,
    )
    run_folder.prepare(desk.workplace, job, previews)
    return job


def run(ctx: Context) -> None:
    """Runs a training job: trains with fixed-seed previews at intervals, and stores the LoRA as a version.

    At the end the captioner reads tags from the previews, so that checkpoints can be compared.
    """
    version = runs.follow(ctx, _previews(ctx.desk, TrainPayload.of(ctx.job).model))
    ctx.keep(version=version.id)
    choosing.read(ctx)


def _previews(desk: Desk, model: str) -> list[GenerateParams]:
    """Returns the prompts of some model card cells as preview parameters, each with a seed of its own."""
    spec, character = desk.workplace.registry.spec(model), desk.store.character
    wording = vocabulary(spec.wording).of_medium(character.medium)
    words = [wording.card_prompt(CARD_CELLS[cell], character.trigger, character.subject) for cell in _PREVIEW_CELLS]
    return [spec.worded(GenerateParams, prompt, seed=seed) for seed, prompt in enumerate(words)]


def demand_words(character: Character, entries: Sequence[Entry]) -> None:
    """Raises BadInput where `entries` is empty or an entry has no caption; the error names the character."""
    if not entries:
        raise BadInput(
            f"{character.name} has no pictures to learn from.",
            "Import sources in Curate, or approve some in Review.",
        )
    bare = [entry.image for entry in entries if not entry.worded]
    if bare:
        raise BadInput(
            f"{len(bare)} of {len(entries)} pictures have no caption, the first is {bare[0][:12]}.",
            "Caption them in Curate (caption_submit), then train again.",
        )


def _one_of(what: str, word: str, words: Sequence[str]) -> None:
    if word not in words:
        raise BadInput(f"There is no {what} {word}.", f"Choose from: {', '.join(words)}.")


def _originals(store: Store) -> list[ImageRecord]:
    return [image for image in store.select(Kind.SOURCE) if image.state is not Verdict.REJECT]


def _candidates(store: Store, phase: str) -> list[ImageRecord]:
    return [*_originals(store), *(image for kinds in _TAUGHT for image in _approved(store, kinds, phase))]


def _approved(store: Store, kinds: Sequence[Kind], phase: str) -> list[ImageRecord]:
    good = [image for kind in kinds for image in store.select(kind, state=Verdict.GOOD)]
    return [image for image in good if _shows(image, phase)]


def _shows(image: ImageRecord, phase: str) -> bool:
    return not PHASES[phase] or image.tags.get("framing", "") in ("", *PHASES[phase])


def _entry(image: ImageRecord, repeats: int) -> Entry:
    return Entry(
        image=image.id,
        caption=image.caption,
        kind=image.kind,
        repeats=repeats,
        mask=image.mask,
        crop=image.crop,
    )
