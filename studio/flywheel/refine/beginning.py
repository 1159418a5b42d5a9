"""Begins an editor's training with a LoRA of the editors' library: which may, and what the training takes from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engines.api.errors import BadInput, UserError
from engines.api.params import TrainParams
from studio.flywheel.curate.coverage import Check
from studio.records.lora import BegunWith, LibraryLora
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Workplace


def begun_with(workplace: Workplace, lora: str, model: str) -> BegunWith | None:
    """Returns the LoRA of the library that a training of the editor `model` begins with; None for "", a new LoRA.

    Raises: NotFound for one that is not here, BadInput for one that does not fit the editor.
    """
    if not lora:
        return None
    library = LoraLibrary(workplace.library)
    library.path(lora)
    record = library.get(lora)
    if record.facts is None:
        raise BadInput(f"Nobody has read what {record.name} is.", "Remove it from the library and add it again.")
    if trouble := _misfit(record, model):
        raise BadInput(
            f"{record.name} does not fit {model}. {trouble}", "Choose another LoRA to begin with, or another editor."
        )
    return BegunWith(
        lora=lora, name=record.name, sha256=record.sha256, licence=record.licence, rank=record.facts.ranks[1]
    )


def following(params: TrainParams, begun: BegunWith | None) -> TrainParams:
    """Returns the parameters with the rank of the LoRA that the training begins with, and an equal alpha."""
    return params if begun is None else params.replace(rank=begun.rank, alpha=float(begun.rank))


def choices(workplace: Workplace, model: str) -> Sequence[LibraryLora]:
    """Returns the LoRAs of the library that are here, and that a training of the editor `model` may begin with."""
    library = LoraLibrary(workplace.library)
    return [each for each in library.all() if library.is_here(each) and each.facts and not _misfit(each, model)]


def checks(workplace: Workplace, lora: str, model: str) -> Iterable[Check]:
    """Yields the check that a training may begin with a LoRA, which tells its licence and rank; nothing for ""."""
    try:
        begun = begun_with(workplace, lora, model)
    except UserError as error:
        yield Check("the LoRA to begin with can be used", False, str(error), "Editor Refinement")
    else:
        if begun:
            told = f"begins with {begun.name}, rank {begun.rank}; its licence ({begun.licence}) holds for the result"
            yield Check(told, True)


def _misfit(record: LibraryLora, model: str) -> str:
    """Returns the reason why an editor has other layers than a LoRA changes; "" where they fit, or none is known."""
    return record.facts.why_not(model) if record.facts else ""
