"""LoRA files that a user names for a job: looked at when it is asked for, not when its turn has come."""

from __future__ import annotations

from collections.abc import Iterable

from engines.api.params import LoraUse
from studio.records.payload import ModelPayload
from studio.workplace.context import Context
from studio.workplace.desk import Workplace


def check(workplace: Workplace, model: str, stacks: Iterable[Iterable[LoraUse]]) -> list[str]:
    """In words what a model will not use of these files; each is there, is whole and fits the model.

    Raises: NotFound, LoraMismatch, BadInput; ModelMissing where there are files and the model is not on this machine.
    """
    uses = tuple(dict.fromkeys(use for stack in stacks for use in stack))
    return list(workplace.engine(model).check_loras(uses)) if uses else []


def tell(ctx: Context) -> None:
    """Tell whoever follows a job what of its LoRA files it does not use."""
    for note in ModelPayload.of(ctx.job).notes or ():
        ctx.warn(note)
