"""The editors' LoRA library: what there is, and the job that adds a LoRA from the hub or from this machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from engines.api.errors import BadInput, Busy, DiskFull, LoraMismatch
from engines.api.forms import FULL_WIDTH
from engines.api.params import EditParams
from engines.catalogue.hub import Hub
from engines.catalogue.lora_bases import TASKS, UNKNOWN, EditorLora
from engines.catalogue.lora_pulling import FileHub, LoraPull, chosen, demand_lora
from studio.flywheel.curate.inbox import typed_path
from studio.flywheel.tournament.asking import KIND as TOURNAMENT
from studio.housekeeping.models import free_bytes
from studio.records.job import BYTES, Job, JobState
from studio.records.lora import LibraryLora
from studio.records.payload import EnrichPayload, LoraPayload, TournamentPayload
from studio.store.lora_library import LoraLibrary
from studio.workplace.context import Context
from studio.workplace.desk import Workplace

LORA = "lora"  # the kind of job that adds one
MERGE = "merge"  # the kind of job that merges several into a new one
ADDING = (LORA, MERGE)
_SPARE = 1 << 30
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


@dataclass(frozen=True)
class Shown:
    """Holds a LoRA as the library shows it: its record, its row in the catalogue, and whether its file is here.

    `row` is None for a file of one's own. `why_not` says why the editor that was asked for cannot use it, "" where it
    can; `caution` says what to expect of it there. `job` is the download that is under way or has stopped, if any.
    """

    record: LibraryLora
    row: EditorLora | None
    here: bool
    why_not: str
    caution: str = ""
    job: Job | None = None

    @property
    def running(self) -> bool:
        """Returns whether its download runs or waits in the queue."""
        return self.job is not None and self.job.state.is_under_way


def shown(workplace: Workplace, editor: str) -> list[Shown]:
    """Returns the whole library as an editor can use it: the catalogue's rows and files of one's own, by task.

    Starred LoRAs come first in each task, then those that are here, then those that the editor can use. LoRAs that ship
    for another editor are left out.
    """
    library, jobs = LoraLibrary(workplace.library), _newest(workplace)
    ids = dict.fromkeys((*library.rows, *(each.id for each in library.all())))
    found = []
    for lora in ids:
        record, row = library.get(lora), library.rows.get(lora)
        if row and row.shipped and row.shipped.library != editor:
            continue
        told = row.why_not(editor) if row else ""
        told = told or (record.facts.why_not(editor) if record.facts else "")
        caution = row.caution(editor) if row and not told else ""
        job = jobs.get(lora)
        found.append(Shown(record, row, library.is_here(record), told, caution, job))
    order = list(TASKS)
    return sorted(
        found,
        key=lambda each: (
            order.index(each.record.task) if each.record.task in order else len(order),
            not each.record.star,
            not each.here,
            bool(each.why_not),
        ),
    )


def _newest(workplace: Workplace) -> dict[str, Job]:
    """Returns for each LoRA its newest job that is not done."""
    found: dict[str, Job] = {}
    for job in workplace.jobs.list(""):
        if job.kind in ADDING:
            found.setdefault(LoraPayload.of(job).lora, job)
    return {lora: job for lora, job in found.items() if job.state is not JobState.DONE}


def download(workplace: Workplace, lora: str, file: str = "") -> Job:
    """Queues the download of a row of the catalogue, and returns the job, or the one that runs or waits already.

    A stopped download is continued. `file` names one of the repository's files where the row names none. Raises:
    NotFound; BadInput for a row that no editor here can use, that is not on the hub, or that is here already; DiskFull;
    Unreachable.
    """
    library = LoraLibrary(workplace.library)
    record = library.get(lora)
    row = library.rows.get(lora)
    if row is None:
        raise BadInput(f"{record.name} is a file of your own.", "Add it again from where it is.")
    if row.unfit:
        raise BadInput(f"{row.name} cannot be used here. {row.unfit}", "Choose another LoRA.")
    if library.is_here(record):
        raise BadInput(f"{row.name} is here already.", f"It is in {library.path(lora).parent}.")
    if not row.repo:
        raise BadInput(f"{row.name} is not on the hub.", row.note or "Download it yourself, then add the file.")
    asked = LoraPayload(
        lora=row.name,
        repo=row.repo,
        file=file or row.file,
        name=row.name,
        task=row.task,
        words=row.words,
        strength=row.strength,
        licence=row.licence,
    )
    return _submit(workplace, asked)


def add(
    workplace: Workplace,
    place: str,
    file: str = "",
    *,
    name: str = "",
    task: str = "general",
    words: str = "",
    strength: float = 1.0,
    licence: str = UNKNOWN,
) -> Job:
    """Queues a job that adds a LoRA of one's own to the library, and returns the job.

    `place` is the path of a safetensors file on this machine, or a repository of the hub as owner/name; `file` names
    the file in the repository where it holds several. The other values are stored with it. Raises: NotFound; BadInput
    for a file that is no LoRA, an unknown task, or a file that is in the library already; DiskFull; Unreachable;
    ModelGated.
    """
    if task not in TASKS:
        raise BadInput(f"There is no task {task!r:.80}.", f"Choose from: {', '.join(TASKS)}.")
    if not place.strip():
        raise BadInput("There is no file and no repository.", "Give a path, or a repository as owner/name.")
    path = typed_path(place)
    is_path = path.is_absolute() or os.path.exists(path)  # noqa: PTH110 - a name that is too long is no path
    repo = place.strip() if _REPO.fullmatch(place.strip()) and not is_path else ""
    if not repo:
        demand_lora(path)
    called = name.strip() or (Path(file).stem or repo.partition("/")[2] if repo else path.stem)
    library = LoraLibrary(workplace.library)
    asked = LoraPayload(
        lora=library.free_id(called, coming(workplace)),
        repo=repo,
        file=file if repo else str(path),
        name=called,
        task=task,
        words=words.strip(),
        strength=strength,
        licence=licence.strip() or UNKNOWN,
    )
    return _submit(workplace, asked)


def coming(workplace: Workplace) -> set[str]:
    """Returns the ids of all LoRAs that a job has added, or is to add."""
    return {LoraPayload.of(job).lora for job in workplace.jobs.list("") if job.kind in ADDING}


def _submit(workplace: Workplace, asked: LoraPayload) -> Job:
    """Queues the job after checking that its file can be had and that there is room for it."""
    earlier = _newest(workplace).get(asked.lora)
    if earlier is not None and earlier.state.is_under_way:
        return earlier
    folder = LoraLibrary(workplace.library).folder(asked.lora)
    need = chosen(_hub(workplace, asked).listing(asked.repo), _file(asked)).size + _SPARE
    if need > (free := free_bytes(folder)):
        raise DiskFull(
            f"{asked.name} needs {need >> 20:,} MiB at {folder}, and {free >> 20:,} MiB are free.",
            "Free some space on that disk.",
        )
    if earlier is not None and LoraPayload.of(earlier) == asked:
        return workplace.jobs.resume(earlier.id)
    return workplace.jobs.submit(LORA, "", asked, title=f"Add the LoRA {asked.name}")


def _hub(workplace: Workplace, asked: LoraPayload) -> Hub:
    return workplace.hub if asked.repo else FileHub(Path(asked.file))


def _file(asked: LoraPayload) -> str:
    return asked.file if asked.repo else Path(asked.file).name


def run(ctx: Context) -> None:
    """Runs a job that adds a LoRA: fetches its file, verifies it by its hash, and reads what it is.

    Raises: Cancelled; DiskFull; Unreachable; ModelGated; ModelMissing where the file arrived damaged; NotFound;
    BadInput and LoraMismatch for a file that is no plain LoRA, which is deleted again.
    """
    asked, place = LoraPayload.of(ctx.job), ctx.workplace
    library = LoraLibrary(place.library)
    folder = library.folder(asked.lora)
    work = LoraPull(
        asked.lora, asked.repo or "this machine", _file(asked), folder, _hub(place, asked), licence=asked.licence
    )
    ctx.say("reads the list of files")
    survey = work.survey(FULL_WIDTH)
    work.run(survey, lambda what, done, total: ctx.step(done, total, what, unit=BYTES))
    path = folder / survey.files[0].path
    ctx.say("reads what it is")
    try:
        facts = place.registry.lora_facts(path)
    except (BadInput, LoraMismatch):
        library.remove(asked.lora)
        raise
    known = {record.id: record for record in library.all()}.get(asked.lora) or LibraryLora(id=asked.lora)
    said = known.replace(
        name=asked.name,
        repo=asked.repo,
        task=asked.task,
        words=asked.words,
        strength=asked.strength,
        licence=asked.licence,
    )
    library.keep(said, path, facts)


def note(workplace: Workplace, lora: str, text: str | None = None, star: bool | None = None) -> LibraryLora:
    """Replaces the notes on a LoRA, or sets or removes its star, and returns its record; None keeps a value.

    Raises: NotFound, BadInput for a text that cannot be stored.
    """
    library = LoraLibrary(workplace.library)
    known = library.get(lora)
    return library.put(
        known.replace(notes=known.notes if text is None else text, star=known.star if star is None else star)
    )


def remove(workplace: Workplace, lora: str) -> LibraryLora:
    """Deletes a LoRA's file for good and returns its former record; what was drawn with it stays.

    Raises: NotFound for a LoRA that is not on this machine, BadInput for one that ships with the program, Busy while a
    queued or running job uses it.
    """
    library = LoraLibrary(workplace.library)
    record, path, row = library.get(lora), str(library.path(lora)), library.rows.get(lora)
    if row and row.shipped:
        raise BadInput(f"{record.name} ships with this program.", "Leave it: it is used only where a row names it.")
    for job in (each for each in workplace.jobs.list() if each.state.is_under_way):
        rows = EnrichPayload.of(job).rows if job.kind == "enrich" else ()
        used = {use.file for row in rows for use in EditParams.kept(row.params).loras}
        used |= {part.lora for part in (LoraPayload.of(job).parts if job.kind == MERGE else ())}
        if job.kind == TOURNAMENT:
            held = workplace.store(job.character).tournaments.get(TournamentPayload.of(job).tournament)
            used |= {use.lora for each in held.contestants for use in each.loras}
        if used & {path, lora}:
            raise Busy(f"{job.title} uses {record.name}.", "Cancel that job or wait for it, then remove the LoRA.")
    library.remove(lora)
    return record
