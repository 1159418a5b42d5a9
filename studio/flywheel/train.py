"""Flywheel 1's third step: pictures that a human approved become a character LoRA version."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engines.api import GenerateParams, Json, TrainParams, TrainRun
from engines.errors import BadInput, UserError
from engines.prompts import CARD_CELLS, card_prompt, generate_params
from studio.flywheel import choosing, runs
from studio.flywheel.curate import Check, leaks
from studio.flywheel.runs import Progress, export, keep, losses, progress
from studio.gpu import Fit
from studio.nouns import Character, ImageRecord, Job, JobState, Kind, Role, Verdict

if TYPE_CHECKING:
    from studio.jobs import Context
    from studio.studio import Studio

__all__ = [
    "Preflight",
    "Progress",
    "dataset",
    "export",
    "keep",
    "losses",
    "preflight",
    "progress",
    "run",
    "submit",
]

REAL_SHARE = 0.3
PHASES: Mapping[str, frozenset[str]] = {  # the framings that a phase learns from; none for all
    "all": frozenset(),
    "head": frozenset({"head", "bust"}),
    "body": frozenset({"full body"}),
}
_MANY = 10
_PREVIEW_CELLS = (0, 5, 10, -1)
_LEARNED = (Kind.ENRICHED, Kind.CORRECTION, Kind.SYNTHETIC)


@dataclass(frozen=True)
class Preflight:
    """What a user should know before the card is taken; `seconds` is 0 until a run has been measured."""

    checks: tuple[Check, ...]
    fit: Fit
    seconds: float
    entries: tuple[Json, ...]
    real_share: float

    @property
    def ok(self) -> bool:
        """Whether a training may start: there is something to learn from, with words, and it fits."""
        return bool(self.entries) and self.fit.ok and all(entry["caption"].strip() for entry in self.entries)


def dataset(studio: Studio, character_id: str, phase: str = "all") -> list[Json]:
    """Originals always, then whatever a human approved; originals repeat until they are 30 % of what is seen.

    A phase takes what its framing shows, and pictures whose framing nobody told; where it shows the whole body, every
    original stays as an anchor, so that the face is not forgotten.
    Entries: {image, caption, kind, references, repeats}. Raises: BadInput for an unknown phase.
    """
    if phase not in PHASES:
        raise BadInput(f"There is no phase {phase}.", f"Choose from: {', '.join(PHASES)}.")
    store = studio.store(character_id)
    originals = [image for image in store.select(Kind.SOURCE) if image.state is not Verdict.REJECT]
    sources = originals if phase == "body" else [image for image in originals if _shows(image, phase)] or originals
    good = [image for kind in _LEARNED for image in store.select(kind, state=Verdict.GOOD)]
    approved = [image for image in good if _shows(image, phase)]
    return [
        *(_entry(image, _repeats(len(sources), len(approved))) for image in sources),
        *(_entry(image, 1) for image in approved),
    ]


def preflight(
    studio: Studio,
    character_id: str,
    params: TrainParams | None = None,
    model: str | None = None,
    entries: Sequence[Json] | None = None,
    phase: str = "all",
) -> Preflight:
    """Memory, time, captions, leaks and the share of originals, each with its remedy."""
    character = studio.store(character_id).character
    chosen = list(entries) if entries is not None else dataset(studio, character_id, phase)
    name = model or character.generator
    settled = params or studio.registry.spec(name).params(TrainParams)
    share = runs.frozen_share(chosen)
    fit = _fit(studio, character_id, name, settled)
    return Preflight(
        checks=(*_checks(character, chosen, share), Check("fits on the card", fit.ok, fit.words)),
        fit=fit,
        seconds=settled.steps * measured_rate(studio, name, settled),
        entries=tuple(chosen),
        real_share=share,
    )


def submit(
    studio: Studio,
    character_id: str,
    params: TrainParams | None = None,
    model: str | None = None,
    entries: Sequence[Json] | None = None,
    key: str = "",
    phase: str = "all",
    start: str = "",
) -> Job:
    """Freeze the dataset and queue the training; `start` is a version to go on from, instead of from nothing.

    Raises: BadInput without pictures, with missing captions, for an unknown phase or a start on another model;
    NotFound for an unknown model or version.
    """
    store = studio.store(character_id)
    name = model or store.character.generator
    settled = params or studio.registry.spec(name).params(TrainParams)
    chosen = list(entries) if entries is not None else dataset(studio, character_id, phase)
    demand_words(store.character, chosen)
    begun = store.versions.get(start) if start else None
    if begun and (begun.role is not Role.CHARACTER or begun.model != name):
        raise BadInput(f"{begun.name} is no character LoRA of {name}.", "Start from one that is, or from nothing.")
    frozen = store.freeze(Role.CHARACTER, chosen)
    return studio.jobs.submit(
        "train",
        character_id,
        {"params": settled.to_json(), "model": name, "dataset": frozen.id, "start": start},
        title=f"Train {store.character.name} on {len(chosen)} pictures{f', from {begun.name}' if begun else ''}",
        total=settled.steps,
        key=key,
    )


def run(ctx: Context) -> None:
    """Train, draw fixed-seed previews on the way, and make the version."""
    frozen = ctx.store.datasets.get(ctx.job.payload["dataset"])
    spec = ctx.studio.registry.spec(ctx.job.payload["model"])
    character = ctx.store.character
    previews: list[GenerateParams] = [
        generate_params(spec, card_prompt(CARD_CELLS[cell], character.trigger, character.subject, spec.toy), seed=seed)
        for seed, cell in enumerate(_PREVIEW_CELLS)
    ]
    version = runs.follow(ctx, frozen, previews)
    ctx.artifact("version", version.id)
    choosing.read(ctx)


def demand_words(character: Character, entries: Sequence[Json]) -> None:
    """Refuse what cannot be trained on. Raises: BadInput."""
    if not entries:
        raise BadInput(
            f"{character.name} has no pictures to learn from.",
            "Import sources in Curate, or approve some in Review.",
        )
    bare = [entry["image"] for entry in entries if not entry["caption"].strip()]
    if bare:
        raise BadInput(
            f"{len(bare)} of {len(entries)} pictures have no caption, the first is {bare[0][:12]}.",
            "Caption them in Curate (caption_submit), then train again.",
        )


def measured_rate(studio: Studio, model: str, params: TrainParams) -> float:
    """Seconds a step of the last finished run of this model at this size; 0 when there was none."""
    same = [
        job
        for job in studio.jobs.list()
        if job.kind == "train"
        and job.state is JobState.DONE
        and job.rate
        and job.payload.get("model") == model
        and job.payload.get("params", {}).get("resolution") == params.resolution
        and job.payload.get("params", {}).get("batch_size") == params.batch_size
    ]
    return max(same, key=lambda job: job.ended).rate if same else 0.0


def _shows(image: ImageRecord, phase: str) -> bool:
    return not PHASES[phase] or image.tags.get("framing", "") in ("", *PHASES[phase])


def _entry(image: ImageRecord, repeats: int) -> Json:
    return {
        "image": image.id,
        "caption": image.caption,
        "kind": image.kind.value,
        "references": [],
        "repeats": repeats,
    }


def _repeats(sources: int, approved: int) -> int:
    if not sources:
        return 1
    return max(1, math.ceil(REAL_SHARE * approved / ((1 - REAL_SHARE) * sources) - 1e-9))


def _fit(studio: Studio, character_id: str, model: str, params: TrainParams) -> Fit:
    try:
        plan = studio.trainer(model).plan(
            TrainRun(folder=studio.store(character_id).folder, items=(), params=params, previews=())
        )
    except UserError as error:
        return Fit(ok=False, needed=0, budget=studio.gpu.status().budget, words=str(error))
    return studio.gpu.check(plan, key=runs.peak_key(model, params))


def _checks(character: Character, entries: Sequence[Json], share: float) -> Iterable[Check]:
    bare = [entry for entry in entries if not entry["caption"].strip()]
    worded = [entry for entry in entries if entry["caption"].strip()]
    uncalled = [entry for entry in worded if character.trigger not in entry["caption"]]
    leaking = {word for entry in worded for word in leaks(entry["caption"])}
    yield Check(f"at least {_MANY} pictures", len(entries) >= _MANY, f"{len(entries)} now; import or approve more.")
    yield Check("every picture has a caption", not bare, f"{len(bare)} lack one: caption them in Curate.")
    yield Check(
        f"every caption says {character.trigger}",
        not uncalled,
        f"{len(uncalled)} do not: edit them in Curate.",
    )
    yield Check(
        "no caption names what is constant",
        not leaking,
        f"{', '.join(sorted(leaking))}: leave it out, so that {character.trigger} comes to mean it.",
    )
    yield Check(
        "originals are at least 30 %",
        share >= REAL_SHARE - 1e-9,
        f"{share:.0%} now; import more source pictures.",
    )
