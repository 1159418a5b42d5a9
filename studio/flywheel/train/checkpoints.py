"""Compares the checkpoints of a training by their fixed-seed previews, and proposes the earliest good one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engines.api.errors import BadInput
from studio.flywheel.train import runs
from studio.flywheel.train.runs import Progress
from studio.judging.gallery import Gallery, gallery_if_any, make_gallery, score_of
from studio.judging.reader import read_pictures
from studio.judging.statistics import median
from studio.records.base import Part
from studio.records.image import ImageRecord
from studio.records.version import Version
from studio.workplace.context import Context
from studio.workplace.desk import Workplace

SLACK = 0.03  # by how much an earlier checkpoint's identity may be lower than the best one's, to be proposed


@dataclass(frozen=True)
class Choice(Part):
    """Holds one checkpoint of a training with figures of its fixed-seed previews, for choosing between checkpoints.

    A preview is nearly a copy where it is closer to an original than the originals are to each other.
    """

    step: int
    """The step of the checkpoint."""
    adapter: str
    """Its LoRA file, relative to the character's folder."""
    samples: tuple[str, ...]
    """The ids of its previews."""
    identity: float | None = None
    """Their median similarity to the originals; null where that is unknown."""
    obeyed: float | None = None
    """The share of what the prompts asked for that they show; null where that is unknown."""
    copies: float | None = None
    """The share of previews that are nearly a copy of an original; null where that is unknown."""
    unseen: int = 0
    """The number of previews whose similarity could not be measured."""
    unread: int = 0
    """The number of asked things that could not be read from a preview."""
    proposed: bool = False
    """Whether it is the recommended one."""
    version: str = ""
    """The id of the version that was made of it; "" for none."""


def choices(workplace: Workplace, job_id: str, seen: Progress | None = None) -> list[Choice]:
    """Returns the checkpoints of a training, oldest first, each with figures of its fixed-seed previews.

    At most one is marked as proposed, the recommended one. `seen` is the training's progress if the caller has read it
    already, None to read it here. Raises: NotFound for an unknown job.
    """
    job = workplace.jobs.get(job_id)
    store = workplace.store(job.character)
    seen = seen or runs.progress(workplace, job_id)
    kept = [version for version in store.versions.find(job=job_id) if not version.trashed]
    made = {version.checkpoints[-1].step: version.id for version in kept}
    reference = gallery_if_any(workplace.desk(job.character)) if seen.samples else make_gallery("", {})
    found = []
    for checkpoint in seen.checkpoints:
        step = checkpoint.step
        samples = tuple(sample.image for sample in seen.samples if sample.step == step)
        previews = [store.images.get(image) for image in samples]
        choice = Choice(step, checkpoint.adapter, samples, version=made.get(step, ""))
        found.append(_judged(choice, previews, reference))
    return _with_proposal(found, reference.ceiling)


def keep_at(workplace: Workplace, job_id: str, step: int) -> Version:
    """Makes a LoRA version of the checkpoint at a step of an ended training; a repeated call returns the same version.

    Raises: NotFound for an unknown job, BadInput for a step without a checkpoint, Busy while the training has not
    ended.
    """
    job = workplace.jobs.get(job_id)
    checkpoints = runs.ended_checkpoints(workplace, job)
    upto = [each for each in checkpoints if each.step <= step]
    if not upto or upto[-1].step != step:
        known = ", ".join(str(each.step) for each in checkpoints) or "none"
        raise BadInput(f"There is no checkpoint at step {step}.", f"There are checkpoints at: {known}.")
    return runs.make_version(workplace, job_id, upto)


def read(ctx: Context) -> None:
    """Reads tags such as angle from a training job's previews, and stores them in the previews' records.

    The captioner model reads them. Previews that have tags already, or whose prompt asked for none, are skipped.
    """
    samples = runs.progress(ctx.workplace, ctx.job.id).samples
    previews = [ctx.store.images.get(sample.image) for sample in samples]
    unread = [each for each in previews if each.asked and not each.tags]
    if unread:
        found = read_pictures(ctx, unread)
        ctx.store.update_images({each.id: read.fields() for each, read in zip(unread, found.pictures, strict=True)})


def _judged(choice: Choice, previews: Sequence[ImageRecord], reference: Gallery) -> Choice:
    scored = [score_of(each, reference.version) for each in previews] if reference.calibrated else []
    likeness = [value for value in scored if value is not None]
    asked = [(each.tags.get(name), value) for each in previews for name, value in each.asked.items()]
    obeyed = [read == value for read, value in asked if read is not None]
    return replace(
        choice,
        identity=round(median(likeness), 4) if likeness else None,
        obeyed=round(sum(obeyed) / len(obeyed), 4) if obeyed else None,
        copies=round(sum(value > reference.ceiling for value in likeness) / len(likeness), 4) if likeness else None,
        unseen=len(previews) - len(likeness),
        unread=len(asked) - len(obeyed),
    )


def _with_proposal(found: list[Choice], ceiling: float) -> list[Choice]:
    """Marks the earliest checkpoint as proposed whose identity is within SLACK of the best one.

    An identity above the ceiling is taken as the ceiling, so that near copies of an original are not preferred.
    """
    held = {choice.step: min(choice.identity, ceiling) for choice in found if choice.identity is not None}
    if not held:
        return found
    enough = max(held.values()) - SLACK
    best = next(step for step, identity in held.items() if identity >= enough)
    return [replace(choice, proposed=choice.step == best) for choice in found]
