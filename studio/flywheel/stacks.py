"""Checks the LoRA files that a user names for a job: when the job is submitted, not when it starts."""

from __future__ import annotations

from collections.abc import Iterable

from engines.api.params import LoraUse
from studio.records.payload import ModelPayload
from studio.workplace.context import Context
from studio.workplace.desk import Workplace


def check(workplace: Workplace, model: str, stacks: Iterable[Iterable[LoraUse]]) -> list[str]:
    """Checks that each LoRA file exists, is complete and fits a model; returns notes on files with unused tensors.

    `model` is the model's name; `stacks` has one collection of LoRAs for each picture. Each note is a sentence for the
    user. Raises: NotFound for a missing file or an unknown model, LoraMismatch for a file that does not fit, BadInput
    for a weight out of bounds, ModelMissing. Without any LoRA the model is not looked up.
    """
    uses = tuple(dict.fromkeys(use for stack in stacks for use in stack))
    return list(workplace.engine(model).check_loras(uses)) if uses else []


def tell(ctx: Context) -> None:
    """Adds the notes on a job's LoRA files to the job's event log, as warnings.

    They are the notes that `check` returned when the job was submitted, and that were stored with the job.
    """
    for note in ModelPayload.of(ctx.job).notes or ():
        ctx.warn(note)
