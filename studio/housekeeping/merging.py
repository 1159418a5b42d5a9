"""Merges LoRAs of the editors' library with their strengths into one file, which the library then has as well."""

from __future__ import annotations

from collections.abc import Sequence

from engines.api.errors import BadInput, DiskFull, UserError
from engines.api.params import LoraUse
from engines.catalogue.lora_bases import UNKNOWN, LoraFacts
from studio.housekeeping.loras import MERGE, coming
from studio.housekeeping.models import free_bytes
from studio.records.job import Job
from studio.records.lora import LibraryLora, MergedPart
from studio.records.payload import LoraPayload
from studio.records.plan import StackedLora
from studio.store.durable import make_folder
from studio.store.lora_library import LoraLibrary
from studio.workplace.context import Context
from studio.workplace.desk import Workplace

HIGHEST_RANK = 1024


def merge(
    workplace: Workplace, stack: Sequence[StackedLora], name: str = "", rank: int = 0, task: str = "", words: str = ""
) -> Job:
    """Queues a job that merges LoRAs of the library into one file, and returns the job.

    `rank` is the highest rank of a layer; 0 keeps the sum of the ranks, which is exact. `name`, `task` and `words` are
    stored with the file; the name is made of the parts' names and the task is the first part's where they are "".
    Raises: NotFound for a LoRA that is not here; BadInput for fewer than two LoRAs, one twice, strengths of 0 or LoRAs
    of different models, and a rank that is too high; DiskFull.
    """
    library = LoraLibrary(workplace.library)
    if not 0 <= rank <= HIGHEST_RANK:
        raise BadInput(f"rank is {rank}.", f"Give 1 to {HIGHEST_RANK}, or 0 to keep everything.")
    if len({each.lora for each in stack}) != len(stack) or len(stack) < 2:
        raise BadInput("The stack to merge needs two LoRAs or more, each once.", "Tick at least two.")
    for each in stack:
        LoraUse(file=str(library.path(each.lora)), weight=each.weight).demand_usable()
    records = [library.get(each.lora) for each in stack]
    _base(records)
    if not any(each.weight for each in stack):
        raise BadInput("All strengths are 0.", "Give at least one LoRA a strength.")
    called = name.strip() or " + ".join(record.name for record in records)[:80]
    asked = LoraPayload(
        lora=library.free_id(called, coming(workplace)),
        file="",
        name=called,
        task=task or records[0].task,
        words=words.strip() or " ".join(record.words for record in records if record.words),
        licence=" + ".join(dict.fromkeys(record.licence or UNKNOWN for record in records)),
        parts=tuple(
            MergedPart(lora=record.id, name=record.name, weight=each.weight, licence=record.licence)
            for record, each in zip(records, stack, strict=True)
        ),
        rank=rank,
    )
    need = 2 * sum(library.path(record.id).stat().st_size for record in records)
    if need > (free := free_bytes(library.folder(asked.lora))):
        raise DiskFull(f"{called} needs {need >> 20:,} MiB, and {free >> 20:,} MiB are free.", "Free some space.")
    return workplace.jobs.submit(MERGE, "", asked, title=f"Merge {len(stack)} LoRAs into {called}")


def run(ctx: Context) -> None:
    """Runs a job that merges LoRAs: writes the file, reads it back, and adds it to the library with its parts.

    Raises: NotFound for a part that was removed, LoraMismatch for one that cannot be merged, Cancelled; then nothing is
    added.
    """
    asked, place = LoraPayload.of(ctx.job), ctx.workplace
    library = LoraLibrary(place.library)
    path = library.folder(asked.lora) / f"{asked.lora}.safetensors"
    told = ", ".join(f"{part.name} at {part.weight:g} ({part.licence})" for part in asked.parts)
    try:
        make_folder(path.parent)
        uses = [LoraUse(file=str(library.path(part.lora)), weight=part.weight) for part in asked.parts]
        error = place.registry.merge(
            uses,
            path,
            asked.rank,
            _base([library.get(part.lora) for part in asked.parts]),
            lambda done, total: ctx.step(done, total, f"layer {done} of {total}"),
            licence=asked.licence,
            told=f"Merged with FLENwheel from {told}.",
        )
        facts = place.registry.lora_facts(path)
    except UserError:
        library.remove(asked.lora)
        raise
    made = LibraryLora(
        id=asked.lora,
        name=asked.name,
        task=asked.task,
        words=asked.words,
        licence=asked.licence,
        parts=asked.parts,
        merge_error=error,
    )
    library.keep(made, path, facts)


def _base(records: Sequence[LibraryLora]) -> LoraFacts:
    """Returns the facts of the first LoRA. Raises: BadInput where the LoRAs are not all of one known base."""
    facts = [record.facts for record in records if record.facts is not None and record.facts.base != UNKNOWN]
    if len(facts) < len(records) or len({each.base for each in facts}) > 1:
        told = ", ".join(f"{each.name}: {each.facts.base if each.facts else UNKNOWN}" for each in records)
        raise BadInput(f"These LoRAs are not all of one known base ({told}).", "Merge LoRAs of one base.")
    return facts[0]
