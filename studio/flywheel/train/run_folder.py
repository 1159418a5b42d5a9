"""A job's run as a folder: written when the job is queued, trained here or by a command anywhere, told back."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import engines
from engines.api.errors import BadInput, ModelMissing, NotFound
from engines.api.params import GenerateParams, TrainParams
from engines.api.protocols import EditItem, TrainItem, TrainRun
from engines.training import runfile
from engines.training.runfile import RunFile
from studio.records.dataset import Dataset, Role
from studio.records.job import Job
from studio.records.payload import TrainPayload
from studio.store import Store
from studio.workplace.desk import Workplace

_MODULE = "engines.training.run"


def usable(store: Store, ids: Iterable[str]) -> list[str]:
    """Those pictures whose files a training can read, in their order; the others it does without."""
    return [image for image in ids if store.trouble(image) is None]


def train_items(store: Store, frozen: Dataset, *, masked: bool = True) -> tuple[TrainItem, ...]:
    """A frozen dataset as files; an entry that counts several times is there several times.

    Raises: BadInput for an entry without words, NotFound for a picture or a mask that is gone.
    """
    items: list[TrainItem] = []
    for entry in frozen.entries:
        if not entry.worded:
            raise BadInput(f"Picture {entry.image} has no caption.", "Caption it in Curate, then train again.")
        references = tuple(store.path(image) for image in entry.references)
        mask = store.file(entry.mask) if masked and entry.mask else None
        item = TrainItem(store.path(entry.image), entry.caption, references, mask, entry.crop, entry.source_crop)
        items.extend([item] * entry.repeats)
    return tuple(items)


def prepare(workplace: Workplace, job: Job, previews: Sequence[GenerateParams | EditItem]) -> TrainRun:
    """The run that a job asks for, its folder written so that it can be trained from there alone.

    Raises: NotFound for a picture or a start that is gone, BadInput.
    """
    store = workplace.store(job.character)
    asked = TrainPayload.of(job)
    frozen = store.datasets.get(asked.dataset)
    params = TrainParams.from_json(asked.params)
    run = TrainRun(
        folder=store.run_dir(job.id),
        items=train_items(store, frozen, masked=params.mask_outside < 1),
        params=params,
        previews=tuple(previews),
        trigger=store.character.trigger if frozen.role is Role.CHARACTER else "",
        start=store.adapter_path(asked.start) if asked.start else None,
        cache=store.cache_dir(),
    )
    try:
        weights: Path | None = workplace.registry.folder(workplace.registry.spec(asked.model))
    except ModelMissing:
        weights = None
    runfile.write(RunFile(asked.model, weights, run))
    return run


def ask_for(folder: Path, params: TrainParams) -> None:
    """Let a written run train with other knobs; one that cannot be read is written anew when its job starts."""
    with suppress(NotFound, BadInput):
        file = runfile.read(folder)
        runfile.write(replace(file, run=replace(file.run, folder=folder, params=params)))


def commands(workplace: Workplace, job: Job) -> tuple[str, ...]:
    """What trains a job's run without the studio: in one process, and on all cards; () before it was written."""
    folder = workplace.store(job.character).run_dir(job.id)
    if not (folder / runfile.RUN).is_file():
        return ()
    return tuple(
        _in_our_folder([sys.executable, "-m", *words, str(folder)])
        for words in ([_MODULE], ["accelerate.commands.launch", "-m", _MODULE])
    )


def _in_our_folder(words: Sequence[str]) -> str:
    """One line for the machine's own shell."""
    root = str(Path(engines.__file__).resolve().parent.parent)
    if os.name == "nt":
        return f"cd /d {subprocess.list2cmdline([root])} && {subprocess.list2cmdline(words)}"
    return f"cd {shlex.quote(root)} && {shlex.join(words)}"
